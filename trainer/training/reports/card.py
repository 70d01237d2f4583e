"""The model card: one HTML page that says what a release is, how good it is, and where not.

It loads nothing, is light or dark, and is for people who decide whether to trust a release. Each
figure stands beside its interval and what it is compared with.
"""

from pathlib import Path

from events.metrics_document import ChampionDifference, FigureUnit, MetricsDocument
from trainer.training.reports.charts import error_distribution, reliability, training_curve
from trainer.training.reports.content import ReportContent
from trainer.training.reports.floor_map import floor_map_svg
from trainer.training.reports.floor_plan import NoPicture, Picture
from trainer.training.reports.pages import interval_text, page_templates

MOST_BEACONS = 60
MOST_SURVEYS = 50
"""The others are in ``metrics.json``."""


def write_card(path: Path, document: MetricsDocument, content: ReportContent) -> None:
    """Write the card as one HTML file."""
    path.write_text(card_html(document, content), encoding="utf-8")


def card_html(document: MetricsDocument, content: ReportContent) -> str:
    """The card as one HTML page that loads nothing."""
    site, plan = content.site, content.context.floor_plan
    picture = plan if isinstance(plan, Picture) else None
    template = page_templates("trainer.training.reports").get_template("card.html.j2")
    return template.render(
        document=document,
        release_id=content.release_id,
        digest=content.digest,
        site=site.name,
        measured=sum(cell.rows > 0 for cell in document.cells),
        floor_map=floor_map_svg(document.cells, site.beacons, picture),
        no_floor_plan=plan.reason if isinstance(plan, NoPicture) else "",
        verdict=_verdict(document.comparison.difference if document.comparison else None),
        error_chart=error_distribution(content.errors_m, document),
        reliability_chart=reliability(document.calibration) if document.calibration else None,
        loss_chart=training_curve(document.training_curve),
        most_beacons=MOST_BEACONS,
        most_surveys=MOST_SURVEYS,
    )


def _verdict(difference: ChampionDifference | None) -> tuple[str, str] | None:
    """The difference in words, no stronger than its interval allows."""
    if difference is None or difference.interval is None:
        return None
    value, interval = difference.value, difference.interval
    if difference.unit is FigureUnit.METRES:
        low, high = interval.low, interval.high
        text = (
            f"its mean error is {abs(value):.2f} m {'smaller' if value < 0 else 'larger'} than "
            f"the champion's (95 % interval of the difference: {interval_text(interval, '+.2f')} m)"
        )
    else:
        low, high = -interval.high, -interval.low
        text = (
            f"it answers {abs(value):.1%} {'more' if value > 0 else 'fewer'} rows exactly than "
            f"the champion (95 % interval of the difference: {interval_text(interval, '+.1%')})"
        )
    if low <= 0.0 <= high:
        return "No significant difference on these rows", text
    return "Better" if high < 0.0 else "Worse", text
