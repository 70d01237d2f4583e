"""Finds near-duplicate rows: blocks that repeat other rows in order, forwards or backwards.

A survey that repeats another one, row by row, perhaps a decibel off, invalidates every random
split: in the UCI library set 600 of 1,420 rows repeat others, backwards. A single pair of similar
rows is no evidence where a location hears one beacon at a constant strength, but a long common
order of rows is. So similar rows of one location are linked and the links chained in file order
(collinear chaining). A link scores by how unusual it is at its location, and only chains that score
:func:`significant_bits` count; inside them rows are aligned location by location. Large and dense
sets are searched by :mod:`trainer.training.quality.seed_and_extend` instead.

Two honest walks along one route past strong, steady beacons look alike; their links are common at
their location and therefore score nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix
from trainer.training.quality.chains import (
    LINK_COST_BITS,
    NEAR_DB,
    Chain,
    CopiedBlock,
    Mask,
    Order,
    Rows,
    beacon_set_codes,
    row_slices,
    significant_bits,
)
from trainer.training.quality.seed_and_extend import (
    ANCHOR_SPACING,
    LARGE_SET_ANCHOR_SPACING,
    seed_and_extend,
)
from trainer.training.reading.training_set import TrainingSet

NEIGHBOUR_BITS = 5.0
"""Least score of a chain next to a significant one in the same order: copies come in blocks."""
NEIGHBOUR_ROWS = 8
"""How near to a significant chain a weaker one has to begin or end."""
MAX_CHAINED_ROWS = 10_000
"""Larger sets are not chained: linking is quadratic in the rows of a location."""
MAX_LINKS = 10_000
"""Sets with more links are not chained either; the UCI set has 1,537."""
REFERENCE_LINKS_PER_ROW = 1.1
"""Links for each row of the UCI set."""
DENSITY_BITS = 12.0
"""Added to the least score for each doubling of the links, as gaps allow coincidental chains: on a
simulated route with one beacon at each place the best scored 21 bits at 1 link for each row (five
seeds), 25 at 1.6 and 35 at 3.3."""
MAX_ALIGNED_PAIRS = 250_000
"""Locations with more pairs of rows in blocks keep the links of the chains, unaligned."""

_REACH = 4
"""Longest step of a chain, in rows."""
_GAP_BITS = 0.6
_IN_CHAIN_BONUS = 0.1
_MISMATCH = -9.0
_NOT_HEARD_DBM = 1000.0

Link = tuple[int, int]
Pairs = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class NearDuplicates:
    """The near-duplicates of a training set."""

    pairs: Pairs
    """(n, 2) a row and the later row that it repeats; each row occurs once at most."""
    blocks: tuple[CopiedBlock, ...]
    exact_rows: int
    """Number of rows that equal a row of another visit of their location."""
    unsearched_rows: int
    """Number of rows of a large set that were not searched: their readings are too common, or too
    many rows are like them."""


def find_near_duplicates(data: TrainingSet) -> NearDuplicates:
    """Find near-duplicates among the rows of a training set.

    Args:
        data: rows in file order; rows of one visit are legitimately alike and are not compared.
    """
    links = _links(data) if len(data) <= MAX_CHAINED_ROWS else None
    if links is None:
        search = seed_and_extend(
            data, ANCHOR_SPACING if len(data) <= MAX_CHAINED_ROWS else LARGE_SET_ANCHOR_SPACING
        )
        chains, unsearched = search.chains, search.unsearched_rows
        pairs = [np.column_stack((chain.rows, chain.sources)) for chain in chains]
    else:
        density = len(links) / max(1, len(data)) / REFERENCE_LINKS_PER_ROW
        threshold = significant_bits(data) + DENSITY_BITS * math.log2(max(1.0, density))
        chains, unsearched = _chains(links, threshold), 0
        pairs = [
            _aligned(data, [chain for chain in chains if chain.order is order], order)
            for order in Order
        ]
    blocks = [chain.block for chain in chains]
    return NearDuplicates(
        pairs=_each_row_once(np.concatenate([np.empty((0, 2), dtype=np.intp), *pairs])),
        blocks=tuple(sorted(blocks, key=lambda block: (block.first, block.source_first))),
        exact_rows=_exact_rows(data),
        unsearched_rows=unsearched,
    )


def _exact_rows(data: TrainingSet) -> int:
    """Number of rows that another visit of their location repeats exactly."""
    _, group = np.unique(data.keys, return_inverse=True)
    visits = np.full((2, group.max() + 1), [[len(data)], [-1]], dtype=np.intp)
    np.minimum.at(visits[0], group, data.visits)
    np.maximum.at(visits[1], group, data.visits)
    return int((visits[0] != visits[1])[group].sum())


def _chains(bits: dict[Link, float], significant: float) -> tuple[Chain, ...]:
    """The significant chains and those next to them; each row is in one at most."""
    candidates = [
        (score, link, order, before)
        for order in Order
        for score, link, before in _scored(bits, order)
    ]
    candidates.sort(key=lambda candidate: -candidate[0])
    used: set[int] = set()
    found: list[Chain] = []
    blocks: list[CopiedBlock] = []
    for threshold in (significant, NEIGHBOUR_BITS):
        added = True
        while added:
            added = False
            for score, end, order, before in candidates:
                if score < threshold:
                    break
                links = list(_backtrack(end, before, used))
                if sum(bits[link] for link in links) < threshold:
                    continue
                rows, sources = np.array(links).T
                chain = Chain(rows, sources, order)
                if threshold == significant or _is_next_to(chain.block, blocks):
                    found.append(chain)
                    blocks.append(chain.block)
                    used.update(row for link in links for row in link)
                    added = True
    return tuple(found)


def _is_next_to(block: CopiedBlock, found: Sequence[CopiedBlock]) -> bool:
    """Whether a chain continues another block."""
    return any(
        other.order is block.order
        and block.first <= other.last + NEIGHBOUR_ROWS
        and other.first <= block.last + NEIGHBOUR_ROWS
        for other in found
    )


def _backtrack(end: Link, before: dict[Link, Link | None], used: set[int]) -> Iterator[Link]:
    """A chain, from its end back to its beginning or to a used row."""
    link: Link | None = end
    while link is not None and not used.intersection(link):
        yield link
        link = before[link]


def _links(data: TrainingSet) -> dict[Link, float] | None:
    """Every pair of similar rows of one location and two visits, with its score in bits.

    None if there are too many to chain.
    """
    codes = beacon_set_codes(data)
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
            if len(links) + sum(len(one) for one, _ in found) > MAX_LINKS:
                return None
        one, other = (np.concatenate(side) for side in zip(*found, strict=True))
        bits = -np.log2(near / of_location[data.cells[rows[0]]]) - LINK_COST_BITS
        pairs = zip(rows[one].tolist(), rows[other].tolist(), strict=True)
        links |= dict(zip(pairs, np.minimum(bits[one], bits[other]).tolist(), strict=True))
    return links


def _near_rows(levels: FloatMatrix) -> Iterator[tuple[slice, Mask]]:
    """For slices of rows that hear the same beacons: which of all the rows are near each."""
    for part in row_slices(len(levels), len(levels)):
        near = np.ones((part.stop - part.start, len(levels)), dtype=bool)
        for column in levels.T:
            near &= np.abs(column[part, np.newaxis] - column) <= NEAR_DB
        yield part, near


def _scored(
    bits: dict[Link, float], order: Order
) -> Iterator[tuple[float, Link, dict[Link, Link | None]]]:
    """For each link the score of the best chain that ends in it, and its predecessors."""
    jumps = [
        (rows, sources * order.step, _GAP_BITS * (rows + sources - 2))
        for rows in range(1, _REACH + 1)
        for sources in range(1, _REACH + 1)
    ]
    scores: dict[Link, float] = {}
    before: dict[Link, Link | None] = {}
    for link in sorted(bits):
        best, origin = 0.0, None
        for rows, sources, cost in jumps:
            earlier = (link[0] - rows, link[1] - sources)
            score = scores.get(earlier, 0.0) - cost
            if score > best:
                best, origin = score, earlier
        scores[link], before[link] = best + bits[link], origin
        yield scores[link], link, before


def _aligned(data: TrainingSet, chains: Sequence[Chain], order: Order) -> Pairs:
    """Pair the rows of all blocks of one order, location by location."""
    copied, sources = np.zeros(len(data), dtype=bool), np.zeros(len(data), dtype=bool)
    linked = np.full(len(data), -1)
    for chain in chains:
        block = chain.block
        copied[block.first : block.last + 1] = True
        sources[block.source_first : block.source_last + 1] = True
        linked[chain.rows] = chain.sources
    source_rows = _by_location(data, sources)
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for cell, rows in _by_location(data, copied).items():
        others = source_rows.get(cell, rows[:0])[:: order.step]
        if len(rows) * len(others) > MAX_ALIGNED_PAIRS:
            linked_rows = rows[linked[rows] >= 0]
            pairs.append(np.column_stack((linked_rows, linked[linked_rows])))
        else:
            pairs.append(_align(data.rssi, rows, others, linked))
    return np.concatenate(pairs)


def _by_location(data: TrainingSet, chosen: Mask) -> dict[int, Rows]:
    """The chosen rows, ascending, by their location."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(data.cells[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(data.cells[rows])) + 1)
    return {int(data.cells[group[0]]): group for group in groups if len(group)}


def _align(levels: FloatMatrix, rows: Rows, sources: Rows, linked: Rows) -> Pairs:
    """Align two sequences of rows globally (Needleman and Wunsch, 1970); links score higher."""
    best = np.zeros((len(rows) + 1, len(sources) + 1))
    source_levels = np.nan_to_num(levels[sources], nan=_NOT_HEARD_DBM)
    for down, row in enumerate(rows, start=1):
        apart = (
            np.abs(np.nan_to_num(levels[row], nan=_NOT_HEARD_DBM) - source_levels)
            .max(axis=1, initial=0.0)
            .astype(np.float64)
        )
        gain = 1.0 - 0.1 * apart + _IN_CHAIN_BONUS * (sources == linked[row])
        gain[(sources <= row) | (apart > NEAR_DB)] = _MISMATCH
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


def _each_row_once(pairs: Pairs) -> Pairs:
    """Keep each row in one pair only; the first in file order wins."""
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
