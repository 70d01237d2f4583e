"""Drift: whether the distribution of a beacon's readings changed between two sets of surveys.

A survey of other places hears every beacon differently, though no beacon changed. So readings are
compared at locations that both sets cover, and the reference ones are weighted to the current ones'
shares of locations. The critical distance grows as the sets get smaller and the beacons more, which
limits false alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices
from trainer.localization.readings import FloatMatrix
from trainer.training.reading.training_set import TrainingSet

NOTABLE_DISTANCE = 0.25
"""Kolmogorov-Smirnov distance below which drift is not worth a warning."""
FEWEST_READINGS = 30
FALSE_ALARMS = 0.01
"""Family-wise rate of warnings on an unchanged site, for independent readings."""
READINGS_OF_A_VISIT = 4
"""Readings of one visit are dependent: they count as this many at most."""
MIN_EXPECTED_READINGS = 8.0
"""Hearing nothing where this many readings are expected has probability 1/3,000 (Poisson)."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class DriftWindows:
    """The rows of the current window; all others are the reference."""

    current: Mask
    """(rows,)"""
    are_comparable: bool
    """Whether neither window is empty."""
    description: str
    """Which sets of surveys they are, or why there are no two, in a sentence."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance between one beacon's readings in the two windows."""

    distance: float
    """Kolmogorov-Smirnov, 0 to 1; 1 for a beacon that fell silent."""
    is_notable: bool
    """Whether it is large and statistically significant."""
    at_common_locations: bool
    """Whether only locations in both windows were compared."""


def choose_windows(rows: Sequence[int], known_to_champion: Sequence[bool]) -> DriftWindows:
    """Choose the surveys to compare.

    Args:
        rows: number of labelled rows of each survey; the last is the newest.
        known_to_champion: for each, whether the champion learnt from it; empty without one.
    """
    new = [not known for known in known_to_champion]
    if any(new) and not all(new):
        return DriftWindows(
            np.repeat(new, rows),
            are_comparable=True,
            description=f"Compared: {_surveys(sum(new))} that the champion has not learnt from, "
            f"with {_surveys(len(new) - sum(new))} that it has.",
        )
    if known_to_champion and not any(new):
        nothing = np.zeros(sum(rows), dtype=bool)
        return DriftWindows(
            nothing, are_comparable=False, description="The champion has learnt from every survey."
        )
    newest = [index == len(rows) - 1 for index in range(len(rows))]
    return DriftWindows(
        np.repeat(newest, rows) if rows else np.zeros(0, dtype=bool),
        are_comparable=len(rows) > 1,
        description=f"Compared: the newest survey, with {_surveys(len(rows) - 1)} before it."
        if len(rows) > 1
        else "There is one survey, and nothing before it.",
    )


def _surveys(count: int) -> str:
    return "one survey" if count == 1 else f"{count} surveys"


def beacon_drifts(data: TrainingSet, windows: DriftWindows) -> list[Drift | None]:
    """The drift of each beacon; None with too few readings."""
    if not windows.are_comparable:
        return [None] * len(data.beacons)
    return [_drift(column, data, windows.current, len(data.beacons)) for column in data.rssi.T]


def _drift(column: FloatMatrix, data: TrainingSet, current: Mask, beacons: int) -> Drift | None:
    heard = ~np.isnan(column)
    if not (heard & current).any():
        return _silence(data.cells, heard, current)
    everywhere = _Samples(column, data, heard & current, heard & ~current)
    shared = everywhere.at_common_locations()
    samples = shared if shared.is_enough else everywhere
    if not samples.is_enough:
        return None
    distance = samples.distance()
    notable = distance >= max(NOTABLE_DISTANCE, samples.critical_distance(beacons))
    return Drift(distance, is_notable=notable, at_common_locations=samples is shared)


def _silence(cells: CellIndices, heard: Mask, current: Mask) -> Drift | None:
    """A beacon without current readings drifted fully, if readings were to be expected."""
    where = np.isin(cells, cells[heard & ~current])
    then = (where & ~current).sum()
    expected = (where & current).sum() * heard[where & ~current].mean() if then else 0.0
    if expected < MIN_EXPECTED_READINGS:
        return None
    return Drift(1.0, is_notable=True, at_common_locations=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """One beacon's readings in both windows."""

    column: FloatMatrix
    data: TrainingSet
    current: Mask
    reference: Mask

    def at_common_locations(self) -> "_Samples":
        """The readings at locations with readings in both windows."""
        both = np.isin(
            self.data.cells,
            np.intersect1d(self.data.cells[self.current], self.data.cells[self.reference]),
        )
        return _Samples(self.column, self.data, self.current & both, self.reference & both)

    @property
    def is_enough(self) -> bool:
        return bool(min(self.current.sum(), self.reference.sum()) >= FEWEST_READINGS)

    def distance(self) -> float:
        """Between the current readings and the reference ones, with equal shares of cells."""
        now, then = self.column[self.current], self.column[self.reference]
        steps = np.union1d(now, then)
        below_now = _share_below(now, np.ones(len(now)), steps)
        below_then = _share_below(then, self._weights(), steps)
        return float(np.abs(below_now - below_then).max())

    def critical_distance(self, beacons: int) -> float:
        """Critical value of the two-sample test for :data:`FALSE_ALARMS` (Bonferroni)."""
        weights = self._weights()
        evenness = weights.sum() ** 2 / (np.square(weights).sum() * len(weights))
        now, then = (
            self._effective_size(self.current),
            self._effective_size(self.reference) * evenness,
        )
        level = math.sqrt(-0.5 * math.log(FALSE_ALARMS / beacons / 2.0))
        return level * math.sqrt((now + float(then)) / (now * float(then)))

    def _weights(self) -> Floats:
        """Weights of the reference readings; all 1 if a location has no current ones."""
        cells, count = self.data.cells, len(self.data.labels)
        now = np.bincount(cells[self.current], minlength=count)
        then = np.bincount(cells[self.reference], minlength=count)
        if not now[then > 0].all():
            return np.ones(int(self.reference.sum()))
        weights: Floats = (now / np.maximum(then, 1))[cells[self.reference]]
        return weights

    def _effective_size(self, window: Mask) -> int:
        """Number of independent readings in a window."""
        _, sizes = np.unique(self.data.visits[window], return_counts=True)
        return int(np.minimum(sizes, READINGS_OF_A_VISIT).sum())


def _share_below(readings: FloatMatrix, weights: Floats, steps: FloatMatrix) -> Floats:
    """(steps,) the weighted share of readings up to each step."""
    order = np.argsort(readings, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(weights[order])])
    shares: Floats = summed[np.searchsorted(readings[order], steps, side="right")] / summed[-1]
    return shares
