"""The card's line charts as coordinates, which ``templates/charts.html.j2`` draws."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from events.metrics import Metrics
from events.metrics_document import ReliabilityDiagram
from trainer.training.evaluation.scores import Errors

_HEIGHT, _LEFT, _BOTTOM, _PAD = 220.0, 38.0, 26.0, 12.0
_WIDE, _SQUARE = 460.0, 250.0
_CDF_POINTS = 200
_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in drawing units, its origin top left."""

    label: str
    width: float = _WIDE
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _WIDE - _PAD
    """The ends of the horizontal grid lines."""
    rows: Sequence[tuple[float, str]] = ()
    """Height and name of each horizontal grid line."""
    columns: Sequence[tuple[float, str]] = ()
    """Place and name of each value along the bottom."""
    line: str = ""
    """The points of a polyline."""
    marks: Sequence[tuple[float, float, str]] = ()
    """Place, upper end and name of vertical lines from the bottom."""
    dots: Sequence[tuple[float, float, float, str]] = ()
    """Place, height, radius and name."""
    diagonal: tuple[float, float, float, float] | None = None

    @property
    def bottom(self) -> float:
        """Where the lowest value is drawn."""
        return _y(0.0)


def error_distribution(errors_m: Errors | None, metrics: Metrics) -> Chart | None:
    """The share of held-out rows whose error is at most so many metres."""
    known = np.sort(errors_m[~np.isnan(errors_m)]) if errors_m is not None else np.empty(0)
    if not len(known):
        return None
    far = max(float(np.ceil(known[-1])), 1.0)
    shares = np.linspace(0.0, 1.0, _CDF_POINTS)
    marks = [("median", metrics.median_error_m, 0.5), ("90 %", metrics.p90_error_m, 0.9)]
    return Chart(
        label="Share of rows by largest error",
        rows=[(_y(share), f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        columns=[
            (_x(metres / far), f"{metres} m")
            for metres in range(0, int(far) + 1, max(1, round(far / _COLUMNS)))
        ],
        line=_polyline(np.quantile(known, shares) / far, shares),
        marks=[
            (_x(metres / far), _y(share), f"{name} {metres:.1f} m")
            for name, metres, share in marks
            if metres is not None
        ],
    )


def reliability(diagram: ReliabilityDiagram) -> Chart:
    """Confidence (to the right) against the share of exact answers (upward)."""
    right = _SQUARE - 30.0
    most = max(found.rows for found in diagram.bins)
    ticks = (0.0, 0.5, 1.0)
    return Chart(
        label="Confidence against share of exact answers",
        width=_SQUARE,
        right=right,
        rows=[(_y(share), f"{share:.0%}") for share in ticks],
        columns=[(_x(share, right), f"{share:.0%}") for share in ticks],
        dots=[
            (
                _x(found.confidence, right),
                _y(found.exact),
                3 + 7 * (found.rows / most) ** 0.5,
                f"{found.rows} rows: confidence {found.confidence:.0%}, exact {found.exact:.0%}",
            )
            for found in diagram.bins
        ],
        diagonal=(_x(0.0, right), _y(0.0), _x(1.0, right), _y(1.0)),
    )


def training_curve(losses: Sequence[float]) -> Chart | None:
    """The loss of each epoch; None for a single one."""
    if len(losses) < 2:
        return None
    low, high, last = min(losses), max(losses), len(losses) - 1
    span = max(high - low, 1e-9)
    heights = [(loss - low) / span for loss in losses]
    return Chart(
        label="Training loss by epoch",
        rows=[(_y((loss - low) / span), f"{loss:.2f}") for loss in (low, (low + high) / 2, high)],
        columns=[
            (_x(epoch / last), str(epoch + 1)) for epoch in sorted({0, len(losses) // 2, last})
        ],
        line=_polyline((epoch / last for epoch in range(len(losses))), heights),
    )


def _polyline(across: Iterable[float], up: Iterable[float]) -> str:
    points = zip(across, up, strict=True)
    return " ".join(f"{_x(part):.1f},{_y(height):.1f}" for part, height in points)


def _x(part: float, right: float = _WIDE - _PAD) -> float:
    return _LEFT + part * (right - _LEFT)


def _y(part: float) -> float:
    return _HEIGHT - _BOTTOM - part * (_HEIGHT - _BOTTOM - _PAD)
