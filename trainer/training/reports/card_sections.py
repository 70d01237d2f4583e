"""The model card's tables and drawings of how far a model can be trusted; the frame is `card`.

What may go wrong: figures without what they are compared with. Each stands beside its interval, the
baselines on the same rows, or the line that a perfect model would draw.
"""

from collections.abc import Callable, Sequence
from html import escape

from events.metrics import AgainstChampion
from trainer.training.evaluation.baselines import Baseline
from trainer.training.evaluation.comparison import Comparison
from trainer.training.evaluation.confidence import ConfidenceReport
from trainer.training.evaluation.evaluate import Confusion, Evaluation
from trainer.training.evaluation.reliability import Calibration, Interval, RadiusReport
from trainer.training.quality.audit import Audit, Finding, Severity

_SIDE = 220.0
_LEFT, _BOTTOM, _PAD = 36.0, 26.0, 10.0
_CURVE_WIDTH = 460.0

SECTION_STYLE = """
table.wide th{width:auto}table.wide td,table.wide th{font-variant-numeric:tabular-nums}
table.wide thead th{border-bottom:2px solid var(--line)}
table+p{margin-top:12px}
td small{display:block;color:var(--mute);font-weight:400;white-space:nowrap}
tr.ours td,tr.ours th{font-weight:600;color:var(--ink)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:24px}
.plot text{font:11px system-ui,sans-serif;fill:var(--mute)}
.plot .grid{stroke:var(--line)}.plot .ideal{stroke:var(--mute);stroke-dasharray:4 4}
.plot polyline{fill:none;stroke:var(--accent);stroke-width:2.2;stroke-linejoin:round}
.plot circle{fill:var(--accent);fill-opacity:.75}
.finding{padding:10px 0;border-bottom:1px solid var(--line)}.finding:last-child{border:0}
.finding b{display:block}.finding p{margin:2px 0;color:var(--mute)}
.badge{display:inline-block;font-size:12px;border-radius:9px;padding:0 8px;margin-right:8px;
border:1px solid var(--line);color:var(--mute)}
.badge.warning{background:#fdae6140;border-color:#d9822b;color:var(--ink)}
@page{margin:14mm}
@media print{:root{color-scheme:light}
.tiles{grid-template-columns:repeat(5,1fr)}.fm{max-height:118mm}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{background:#fff}section,.tile,tr,.finding{break-inside:avoid}section.long{break-inside:auto}
main{max-width:none;padding:0}h2{break-after:avoid}table+p{break-before:avoid}}
"""


def beside_baselines(evaluation: Evaluation) -> str:
    """The model's figures with intervals on all held-out rows, above those of the baselines."""
    note = (
        "On all rows that were held out. Below each figure its 95 % interval, from resampling "
        "whole visits. The simple methods knew the same rows and were asked the same."
    )
    return _contenders((_contender("this model", evaluation, "ours"),), evaluation.baselines, note)


def against_champion(comparison: Comparison | None, no_champion: str) -> str:
    """The model beside what is live, on the rows that are fair to both; or why that can't be."""
    if comparison is None:
        return f"<p>Not compared. {escape(no_champion)}</p>"
    told = comparison.told
    champion = f"the champion, <code>{escape(told.release)}</code>"
    if comparison.candidate is None or comparison.champion is None:
        return f"<p>Not compared with {champion}. {escape(told.reason)}</p>"
    rows = (
        _contender("this model", comparison.candidate, "ours"),
        _contender(champion, comparison.champion),
    )
    note = f"On {told.rows} rows, with 95 % intervals. {escape(told.reason)}"
    return f"<p>{_verdict(told)}</p>{_contenders(rows, comparison.baselines, note)}"


def _verdict(told: AgainstChampion) -> str:
    """The difference in words, no stronger than its interval allows."""
    metres, between = told.mean_error_difference_m, told.mean_error_difference_between_m
    if metres is not None and between is not None:
        said = (
            f"its mean error is {abs(metres):.2f} m {'smaller' if metres < 0 else 'larger'} than "
            f"the champion's (95 % interval of the difference: {between[0]:+.2f} to "
            f"{between[1]:+.2f} m)"
        )
    else:
        metres, between = told.exact_accuracy_difference, told.exact_accuracy_difference_between
        if metres is None or between is None:
            return ""
        said = (
            f"it answers {abs(metres):.1%} {'more' if metres > 0 else 'fewer'} rows exactly than "
            f"the champion (95 % interval of the difference: {between[0]:+.1%} to "
            f"{between[1]:+.1%})"
        )
        between = (-between[1], -between[0])
    if between[0] <= 0.0 <= between[1]:
        return f"<b>No difference that these rows could tell:</b> {said}."
    return f"<b>{'Better' if between[1] < 0.0 else 'Worse'}:</b> {said}."


def _contenders(rows: Sequence[str], others: Sequence[Baseline], note: str) -> str:
    head = (
        "<thead><tr><th></th><th>exact</th><th>within one cell</th><th>mean error</th>"
        "<th>90 % error</th></tr></thead>"
    )
    drawn = "".join((*rows, *map(_baseline, others)))
    return f'<table class="wide">{head}<tbody>{drawn}</tbody></table><p class="mute">{note}</p>'


def _contender(name: str, evaluation: Evaluation, kind: str = "") -> str:
    between = evaluation.intervals
    return _row(
        name,
        _share(evaluation.exact_accuracy, between.exact_accuracy if between else None),
        _share(evaluation.within_one_cell, between.within_one_cell if between else None),
        _metres(evaluation.mean_error_m, between.mean_error_m if between else None),
        _metres(evaluation.p90_error_m, between.p90_error_m if between else None),
        kind=kind,
    )


def _baseline(baseline: Baseline) -> str:
    return _row(
        escape(baseline.name),
        _share(baseline.exact_accuracy, None),
        "",
        _metres(baseline.mean_error_m, None),
        _metres(baseline.p90_error_m, None),
    )


def _row(name: str, *figures: str, kind: str = "") -> str:
    cells = "".join(f"<td>{figure}</td>" for figure in figures)
    return f'<tr class="{kind}"><th>{name}</th>{cells}</tr>'


def trust(
    evaluation: Evaluation, confidence: ConfidenceReport | None, radius: RadiusReport | None
) -> str:
    """The reliability diagram, what the temperature did for it, and what the radius holds."""
    found = evaluation.calibration
    if found is None:
        return ""
    said = (
        f"<p>Expected calibration error <b>{found.expected_error:.1%}</b>: how far confidence and "
        "what happens lie apart on average. On the dashed line they would be equal; a larger dot "
        "stands for more rows.</p>"
    )
    said += _tempered(confidence)
    if radius is not None:
        said += (
            f"<p>Each answer carries a radius that should hold the true place in "
            f"{radius.radius.share:.0%} of cases. On held-out visits that it was not fitted to it "
            f"held <b>{radius.coverage:.0%}</b>; half of the radii are below "
            f"{radius.median_m:.1f} m.</p>"
        )
    return f'<div class="pair"><div>{_reliability(found)}</div><div>{said}</div></div>'


def _tempered(confidence: ConfidenceReport | None) -> str:
    if confidence is None:
        return (
            "<p>It is the network's own probability: too few rows were held out to correct it.</p>"
        )
    return (
        f"<p>It is the network's own probability at a temperature of "
        f"{confidence.temperature:.2f}, fitted to held-out visits. On visits that it was not "
        f"fitted to, that took the error from {confidence.own.expected_error:.1%} to "
        f"<b>{confidence.told.expected_error:.1%}</b>, and the mean square of confidence less what "
        f"happened (Brier) from {confidence.own_brier:.3f} to {confidence.told_brier:.3f}.</p>"
    )


def _reliability(found: Calibration) -> str:
    most = max(found_bin.rows for found_bin in found.bins)
    dots = "".join(
        f"<circle cx='{_x(point.confidence):.1f}' cy='{_y(point.exact):.1f}' "
        f"r='{3 + 7 * (point.rows / most) ** 0.5:.1f}'><title>{point.rows} rows: confidence "
        f"{point.confidence:.0%}, exact {point.exact:.0%}</title></circle>"
        for point in found.bins
    )
    ideal = (
        f'<line class="ideal" x1="{_x(0):.1f}" y1="{_y(0):.1f}" x2="{_x(1):.1f}" y2="{_y(1):.1f}"/>'
    )
    marks = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_x(1):.1f}" y1="{_y(part):.1f}" '
        f'y2="{_y(part):.1f}"/><text x="0" y="{_y(part) + 4:.1f}">{part:.0%}</text>'
        f'<text text-anchor="middle" x="{_x(part):.1f}" y="{_SIDE - 8:.0f}">{part:.0%}</text>'
        for part in (0.0, 0.5, 1.0)
    )
    return _plot(_SIDE + 30, "Confidence against share of exact answers", marks + ideal + dots)


def _x(part: float) -> float:
    return _LEFT + part * (_SIDE - _LEFT)


def _y(part: float) -> float:
    return _SIDE - _BOTTOM - part * (_SIDE - _BOTTOM - _PAD)


def curve(losses: Sequence[float]) -> str:
    """The loss of each epoch."""
    if len(losses) < 2:
        return ""
    low, high = min(losses), max(losses)
    span = max(high - low, 1e-9)

    def across(epoch: int) -> float:
        return _LEFT + epoch / (len(losses) - 1) * (_CURVE_WIDTH - _LEFT - _PAD)

    def up(loss: float) -> float:
        return _y((loss - low) / span)

    line = " ".join(f"{across(epoch):.1f},{up(loss):.1f}" for epoch, loss in enumerate(losses))
    marks = _curve_marks(low, high, up) + "".join(
        f'<text text-anchor="middle" x="{across(epoch):.1f}" y="{_SIDE - 8:.0f}">{epoch + 1}</text>'
        for epoch in sorted({0, len(losses) // 2, len(losses) - 1})
    )
    drawing = _plot(_CURVE_WIDTH, "Training loss by epoch", f'{marks}<polyline points="{line}"/>')
    return f'{drawing}<p class="mute">Mean loss in nats (upward) of each epoch (to the right).</p>'


def _curve_marks(low: float, high: float, up: Callable[[float], float]) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_CURVE_WIDTH - _PAD}" y1="{up(loss):.1f}" '
        f'y2="{up(loss):.1f}"/><text x="0" y="{up(loss) + 4:.1f}">{loss:.2f}</text>'
        for loss in (low, (low + high) / 2, high)
    )


def _plot(width: float, label: str, drawn: str) -> str:
    return (
        f'<svg class="plot" role="img" viewBox="0 0 {width:.0f} {_SIDE:.0f}" width="100%" '
        f'style="max-width:{width * 1.35:.0f}px" aria-label="{label}">{drawn}</svg>'
    )


def confusion_table(confusions: Sequence[Confusion]) -> str:
    """Which locations are taken for which."""
    if not confusions:
        return ""
    rows = "".join(
        _row(
            escape(found.truth),
            escape(found.answered),
            f"{found.rows} ({found.share:.0%})",
            _metres(found.apart_m, None),
        )
        for found in confusions
    )
    head = (
        "<thead><tr><th>taken at</th><th>answered as</th><th>rows</th><th>apart</th></tr></thead>"
    )
    return f'<table class="wide">{head}<tbody>{rows}</tbody></table>'


def audit_section(report: Audit) -> str:
    """What looking the data over found, warnings first."""
    ordered = sorted(report.findings, key=lambda finding: finding.weight is Severity.NOTE)
    findings = "".join(_finding(finding) for finding in ordered)
    head = (
        "<thead><tr><th>beacon</th><th>heard in</th><th>median</th><th>range</th>"
        "<th>readings</th><th>drift</th></tr></thead>"
    )
    rows = "".join(
        _row(
            escape(beacon.name),
            f"{beacon.heard_share:.1%}",
            _dbm(beacon.median_dbm),
            f"{_dbm(beacon.lowest_dbm)} to {_dbm(beacon.highest_dbm)}",
            str(beacon.distinct),
            "" if beacon.drift is None else f"{beacon.drift:.2f}",
        )
        for beacon in report.beacons[:_MOST_BEACONS]
    )
    more = len(report.beacons) - _MOST_BEACONS
    rest = f'<p class="mute">and {more} more, in metrics.json</p>' if more > 0 else ""
    return (
        f'{findings}<table class="wide">{head}<tbody>{rows}</tbody></table>{rest}'
        f'<p class="mute">Drift: how far the distribution of a beacon\'s readings lies from the '
        f"earlier one at the same locations, 0 to 1. {escape(report.drift_between)}</p>"
    )


_MOST_BEACONS = 60


def _finding(finding: Finding) -> str:
    return (
        f'<div class="finding"><b><span class="badge {finding.weight.value}">'
        f"{finding.weight.value}</span>{escape(finding.topic)}: {escape(finding.seen)}</b>"
        f"<p>{escape(finding.means)} {escape(finding.done)}</p></div>"
    )


def _share(value: float | None, between: Interval | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.1%}" + _range(f"{between.low:.1%} to {between.high:.1%}" if between else "")


def _metres(value: float | None, between: Interval | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.2f} m" + _range(f"{between.low:.2f} to {between.high:.2f}" if between else "")


def _range(said: str) -> str:
    return f"<small>{said}</small>" if said else ""


def _dbm(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
