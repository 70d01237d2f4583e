"""Chains of rows that repeat others in order, and what one has to be worth to be believed.

What may go wrong: chance. The more rows of a location there are, the more pairs of them can look
alike, so what is asked of a chain grows with their number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix
from trainer.training.reading.row_keys import mixed
from trainer.training.reading.training_set import TrainingSet

NEAR_DB = 2.0
"""Copies differ by at most this, for each beacon; the same beacons are heard."""
ENOUGH_BITS = 24.0
"""What a chain has to be worth among :data:`ENOUGH_PAIRS`. By chance the best is worth 6 among the
rows of the UCI set that hold no copies, and up to 15 on a made-up floor that is walked six times
along one route. Among 10,000 rows (29 asked) it was 20, as a run among a million (43 asked) 16: the
worst of several made-up floors, whose signals stay the same for a visit."""
ENOUGH_PAIRS = 12_000
"""Pairs of rows of one location in the UCI set, which :data:`ENOUGH_BITS` was set for; each
doubling of them asks for another bit."""
COMMON_BITS = 0.35
"""Taken off what a link is worth."""

_PART_READINGS = 1 << 20
"""Readings that are looked at together: 4 MB, and their differences as much again."""

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint64]


class Order(StrEnum):
    """How a block of copies runs beside its source."""

    FORWARD = "in the same order"
    BACKWARD = "in reversed order"

    @property
    def step(self) -> int:
        """Where the source goes when the copy goes to the next row."""
        return 1 if self is Order.FORWARD else -1


@dataclass(frozen=True, slots=True)
class CopiedBlock:
    """Rows that repeat others, by their places in the training set."""

    first: int
    last: int
    """The range of the earlier rows of the block, both ends included."""
    source_first: int
    source_last: int
    """The range of the rows that they repeat."""
    rows: int
    """How many rows of the range were linked."""
    order: Order


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Rows, each with the later row that it repeats."""

    rows: Rows
    sources: Rows
    order: Order

    @property
    def block(self) -> CopiedBlock:
        """Where it lies."""
        return CopiedBlock(
            int(self.rows.min()),
            int(self.rows.max()),
            int(self.sources.min()),
            int(self.sources.max()),
            len(self.rows),
            self.order,
        )


def enough_bits(data: TrainingSet) -> float:
    """What a chain has to be worth in a set of this size, so that chance does not explain it."""
    sizes = np.bincount(data.cells).astype(np.float64)
    pairs = float((sizes * (sizes - 1) / 2).sum())
    return ENOUGH_BITS + math.log2(max(1.0, pairs / ENOUGH_PAIRS))


def codes_of(data: TrainingSet) -> Codes:
    """(rows,) a number that rows share which are of one location and hear the same beacons."""
    cells, beacons = len(data.labels), len(data.beacons)
    numbers = mixed(np.arange(1, cells + beacons + 1, dtype=np.uint64))
    codes = numbers[data.cells]
    for part in parts(len(data), 2 * beacons):
        codes[part] += (~np.isnan(data.rssi[part])).astype(np.uint64) @ numbers[cells:]
    return codes


def are_near(levels: FloatMatrix, codes: Codes, rows: Rows, others: Rows) -> Mask:
    """Whether each row is near the other one beside it."""
    near = np.empty(len(rows), dtype=bool)
    for part in parts(len(rows), levels.shape[1]):
        near[part] = codes[rows[part]] == codes[others[part]]
        places = part.start + np.flatnonzero(near[part])
        apart = np.abs(levels[rows[places]] - levels[others[places]])
        # Neither hears a beacon: the difference is NaN, and not more than anything.
        near[places] = ~(apart > NEAR_DB).any(axis=1)
    return near


def parts(count: int, width: int) -> Iterator[slice]:
    """Slices of so many rows that a matrix of them stays small."""
    size = max(1, _PART_READINGS // max(width, 1))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
