"""Whether beacons sound as they did: their readings in two sets of surveys, held side by side.

A survey that covers other places hears every beacon otherwise, though none changed. So readings
are compared where both sets have rows, and the earlier ones are weighted to the later ones' shares
of locations. What may go wrong: chance. The distance that is worth a warning grows as the sets get
smaller and the beacons more, so that an unchanged site is seldom called changed.
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
"""Kolmogorov-Smirnov distance between two sets of readings that deserves a look."""
FEWEST_READINGS = 30
FALSE_ALARMS = 0.01
"""How often an unchanged site may be called changed, over all its beacons, if readings were
independent; those of one visit are not, and so the rows of a visit count as this many at most."""
READINGS_OF_A_VISIT = 4
EXPECTED_OF_THE_SILENT = 8.0
"""Hearing nothing where so many readings are expected has a chance of 1 in 3,000 (Poisson)."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Eras:
    """Which rows are earlier and which later; (rows,) each, or nothing to compare."""

    later: Mask
    compared: bool
    said: str
    """Which sets they are, or why there are no two, in a sentence."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one beacon's readings in two sets lie apart."""

    distance: float
    """Kolmogorov-Smirnov, 0 to 1; 1 for a beacon that fell silent."""
    is_notable: bool
    """Whether it is far, and further than chance would be."""
    same_places: bool
    """Whether only locations that both sets have were compared."""


def eras_of(rows: Sequence[int], known_to_champion: Sequence[bool]) -> Eras:
    """Which surveys are held against which.

    Args:
        rows: how many labelled rows each survey has; the last is the newest.
        known_to_champion: for each, whether the champion learnt from it; empty without one.
    """
    new = [not known for known in known_to_champion]
    if any(new) and not all(new):
        return Eras(
            np.repeat(new, rows),
            compared=True,
            said=f"Compared: {_surveys(sum(new))} that the champion has not learnt from, with "
            f"{_surveys(len(new) - sum(new))} that it has.",
        )
    if known_to_champion and not any(new):
        nothing = np.zeros(sum(rows), dtype=bool)
        return Eras(nothing, compared=False, said="The champion has learnt from every survey.")
    newest = [place == len(rows) - 1 for place in range(len(rows))]
    return Eras(
        np.repeat(newest, rows) if rows else np.zeros(0, dtype=bool),
        compared=len(rows) > 1,
        said=f"Compared: the newest survey, with {_surveys(len(rows) - 1)} before it."
        if len(rows) > 1
        else "There is one survey, and nothing before it.",
    )


def _surveys(count: int) -> str:
    return "one survey" if count == 1 else f"{count} surveys"


def beacon_drifts(data: TrainingSet, eras: Eras) -> list[Drift | None]:
    """The drift of each beacon; None where there is too little to tell."""
    if not eras.compared:
        return [None] * len(data.beacons)
    return [_drift(column, data, eras.later, len(data.beacons)) for column in data.rssi.T]


def _drift(column: FloatMatrix, data: TrainingSet, later: Mask, beacons: int) -> Drift | None:
    heard = ~np.isnan(column)
    if not (heard & later).any():
        return _silence(data.cells, heard, later)
    everywhere = _Sides(column, data, heard & later, heard & ~later)
    shared = everywhere.where_both_were()
    sides = shared if shared.is_enough else everywhere
    if not sides.is_enough:
        return None
    distance = sides.distance()
    notable = distance >= max(NOTABLE_DISTANCE, sides.by_chance(beacons))
    return Drift(distance, is_notable=notable, same_places=sides is shared)


def _silence(cells: CellIndices, heard: Mask, later: Mask) -> Drift | None:
    """A beacon without later readings drifted as far as can be, if some were to be expected."""
    where = np.isin(cells, cells[heard & ~later])
    then = (where & ~later).sum()
    expected = (where & later).sum() * heard[where & ~later].mean() if then else 0.0
    if expected < EXPECTED_OF_THE_SILENT:
        return None
    return Drift(1.0, is_notable=True, same_places=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """One beacon's readings, later and earlier."""

    column: FloatMatrix
    data: TrainingSet
    later: Mask
    earlier: Mask

    def where_both_were(self) -> "_Sides":
        """The same of locations that both have readings from."""
        both = np.isin(
            self.data.cells,
            np.intersect1d(self.data.cells[self.later], self.data.cells[self.earlier]),
        )
        return _Sides(self.column, self.data, self.later & both, self.earlier & both)

    @property
    def is_enough(self) -> bool:
        return bool(min(self.later.sum(), self.earlier.sum()) >= FEWEST_READINGS)

    def distance(self) -> float:
        """Between the later readings and the earlier ones in the later ones' shares of cells."""
        now, then = self.column[self.later], self.column[self.earlier]
        steps = np.union1d(now, then)
        below_now = _share_below(now, np.ones(len(now)), steps)
        below_then = _share_below(then, self._weights(), steps)
        return float(np.abs(below_now - below_then).max())

    def by_chance(self, beacons: int) -> float:
        """What the distance is at most, but for :data:`FALSE_ALARMS` (two-sample test)."""
        weights = self._weights()
        evenness = weights.sum() ** 2 / (np.square(weights).sum() * len(weights))
        now, then = self._independent(self.later), self._independent(self.earlier) * evenness
        level = math.sqrt(-0.5 * math.log(FALSE_ALARMS / beacons / 2.0))
        return level * math.sqrt((now + float(then)) / (now * float(then)))

    def _weights(self) -> Floats:
        """Of the earlier readings; 1 where a location has none of the later ones."""
        cells, count = self.data.cells, len(self.data.labels)
        now = np.bincount(cells[self.later], minlength=count)
        then = np.bincount(cells[self.earlier], minlength=count)
        if not now[then > 0].all():
            return np.ones(int(self.earlier.sum()))
        weights: Floats = (now / np.maximum(then, 1))[cells[self.earlier]]
        return weights

    def _independent(self, side: Mask) -> int:
        """How many readings a side is worth."""
        _, sizes = np.unique(self.data.visits[side], return_counts=True)
        return int(np.minimum(sizes, READINGS_OF_A_VISIT).sum())


def _share_below(readings: FloatMatrix, weights: Floats, steps: FloatMatrix) -> Floats:
    """(steps,) the weighted share of readings up to each step."""
    order = np.argsort(readings, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(weights[order])])
    shares: Floats = summed[np.searchsorted(readings[order], steps, side="right")] / summed[-1]
    return shares
