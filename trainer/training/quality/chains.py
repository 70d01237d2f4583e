"""Chains: rows that repeat others in order, scored in bits of surprise.

The more rows a location has, the more pairs of them are alike by coincidence, so the score at which
a chain is significant grows with their number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix
from trainer.training.reading.row_keys import mix_bits
from trainer.training.reading.training_set import TrainingSet

NEAR_DB = 2.0
"""Near-duplicates hear the same beacons and differ by at most this for each."""
SIGNIFICANT_BITS = 24.0
"""Least score of a significant chain among :data:`REFERENCE_PAIRS`. Without copies, the best chain
scores 6 in the UCI set and up to 15 on a simulated floor that is walked six times along one route.
The worst of several simulated floors, whose signals are constant within a visit, scored 20 among
10,000 rows (29 required) and 16 among a million (43 required)."""
REFERENCE_PAIRS = 12_000
"""Pairs of rows of one location in the UCI set, for which :data:`SIGNIFICANT_BITS` was chosen; each
doubling of the pairs requires another bit."""
LINK_COST_BITS = 0.35
"""Subtracted from the score of each link."""

_SLICE_READINGS = 1 << 20
"""Readings to compare at once: 4 MB, and their differences as much again."""

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint64]


class Order(StrEnum):
    """The direction of a block of copies relative to its source."""

    FORWARD = "in the same order"
    BACKWARD = "in reversed order"

    @property
    def step(self) -> int:
        """The source's step for each step of the copy."""
        return 1 if self is Order.FORWARD else -1


@dataclass(frozen=True, slots=True)
class CopiedBlock:
    """A range of rows that repeats another; the fields' names are keys of ``metrics.json``."""

    first: int
    last: int
    """Bounds of the earlier rows, both inclusive."""
    source_first: int
    source_last: int
    """Bounds of the rows that they repeat."""
    rows: int
    """Number of linked rows in the range."""
    order: Order


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Linked rows: each with the later row that it repeats."""

    rows: Rows
    sources: Rows
    order: Order

    @property
    def block(self) -> CopiedBlock:
        """The range of its rows."""
        return CopiedBlock(
            int(self.rows.min()),
            int(self.rows.max()),
            int(self.sources.min()),
            int(self.sources.max()),
            len(self.rows),
            self.order,
        )


def significant_bits(data: TrainingSet) -> float:
    """Least score of a significant chain in a set of this size."""
    sizes = np.bincount(data.cells).astype(np.float64)
    pairs = float((sizes * (sizes - 1) / 2).sum())
    return SIGNIFICANT_BITS + math.log2(max(1.0, pairs / REFERENCE_PAIRS))


def beacon_set_codes(data: TrainingSet) -> Codes:
    """(rows,) a number shared by rows of one location that hear the same beacons."""
    cells, beacons = len(data.labels), len(data.beacons)
    numbers = mix_bits(np.arange(1, cells + beacons + 1, dtype=np.uint64))
    codes = numbers[data.cells]
    for part in row_slices(len(data), 2 * beacons):
        codes[part] += (~np.isnan(data.rssi[part])).astype(np.uint64) @ numbers[cells:]
    return codes


def are_near(levels: FloatMatrix, codes: Codes, rows: Rows, others: Rows) -> Mask:
    """Whether each row is a near-duplicate of the one at the same index."""
    near = np.empty(len(rows), dtype=bool)
    for part in row_slices(len(rows), levels.shape[1]):
        near[part] = codes[rows[part]] == codes[others[part]]
        places = part.start + np.flatnonzero(near[part])
        apart = np.abs(levels[rows[places]] - levels[others[places]])
        # If neither hears a beacon, the difference is NaN, which is not greater than anything.
        near[places] = ~(apart > NEAR_DB).any(axis=1)
    return near


def row_slices(count: int, width: int) -> Iterator[slice]:
    """Slices of rows, small enough for a matrix of this width to fit the cache."""
    size = max(1, _SLICE_READINGS // max(width, 1))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
