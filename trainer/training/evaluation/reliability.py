"""How far figures can be trusted: intervals, calibration, and an error radius with known coverage.

Rows of one visit are alike, so resampling single rows would make intervals too narrow; whole visits
are resampled. A radius that is judged on the rows it was fitted to flatters; its coverage is
measured by halves, each with the scale of the other half.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.bundle.description import ErrorRadius
from trainer.training.evaluation.hold_out import Rows

RADIUS_SHARE = 0.9
"""The share of true positions that should lie within an answer's radius."""
BINS = 10
FEWEST_FOR_RADIUS = 20
"""Below it the 90 % quantile would be one of the two largest errors."""

_RESAMPLES = 1000
_MAX_GROUPS = 25_000
"""More visits are drawn in groups of neighbours: the same intervals in a tenth of the time."""
_BLOCK_NUMBERS = 2**18
"""Numbers in a block of resamples: 2 MB, which stay in the cache."""
_MAX_PARTS = 64
_SEED = 7
_LOW, _HIGH = 0.025, 0.975

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval, from these visits."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Rows of about the same confidence."""

    rows: int
    confidence: float
    """Their mean confidence."""
    exact: float
    """The share of them answered with the true cell."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a confidence of 30 % is right in 30 of 100 cases."""

    expected_error: float
    """Expected calibration error over ten bins of equal width (Guo et al., 2017)."""
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True, slots=True)
class RadiusReport:
    """The radius that goes into the bundle, and its coverage of rows it was not fitted to."""

    radius: ErrorRadius
    coverage: float
    median_m: float


class Bootstrap:
    """Resampled visits, the same for every figure, so that figures can be compared.

    They are drawn again for each figure, block by block, as all of them would take a thousand
    numbers for each visit.
    """

    def __init__(self, visits: Rows) -> None:
        """Resample ``visits``, those of (rows,) judged rows, with replacement."""
        _, members = np.unique(visits, return_inverse=True)
        self._members = members // -(-(int(members.max()) + 1) // _MAX_GROUPS)
        self._count = int(self._members.max()) + 1
        self._at_once = max(1, _BLOCK_NUMBERS // self._count)

    def mean(self, values: Floats) -> Interval:
        """The interval of a mean over rows; NaN rows are left out."""
        known = ~np.isnan(values)
        sums = np.bincount(self._members, np.where(known, values, 0.0), self._count)
        rows = np.bincount(self._members, known.astype(float), self._count)
        totals = np.column_stack([sums, rows])
        found = np.concatenate([times @ totals for times in self._resamples()])
        return _interval(found[:, 0] / np.maximum(found[:, 1], 1.0))

    def quantile(self, values: Floats, share: float) -> Interval:
        """The interval of a quantile over rows; NaN rows are left out."""
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known], kind="stable")]
        ordered, members = values[order], self._members[order]
        # Only the part of the rows that contains the quantile is searched in each resample.
        step = -(-len(order) // min(self._at_once, _MAX_PARTS))
        counts = self._by_part(members, step)
        found = []
        for times in self._resamples():
            reached = np.cumsum(times @ counts, axis=1)
            for drawn, ends in zip(times, reached, strict=True):
                target = share * ends[-1]
                part = int(np.searchsorted(ends, target))
                start = part * step
                before = ends[part - 1] if part else 0.0
                inside = before + np.cumsum(drawn[members[start : start + step]])
                found.append(ordered[start + int(np.searchsorted(inside, target))])
        return _interval(np.array(found))

    def _by_part(self, members: Rows, step: int) -> Floats:
        """(visits, parts): how many rows of each part belong to each visit."""
        parts = -(-len(members) // step)
        places = members * parts + np.arange(len(members)) // step
        return np.bincount(places, minlength=self._count * parts).reshape(-1, parts).astype(float)

    def _resamples(self) -> Iterator[Floats]:
        """Blocks of (resamples, visits): how often each visit was drawn."""
        random = np.random.default_rng(_SEED)
        for start in range(0, _RESAMPLES, self._at_once):
            size = (min(self._at_once, _RESAMPLES - start), self._count)
            draws = random.integers(0, self._count, size=size)
            draws += np.arange(size[0])[:, np.newaxis] * self._count
            times = np.bincount(draws.ravel(), minlength=draws.size)
            yield times.reshape(size).astype(float)


def _interval(figures: Floats) -> Interval:
    low, high = np.quantile(figures, [_LOW, _HIGH])
    return Interval(float(low), float(high))


def calibration(confidences: npt.NDArray[np.float32], exact: npt.NDArray[np.bool_]) -> Calibration:
    """Compare confidence with the outcome.

    Args:
        confidences: (rows,) in 0 to 1.
        exact: (rows,) whether the likeliest cell was the true one.
    """
    place = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = [
        ConfidenceBin(
            rows=int(rows.sum()),
            confidence=float(confidences[rows].mean()),
            exact=float(exact[rows].mean()),
        )
        for rows in (place == number for number in range(BINS))
        if rows.any()
    ]
    error = sum(abs(found.confidence - found.exact) * found.rows for found in bins) / len(exact)
    return Calibration(expected_error=error, bins=tuple(bins))


def fit_radius(expected_m: Floats, errors_m: Floats, visits: Rows) -> RadiusReport | None:
    """Fit the radius of a model to rows it has not seen.

    Args:
        expected_m: (rows,) the error that the model expected.
        errors_m: (rows,) the error that it made; NaN where the position is unknown.
        visits: (rows,) rows of one visit go to one half.

    Returns:
        None where there are too few rows.
    """
    known = ~np.isnan(errors_m)
    if known.sum() < FEWEST_FOR_RADIUS:
        return None
    ratios = errors_m[known] / np.maximum(expected_m[known], 1e-6)
    half = visits[known] % 2 == 0
    held = np.zeros(len(ratios), dtype=bool)
    for side in (half, ~half):
        if side.any() and (~side).any():
            held[side] = ratios[side] <= _conformal(ratios[~side])
    scale = _conformal(ratios)
    return RadiusReport(
        radius=ErrorRadius(share=RADIUS_SHARE, scale=round(scale, 6)),
        coverage=float(held.mean()),
        median_m=float(np.median(expected_m[known]) * scale),
    )


def _conformal(ratios: Floats) -> float:
    """The quantile that covers the share of further rows (split conformal, Lei et al., 2018)."""
    rank = min(1.0, RADIUS_SHARE * (len(ratios) + 1) / len(ratios))
    return float(np.quantile(ratios, rank, method="higher"))
