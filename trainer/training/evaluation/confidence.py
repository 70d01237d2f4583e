"""Temperature scaling: makes the confidence of an answer mean what it says.

The network's own probability is too high on unseen visits where locations sound alike, and far too
low where they do not, as its targets spread over neighbours. Dividing the logits by one number
corrects both without changing the cell, the point or the radius. A temperature that is judged on
the rows it was fitted to flatters; so the reported figures come from halves of the visits, each
with the temperature of the other half. Few rows would give a random temperature, so they give none.
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
"""They narrow the interval between two tries to a 5,000th of it."""
_SURE = 1e-7
"""In single precision no confidence comes closer to 0 or 1."""

Floats = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ConfidenceReport:
    """The temperature that goes into the bundle, and its effect on rows it was not fitted to.

    Brier: the mean square of confidence minus outcome (0 is best). The fields are named as in
    ``metrics.json``.
    """

    temperature: float
    own: Calibration
    """The network's own probability, in bins."""
    own_brier: float
    told: Calibration
    """The served confidence in bins, at the temperature of the other half of the visits."""
    told_brier: float


def calibrate_confidence(
    posteriors: FloatMatrix, exact: Hits, visits: Rows
) -> ConfidenceReport | None:
    """Fit a model's temperature to rows it has not seen, and measure the effect.

    Args:
        posteriors: (rows, cells) the network's probabilities.
        exact: (rows,) whether the likeliest cell was the true one.
        visits: (rows,) rows of one visit go to one half.

    Returns:
        None where there are too few rows.
    """
    half = np.unique(visits, return_inverse=True)[1] % 2 == 0
    if len(exact) < FEWEST_FOR_TEMPERATURE or half.all():
        return None
    own = posteriors.max(axis=1)
    scaled = np.empty_like(own)
    for side in (half, ~half):
        temperature = fitted_temperature(posteriors[~side], exact[~side])
        scaled[side] = tempered(posteriors[side], temperature).max(axis=1)
    return ConfidenceReport(
        temperature=fitted_temperature(posteriors, exact),
        own=calibration(own, exact),
        own_brier=_brier(own, exact),
        told=calibration(scaled, exact),
        told_brier=_brier(scaled, exact),
    )


def fitted_temperature(posteriors: FloatMatrix, exact: Hits) -> float:
    """The temperature of the highest likelihood, from 0.1 to 5.

    It is the likelihood of "the answered cell is right", not that of the true cell, because it did
    better on later visits of the UCI set (docs/adr/0020).

    Args:
        posteriors: (rows, cells) the network's probabilities; at least one row.
        exact: (rows,) whether the likeliest cell was the true one.
    """
    ratios = posteriors / posteriors.max(axis=1, keepdims=True)
    logs = np.log(np.maximum(ratios, np.finfo(np.float32).tiny))
    targets = _smoothed(exact)

    def negative_log_likelihood(temperature: float) -> float:
        sure = 1.0 / np.exp(logs / np.float32(temperature)).sum(axis=1, dtype=np.float64)
        sure = np.clip(sure, _SURE, 1.0 - _SURE)
        return float(-(targets * np.log(sure) + (1.0 - targets) * np.log1p(-sure)).mean())

    best = int(np.argmin([negative_log_likelihood(float(temperature)) for temperature in _TRIED]))
    low, high = _TRIED[max(best - 1, 0)], _TRIED[min(best + 1, len(_TRIED) - 1)]
    return round(_minimum(negative_log_likelihood, float(low), float(high)), 4)


def _smoothed(exact: Hits) -> Floats:
    """Targets nearly 1 and nearly 0, depending on how many there are of each (Platt, 1999).

    Without smoothing, rows that were all answered correctly would demand certainty.
    """
    hits = int(np.count_nonzero(exact))
    misses = len(exact) - hits
    return np.where(exact, (hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0))


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """The argument of the minimum, by golden-section search on a logarithmic scale."""
    left, right = float(np.log(low)), float(np.log(high))
    for _ in range(_NARROWINGS):
        width = _GOLDEN * (right - left)
        if function(float(np.exp(right - width))) <= function(float(np.exp(left + width))):
            right = left + width
        else:
            left = right - width
    return float(np.exp((left + right) / 2))


def _brier(confidences: npt.NDArray[np.float32], exact: Hits) -> float:
    return float(np.square(confidences.astype(np.float64) - exact).mean())
