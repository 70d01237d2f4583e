"""The model card: one HTML file that says what a release is, how good it is, and where not.

Self-contained, light and dark, for someone who has to decide whether to trust it. What may go
wrong: text from surveys in markup, which is escaped; figures without their conditions, which stand
beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from events.metrics import Metrics
from trainer.training.evaluation.champion import NoChampion
from trainer.training.evaluation.comparison import Comparison
from trainer.training.evaluation.confidence import ConfidenceReport
from trainer.training.evaluation.evaluate import CellError, Confusion, Evaluation
from trainer.training.evaluation.hold_out import HoldOutScheme
from trainer.training.evaluation.reliability import RadiusReport
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.quality.audit import Audit
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reports.card_lineage import Origin, lineage
from trainer.training.reports.card_sections import (
    SECTION_STYLE,
    against_champion,
    audit_section,
    beside_baselines,
    confusion_table,
    curve,
    trust,
)
from trainer.training.reports.floor_map import floor_map_svg
from trainer.training.reports.floor_plan import NoPicture, Picture
from trainer.training.reports.provenance import ReportContext

_CDF_WIDTH, _CDF_HEIGHT = 460.0, 220.0
_CDF_LEFT, _CDF_BOTTOM = 38.0, 26.0
_CDF_POINTS = 200

_STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1f2933;--mute:#66727f;--line:#dfe4e9;
--accent:#2c7bb6}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--card:#1c2229;--ink:#e6eaee;--mute:#98a4b0;
--line:#313a44;--accent:#6fb3e0}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1000px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:16px;margin:0 0 12px}
p{margin:0 0 10px}.mute{color:var(--mute)}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px;
margin-top:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:20px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.tile b{display:block;font-size:25px;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{color:var(--mute);font-size:13px}
table{border-collapse:collapse;width:100%}
td,th{padding:6px 10px 6px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:500;color:var(--mute);width:34%}tr:last-child>*{border-bottom:0}
ul{margin:0;padding-left:20px}li{margin:4px 0}
.cdf text{font:11px system-ui,sans-serif;fill:var(--mute)}
.cdf .grid{stroke:var(--line)}.cdf .mark{stroke:var(--mute);stroke-dasharray:3 3}
.cdf polyline{fill:none;stroke:var(--accent);stroke-width:2.2;stroke-linejoin:round}
"""


@dataclass(frozen=True, slots=True)
class CardContent:
    """All that the card says; lengths in metres."""

    release_id: str
    digest: str
    site: SiteDescription
    metrics: Metrics
    evaluation: Evaluation
    radius: RadiusReport | None
    confidence: ConfidenceReport | None
    audit: Audit
    confusions: tuple[Confusion, ...]
    curve: tuple[float, ...]
    """The mean loss of each epoch of the packaged model's fit, in nats."""
    protocol: HoldOutScheme
    cells: tuple[CellError, ...]
    errors_m: tuple[float, ...]
    """Of the held-out rows, ascending; empty without positions."""
    surveys: tuple[tuple[str, int], ...]
    """Name and labelled rows of each."""
    ignored_rows: int
    beacons: int
    hyperparameters: Hyperparameters
    comparison: Comparison | None
    """None where nothing is known to be live."""
    context: ReportContext
    packages: Mapping[str, str]
    """Versions, by name."""


def write_card(path: Path, content: CardContent) -> None:
    """Write the card as one HTML file."""
    path.write_text(card_html(content), encoding="utf-8")


def card_html(content: CardContent) -> str:
    """The card as one HTML page that loads nothing."""
    title = f"Model card of {escape(content.release_id)}"
    sections = "".join(
        (
            _map(content),
            _section("Against the champion", against_champion(*_opponent(content))),
            _section("Beside simple methods", beside_baselines(content.evaluation)),
            _cdf(content),
            _section(
                "How sure it is", trust(content.evaluation, content.confidence, content.radius)
            ),
            _section("What it takes for what", confusion_table(content.confusions)),
            _metrics(content),
            _section("The data, looked over", audit_section(content.audit), "long"),
            _section("How it learnt", curve(content.curve)),
            _section("Where it comes from", lineage(_origin(content)), "long"),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}{SECTION_STYLE}</style></head><body><main>"
        f"<h1>{escape(content.release_id)}</h1>"
        f'<p class="mute">Indoor localization from radio signal strength at '
        f"<b>{escape(content.site.name)}</b>: {content.beacons} beacons, {len(content.cells)} "
        f"locations, {content.metrics.rows} labelled rows.</p>"
        f"{_tiles(content.metrics)}{sections}{_limits(content)}</main></body></html>\n"
    )


def _tiles(metrics: Metrics) -> str:
    tiles = [
        (_share(metrics.exact_accuracy), "answered with the very location"),
        (_share(metrics.within_one_cell), "within one cell of it"),
        (_metres(metrics.mean_error_m), "mean error"),
        (_metres(metrics.median_error_m), "median error"),
        (_metres(metrics.p90_error_m), "error of the worst tenth, at least"),
    ]
    drawn = "".join(
        f'<div class="tile"><b>{figure}</b><span>{name}</span></div>' for figure, name in tiles
    )
    return f'<div class="tiles">{drawn}</div>'


def _map(content: CardContent) -> str:
    asked = sum(cell.rows > 0 for cell in content.cells)
    plan = content.context.floor_plan
    picture = plan if isinstance(plan, Picture) else None
    missing = f" No floor plan: {escape(plan.reason)}" if isinstance(plan, NoPicture) else ""
    return _section(
        "Where it is right",
        f"{floor_map_svg(content.cells, content.site.beacons, picture)}"
        f'<p class="mute">Measured at {asked} of {len(content.cells)} locations: '
        f"{escape(content.protocol.value)}. Point at a location for its figures.{missing}</p>",
    )


def _cdf(content: CardContent) -> str:
    """The share of held-out rows whose error is at most so many metres."""
    if not content.errors_m:
        return ""
    errors = np.array(content.errors_m)
    far = max(float(np.ceil(errors[-1])), 1.0)
    shares = np.linspace(0.0, 1.0, _CDF_POINTS)
    line = " ".join(
        f"{_across(metres, far):.1f},{_up(share):.1f}"
        for metres, share in zip(np.quantile(errors, shares), shares, strict=True)
    )
    return _section(
        "How far off it is",
        f'<svg class="cdf" role="img" viewBox="0 0 {_CDF_WIDTH:.0f} {_CDF_HEIGHT:.0f}" '
        f'width="100%" style="max-width:640px" aria-label="Share of rows by largest error">'
        f'{_cdf_axes(far)}{_cdf_marks(content.metrics, far)}<polyline points="{line}"/></svg>'
        '<p class="mute">Share of held-out rows (upward) whose error is at most so many metres '
        "(to the right).</p>",
    )


def _across(metres: float, far: float) -> float:
    return _CDF_LEFT + metres / far * (_CDF_WIDTH - _CDF_LEFT - 14)


def _up(share: float) -> float:
    return _CDF_HEIGHT - _CDF_BOTTOM - share * (_CDF_HEIGHT - _CDF_BOTTOM - 14)


def _cdf_axes(far: float) -> str:
    rows = "".join(
        f'<line class="grid" x1="{_CDF_LEFT}" x2="{_CDF_WIDTH - 14}" y1="{_up(share):.1f}" '
        f'y2="{_up(share):.1f}"/><text x="2" y="{_up(share) + 4:.1f}">{share:.0%}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    step = max(1, round(far / 8))
    columns = "".join(
        f'<text text-anchor="middle" x="{_across(metres, far):.1f}" y="{_CDF_HEIGHT - 8}">'
        f"{metres} m</text>"
        for metres in range(0, int(far) + 1, step)
    )
    return rows + columns


def _cdf_marks(metrics: Metrics, far: float) -> str:
    marks = [("median", metrics.median_error_m, 0.5), ("90 %", metrics.p90_error_m, 0.9)]
    return "".join(
        f'<line class="mark" x1="{_across(metres, far):.1f}" x2="{_across(metres, far):.1f}" '
        f'y1="{_up(0):.1f}" y2="{_up(share):.1f}"/><text x="{_across(metres, far) + 5:.1f}" '
        f'y="{_up(0) - 6:.1f}">{name} {metres:.1f} m</text>'
        for name, metres, share in marks
        if metres is not None
    )


def _metrics(content: CardContent) -> str:
    metrics = content.metrics
    return _section(
        "Measured on rows it had not seen",
        _table(
            [
                ("Rows held out", f"{metrics.held_out_rows} of {metrics.rows}"),
                ("How", escape(content.protocol.value)),
                ("Exact location", _share(metrics.exact_accuracy)),
                ("Within one cell, diagonals too", _share(metrics.within_one_cell)),
                ("Mean, median, 90 % error", _errors(metrics)),
                (
                    "What is packaged",
                    f"the recipe, fitted on all {metrics.rows} rows, not {metrics.trained_rows}",
                ),
            ]
        ),
    )


def _opponent(content: CardContent) -> tuple[Comparison | None, str]:
    champion = content.context.champion
    return content.comparison, champion.reason if isinstance(champion, NoChampion) else ""


def _origin(content: CardContent) -> Origin:
    return Origin(
        release_id=content.release_id,
        digest=content.digest,
        context=content.context,
        surveys=content.surveys,
        ignored_rows=content.ignored_rows,
        packages=content.packages,
        hyperparameters=content.hyperparameters,
    )


def _limits(content: CardContent) -> str:
    unmeasured = sum(cell.rows == 0 for cell in content.cells)
    limits = [
        "It always answers one of the surveyed locations, however far away the device is.",
        "Confidence is low, and rightly so, where several locations hear the same beacons.",
        "Moved, added or failed beacons change the radio map: survey again.",
    ]
    if unmeasured:
        limits.append(
            f"{unmeasured} of {len(content.cells)} locations had no visit to spare and were not "
            "measured: the figures say nothing of them."
        )
    if content.protocol is HoldOutScheme.CUT_VISITS:
        limits.append(
            "Parts of the same visits are on both sides of the measurement, so it flatters the "
            "model: survey locations a second time, another day."
        )
    return _section("Its limits", f"<ul>{''.join(f'<li>{limit}</li>' for limit in limits)}</ul>")


def _section(title: str, body: str, kind: str = "") -> str:
    if not body:
        return ""
    return f'<section class="{kind}"><h2>{title}</h2>{body}</section>'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    drawn = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{drawn}</table>"


def _errors(metrics: Metrics) -> str:
    figures = (metrics.mean_error_m, metrics.median_error_m, metrics.p90_error_m)
    return ", ".join(_metres(figure) for figure in figures)


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def _metres(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f} m"
