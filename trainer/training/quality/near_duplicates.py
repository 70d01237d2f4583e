"""Finds rows that are copies of other rows, and whole blocks of them, also turned round in time.

A survey that repeats another one, row for row, perhaps a decibel off, makes every honest-looking
split dishonest: on the UCI library set 600 of 1,420 rows repeat others, backwards. One row alone
proves nothing where a location hears a single beacon, always at the same strength; an order of
rows that is kept (or kept backwards) over many rows does. So near rows of one location are chained
in file order, a link counts by how unusual it is for its location, and only long chains are
believed; inside them rows are aligned location by location. Large and dense sets are searched for
straight runs instead, see :mod:`trainer.training.quality.seed_and_extend`.

What may go wrong: two honest walks along one route past strong, steady beacons look alike. Links
that are usual for their location weigh nothing, and chains need :func:`enough_bits`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix
from trainer.training.quality.chains import (
    COMMON_BITS,
    NEAR_DB,
    Chain,
    CopiedBlock,
    Mask,
    Order,
    Rows,
    codes_of,
    enough_bits,
    parts,
)
from trainer.training.quality.seed_and_extend import LONG_STRETCH, STRETCH, find_runs
from trainer.training.reading.training_set import TrainingSet

__all__ = ["CopiedBlock", "NearDuplicates", "Order", "find_near_duplicates"]

BESIDE_BITS = 5.0
"""What one has to be worth next to a certain one in the same order: copies come in blocks."""
BESIDE_ROWS = 8
"""How near to a certain chain a weaker one has to begin or end."""
MOST_ROWS = 10_000
"""Larger sets are searched for straight runs only: near rows cost the square of a location's."""
MOST_LINKS = 10_000
"""So are sets with more pairs of near rows; the UCI set has 1,537."""
USUAL_LINKS = 1.1
"""Pairs of near rows for each row of the UCI set."""
DENSE_BITS = 12.0
"""How much more a chain has to be worth for each doubling of them, as gaps let chance build chains:
on a made-up route of one beacon at each place the best was worth 21 bits at 1 for each row (five
seeds), 25 at 1.6 and 35 at 3.3."""
MOST_ALIGNED = 250_000
"""Locations with more pairs of rows than this in blocks keep the links of chains as they are."""

_REACH = 4
_GAP_BITS = 0.6
_IN_CHAIN_BONUS = 0.1
_UNLIKE = -9.0
_NOT_HEARD = 1000.0

Link = tuple[int, int]
Pairs = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class NearDuplicates:
    """What was found to be copies."""

    pairs: Pairs
    """(n, 2): a row and the later row that it repeats; each row at most once."""
    blocks: tuple[CopiedBlock, ...]
    exact_rows: int
    """Rows that say exactly what a row of another visit of their location says."""
    left_out_rows: int
    """Rows of a large set that were not searched: what they hear is too usual, or rows like them
    are too many."""

    @property
    def rows(self) -> Rows:
        """Every row that is a side of a pair, ascending."""
        found: Rows = np.unique(self.pairs)
        return found


def find_near_duplicates(data: TrainingSet) -> NearDuplicates:
    """Look for copies among the rows of a training set, in the order that surveys hold them.

    Args:
        data: rows in file order; its visits tell which rows were taken together, as rows of one
            visit are alike for a good reason.
    """
    links = _links(data) if len(data) <= MOST_ROWS else None
    if links is None:
        runs = find_runs(data, STRETCH if len(data) <= MOST_ROWS else LONG_STRETCH)
        chains, left_out = runs.chains, runs.left_out_rows
        pairs = [np.column_stack((chain.rows, chain.sources)) for chain in chains]
    else:
        density = len(links) / max(1, len(data)) / USUAL_LINKS
        enough = enough_bits(data) + DENSE_BITS * math.log2(max(1.0, density))
        chains, left_out = _chains(links, enough), 0
        pairs = [
            _aligned(data, [chain for chain in chains if chain.order is order], order)
            for order in Order
        ]
    blocks = [chain.block for chain in chains]
    return NearDuplicates(
        pairs=_once(np.concatenate([np.empty((0, 2), dtype=np.intp), *pairs])),
        blocks=tuple(sorted(blocks, key=lambda block: (block.first, block.source_first))),
        exact_rows=_exact_rows(data),
        left_out_rows=left_out,
    )


def _exact_rows(data: TrainingSet) -> int:
    """Rows that another visit of their location repeats exactly."""
    _, group = np.unique(data.keys, return_inverse=True)
    visits = np.full((2, group.max() + 1), [[len(data)], [-1]], dtype=np.intp)
    np.minimum.at(visits[0], group, data.visits)
    np.maximum.at(visits[1], group, data.visits)
    return int((visits[0] != visits[1])[group].sum())


def _chains(worth: dict[Link, float], certain: float) -> tuple[Chain, ...]:
    """The chains that chance does not explain; each row is in one at most."""
    candidates = [
        (score, link, order, before)
        for order in Order
        for score, link, before in _scored(worth, order)
    ]
    candidates.sort(key=lambda candidate: -candidate[0])
    used: set[int] = set()
    found: list[Chain] = []
    blocks: list[CopiedBlock] = []
    for enough in (certain, BESIDE_BITS):
        added = True
        while added:
            added = False
            for score, end, order, before in candidates:
                if score < enough:
                    break
                links = list(_walk(end, before, used))
                if sum(worth[link] for link in links) < enough:
                    continue
                rows, sources = np.array(links).T
                chain = Chain(rows, sources, order)
                if enough == certain or _is_beside(chain.block, blocks):
                    found.append(chain)
                    blocks.append(chain.block)
                    used.update(row for link in links for row in link)
                    added = True
    return tuple(found)


def _is_beside(block: CopiedBlock, found: Sequence[CopiedBlock]) -> bool:
    """Whether a chain continues a block that was found."""
    return any(
        other.order is block.order
        and block.first <= other.last + BESIDE_ROWS
        and other.first <= block.last + BESIDE_ROWS
        for other in found
    )


def _walk(end: Link, before: dict[Link, Link | None], used: set[int]) -> Iterator[Link]:
    """A chain from its end to where another one begins."""
    link: Link | None = end
    while link is not None and not used.intersection(link):
        yield link
        link = before[link]


def _links(data: TrainingSet) -> dict[Link, float] | None:
    """Every pair of near rows of one location and two visits, and what it is worth in bits.

    None if there are too many to chain them.
    """
    codes = codes_of(data)
    of_location = np.bincount(data.cells)
    by_code = np.argsort(codes, kind="stable")
    groups = np.split(by_code, np.flatnonzero(np.diff(codes[by_code])) + 1)
    links: dict[Link, float] = {}
    for rows in groups:
        if len(rows) < 2:
            continue
        levels = data.rssi[rows][:, ~np.isnan(data.rssi[rows[0]])]
        near = np.zeros(len(rows), dtype=np.intp)
        found: list[tuple[Rows, Rows]] = []
        for part, alike in _near_rows(levels):
            near[part] = alike.sum(axis=1)
            later = rows > rows[part, np.newaxis]
            apart = data.visits[rows] != data.visits[rows[part], np.newaxis]
            one, other = np.nonzero(alike & later & apart)
            found.append((one + part.start, other))
            if len(links) + sum(len(one) for one, _ in found) > MOST_LINKS:
                return None
        one, other = (np.concatenate(side) for side in zip(*found, strict=True))
        bits = -np.log2(near / of_location[data.cells[rows[0]]]) - COMMON_BITS
        pairs = zip(rows[one].tolist(), rows[other].tolist(), strict=True)
        links |= dict(zip(pairs, np.minimum(bits[one], bits[other]).tolist(), strict=True))
    return links


def _near_rows(levels: FloatMatrix) -> Iterator[tuple[slice, Mask]]:
    """Parts of some rows that hear the same beacons, and which of all of them are near each."""
    for part in parts(len(levels), len(levels)):
        near = np.ones((part.stop - part.start, len(levels)), dtype=bool)
        for column in levels.T:
            near &= np.abs(column[part, np.newaxis] - column) <= NEAR_DB
        yield part, near


def _scored(
    worth: dict[Link, float], order: Order
) -> Iterator[tuple[float, Link, dict[Link, Link | None]]]:
    """For each link the worth of the best chain that ends in it, and how it goes there."""
    jumps = [
        (rows, sources * order.step, _GAP_BITS * (rows + sources - 2))
        for rows in range(1, _REACH + 1)
        for sources in range(1, _REACH + 1)
    ]
    scores: dict[Link, float] = {}
    before: dict[Link, Link | None] = {}
    for link in sorted(worth):
        best, origin = 0.0, None
        for rows, sources, cost in jumps:
            earlier = (link[0] - rows, link[1] - sources)
            score = scores.get(earlier, 0.0) - cost
            if score > best:
                best, origin = score, earlier
        scores[link], before[link] = best + worth[link], origin
        yield scores[link], link, before


def _aligned(data: TrainingSet, chains: Sequence[Chain], order: Order) -> Pairs:
    """Pair the rows of all blocks of one direction, location by location."""
    copied, sources = np.zeros(len(data), dtype=bool), np.zeros(len(data), dtype=bool)
    linked = np.full(len(data), -1)
    for chain in chains:
        block = chain.block
        copied[block.first : block.last + 1] = True
        sources[block.source_first : block.source_last + 1] = True
        linked[chain.rows] = chain.sources
    beside = _by_location(data, sources)
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for cell, rows in _by_location(data, copied).items():
        others = beside.get(cell, rows[:0])[:: order.step]
        if len(rows) * len(others) > MOST_ALIGNED:
            certain = rows[linked[rows] >= 0]
            pairs.append(np.column_stack((certain, linked[certain])))
        else:
            pairs.append(_align(data.rssi, rows, others, linked))
    return np.concatenate(pairs)


def _by_location(data: TrainingSet, chosen: Mask) -> dict[int, Rows]:
    """Some of the rows, ascending, by their location."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(data.cells[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(data.cells[rows])) + 1)
    return {int(data.cells[group[0]]): group for group in groups if len(group)}


def _align(levels: FloatMatrix, rows: Rows, sources: Rows, linked: Rows) -> Pairs:
    """The longest common order of two sequences of near rows; links of chains go first."""
    best = np.zeros((len(rows) + 1, len(sources) + 1))
    beside = np.nan_to_num(levels[sources], nan=_NOT_HEARD)
    for down, row in enumerate(rows, start=1):
        apart = (
            np.abs(np.nan_to_num(levels[row], nan=_NOT_HEARD) - beside)
            .max(axis=1, initial=0.0)
            .astype(np.float64)
        )
        gain = 1.0 - 0.1 * apart + _IN_CHAIN_BONUS * (sources == linked[row])
        gain[(sources <= row) | (apart > NEAR_DB)] = _UNLIKE
        best[down, 1:] = np.maximum(best[down - 1, 1:], best[down - 1, :-1] + gain)
        np.maximum.accumulate(best[down], out=best[down])
    pairs = []
    down, across = len(rows), len(sources)
    while down and across:
        if best[down, across] == best[down - 1, across]:
            down -= 1
        elif best[down, across] == best[down, across - 1]:
            across -= 1
        else:
            down, across = down - 1, across - 1
            pairs.append((rows[down], sources[across]))
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def _once(pairs: Pairs) -> Pairs:
    """Each row in one pair only; the first in file order wins."""
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    times = np.bincount(pairs.ravel())
    kept = (times[pairs] == 1).all(axis=1) if len(pairs) else np.zeros(0, dtype=bool)
    used: set[int] = set()
    for place in np.flatnonzero(~kept).tolist():
        pair = pairs[place].tolist()
        if not used.intersection(pair):
            used.update(pair)
            kept[place] = True
    once: Pairs = pairs[kept]
    return once
