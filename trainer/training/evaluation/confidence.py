"""Makes the confidence that is told mean what it says: one temperature, fitted to held-out rows.

The network's own probability is too high on visits that it has not seen where locations sound
alike, and far too low where they do not, as its targets spread over neighbours. Dividing its logits
by one number sets both right without a change to the cell, the point or the radius. What may go
wrong: a temperature judged on the rows that it was fitted to flatters, so what is reported of it is
measured by halves of the visits, each with the other's temperature. And with few rows it would be
chance; then there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, tempered
from trainer.localization.readings import FloatMatrix
from trainer.training.evaluation.hold_out import Rows
from trainer.training.evaluation.reliability import Calibration, calibration

FEWEST_FOR_TEMPERATURE = 50
"""A share of 50 rows is known to 14 points either way at best (binomial, 95 %)."""

_TRIED = np.geomspace(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE, 21)
_GOLDEN = (5**0.5 - 1) / 2
_NARROWINGS = 16
"""Leave a part in 5,000 of what lies between two tries."""
_SURE = 1e-7
"""Single precision tells no confidence nearer to 0 or 1."""

Floats = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ConfidenceReport:
    """The temperature that goes into the bundle, and what its like did to rows it had not seen.

    Brier: the mean square of confidence less what happened (0 is best).
    """

    temperature: float
    own: Calibration
    """Of the network's own probability, on the same rows."""
    own_brier: float
    told: Calibration
    """Of the confidence that is told, by the other half's temperature."""
    told_brier: float


def calibrate_confidence(
    posteriors: FloatMatrix, exact: Hits, visits: Rows
) -> ConfidenceReport | None:
    """Choose a model's temperature from rows it has not seen, and measure what it is worth.

    Args:
        posteriors: (rows, cells) as the network says.
        exact: (rows,) whether the likeliest cell was the true one.
        visits: (rows,) rows of one visit go to one half.

    Returns:
        None where there are too few rows to tell.
    """
    half = np.unique(visits, return_inverse=True)[1] % 2 == 0
    if len(exact) < FEWEST_FOR_TEMPERATURE or half.all():
        return None
    own = posteriors.max(axis=1)
    told = np.empty_like(own)
    for side in (half, ~half):
        temperature = fitted_temperature(posteriors[~side], exact[~side])
        told[side] = tempered(posteriors[side], temperature).max(axis=1)
    return ConfidenceReport(
        temperature=fitted_temperature(posteriors, exact),
        own=calibration(own, exact),
        own_brier=_brier(own, exact),
        told=calibration(told, exact),
        told_brier=_brier(told, exact),
    )


def fitted_temperature(posteriors: FloatMatrix, exact: Hits) -> float:
    """The temperature by which what happened is likeliest, from 0.1 to 5.

    Likely is meant of "the answered cell is right", not of the true cell: on the UCI set that one
    served later visits better (docs/adr/0020).

    Args:
        posteriors: (rows, cells) as the network says; at least one row.
        exact: (rows,) whether the likeliest cell was the true one.
    """
    ratios = posteriors / posteriors.max(axis=1, keepdims=True)
    logs = np.log(np.maximum(ratios, np.finfo(np.float32).tiny))
    wanted = _smoothed(exact)

    def surprise(temperature: float) -> float:
        sure = 1.0 / np.exp(logs / np.float32(temperature)).sum(axis=1, dtype=np.float64)
        sure = np.clip(sure, _SURE, 1.0 - _SURE)
        return float(-(wanted * np.log(sure) + (1.0 - wanted) * np.log1p(-sure)).mean())

    best = int(np.argmin([surprise(float(temperature)) for temperature in _TRIED]))
    low, high = _TRIED[max(best - 1, 0)], _TRIED[min(best + 1, len(_TRIED) - 1)]
    return round(_least(surprise, float(low), float(high)), 4)


def _smoothed(exact: Hits) -> Floats:
    """What to aim at: nearly 1 and nearly 0, by how many there are of each (Platt, 1999).

    Else rows that were all answered rightly would ask for certainty.
    """
    hits = int(np.count_nonzero(exact))
    misses = len(exact) - hits
    return np.where(exact, (hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0))


def _least(figure: Callable[[float], float], low: float, high: float) -> float:
    """Where a figure is least between two values, by the golden section on a logarithmic scale."""
    left, right = float(np.log(low)), float(np.log(high))
    for _ in range(_NARROWINGS):
        width = _GOLDEN * (right - left)
        if figure(float(np.exp(right - width))) <= figure(float(np.exp(left + width))):
            right = left + width
        else:
            left = right - width
    return float(np.exp((left + right) / 2))


def _brier(confidences: npt.NDArray[np.float32], exact: Hits) -> float:
    return float(np.square(confidences.astype(np.float64) - exact).mean())
