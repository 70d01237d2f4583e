"""Finds rows that are copies of other rows, and whole blocks of them, also turned round in time.

A survey that repeats another one, row for row, perhaps a decibel off, makes every honest-looking
split dishonest: on the UCI library set 600 of 1,420 rows repeat others, backwards. One row alone
proves nothing where a location hears a single beacon, always at the same strength; an order of
rows that is kept (or kept backwards) over many rows does. So near rows of one location are chained
in file order, a link counts by how unusual it is for its location, and only long chains are
believed; inside them rows are aligned location by location.

What may go wrong: two honest walks along one route past strong, steady beacons look alike. Links
that are usual for their location weigh nothing, and chains need :data:`ENOUGH_BITS`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trainer.training.dataset import TrainingSet
from trainer.training.split import row_keys

NEAR_DB = 2.0
"""Copies differ by at most this, for each beacon; the same beacons are heard."""
ENOUGH_BITS = 24.0
"""What a chain has to be worth. By chance the best is worth 6 among the rows of the UCI set that
hold no copies, and up to 15 on a made-up floor that is walked six times along one route."""
BESIDE_BITS = 5.0
"""What one has to be worth next to a certain one in the same order: copies come in blocks."""
BESIDE_ROWS = 8
"""How near to a certain chain a weaker one has to begin or end."""
MOST_ROWS = 20_000
"""Above it only exact copies are looked for: near ones cost the square of a location's rows."""
MOST_LINKS = 60_000
"""The most candidate links that are chained; the least usual ones go first."""

_REACH = 4
_GAP_BITS = 0.6
_COMMON_BITS = 0.35
_IN_CHAIN_BONUS = 0.1
_UNLIKE = -9.0

Rows = npt.NDArray[np.intp]
Link = tuple[int, int]


class Order(StrEnum):
    """How a block of copies runs beside its source."""

    FORWARD = "in the same order"
    BACKWARD = "in reversed order"


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
class Copies:
    """What was found to be copies."""

    pairs: npt.NDArray[np.intp]
    """(n, 2): a row and the later row that it repeats; each row at most once."""
    blocks: tuple[CopiedBlock, ...]
    exact_rows: int
    """Rows that say exactly what a row of another visit of their location says."""
    looked_near: bool
    """False if the set was too large for more than exact copies."""

    @property
    def rows(self) -> Rows:
        """Every row that is a side of a pair, ascending."""
        found: Rows = np.unique(self.pairs)
        return found


@dataclass(frozen=True, slots=True)
class _Chain:
    links: tuple[Link, ...]
    order: Order

    @property
    def block(self) -> CopiedBlock:
        rows = [row for row, _ in self.links]
        sources = [source for _, source in self.links]
        return CopiedBlock(
            min(rows), max(rows), min(sources), max(sources), len(self.links), self.order
        )


def find_copies(data: TrainingSet) -> Copies:
    """Look for copies among the rows of a training set, in the order that surveys hold them.

    Args:
        data: rows in file order; its visits tell which rows were taken together, as rows of one
            visit are alike for a good reason.
    """
    exact = _exact_rows(data)
    looked_near = len(data) <= MOST_ROWS
    chains = _chains(data) if looked_near else ()
    pairs = sorted(
        pair
        for order in Order
        for pair in _aligned(data, [chain for chain in chains if chain.order is order], order)
    )
    return Copies(
        pairs=np.array(_once(pairs), dtype=np.intp).reshape(-1, 2),
        blocks=tuple(chain.block for chain in sorted(chains, key=lambda chain: min(chain.links))),
        exact_rows=exact,
        looked_near=looked_near,
    )


def _exact_rows(data: TrainingSet) -> int:
    """Rows that another visit of their location repeats exactly."""
    _, group = np.unique(row_keys(data), return_inverse=True)
    visits = np.full((2, group.max() + 1), [[len(data)], [-1]], dtype=np.intp)
    np.minimum.at(visits[0], group, data.visits)
    np.maximum.at(visits[1], group, data.visits)
    return int((visits[0] != visits[1])[group].sum())


def _chains(data: TrainingSet) -> tuple[_Chain, ...]:
    """The chains that chance does not explain; each row is in one at most."""
    worth = _links(data)
    candidates = [
        (score, _Chain((link,), order), before)
        for order in Order
        for score, link, before in _scored(worth, order)
    ]
    candidates.sort(key=lambda candidate: -candidate[0])
    used: set[int] = set()
    found: list[_Chain] = []
    for enough in (ENOUGH_BITS, BESIDE_BITS):
        added = True
        while added:
            added = False
            for score, end, before in candidates:
                if score < enough:
                    break
                chain = _Chain(tuple(_walk(end.links[0], before, used)), end.order)
                believed = sum(worth[link] for link in chain.links) >= enough
                if believed and (enough == ENOUGH_BITS or _is_beside(chain, found)):
                    found.append(chain)
                    used.update(row for link in chain.links for row in link)
                    added = True
    return tuple(found)


def _is_beside(chain: _Chain, found: Sequence[_Chain]) -> bool:
    """Whether a chain continues a block that was found."""
    block = chain.block
    return any(
        other.order is chain.order
        and block.first <= other.block.last + BESIDE_ROWS
        and other.block.first <= block.last + BESIDE_ROWS
        for other in found
    )


def _walk(end: Link, before: dict[Link, Link | None], used: set[int]) -> Iterator[Link]:
    """A chain from its end to where another one begins."""
    link: Link | None = end
    while link is not None and not used.intersection(link):
        yield link
        link = before[link]


def _links(data: TrainingSet) -> dict[Link, float]:
    """Every pair of near rows of one location and two visits, and what it is worth in bits."""
    found: list[tuple[float, int, int]] = []
    levels = np.nan_to_num(data.rssi, nan=1000.0)
    by_cell = np.argsort(data.cells, kind="stable")
    for rows in np.split(by_cell, np.cumsum(np.bincount(data.cells))[:-1]):
        found += _links_of_cell(levels[rows], rows, data.visits[rows])
    found.sort(reverse=True)
    return {(row, source): worth for worth, row, source in found[:MOST_LINKS]}


def _links_of_cell(
    levels: npt.NDArray[np.float32], rows: Rows, visits: Rows
) -> list[tuple[float, int, int]]:
    if len(rows) < 2:
        return []
    apart = np.zeros((len(rows), len(rows)), dtype=np.float32)
    for column in levels.T:
        np.maximum(apart, np.abs(column[:, np.newaxis] - column), out=apart)
    near = apart <= NEAR_DB
    usual = near.mean(axis=1)
    worth = -np.log2(usual) - _COMMON_BITS
    one, other = np.nonzero(np.triu(near, 1) & (visits[:, np.newaxis] != visits))
    both = np.minimum(worth[one], worth[other])
    return list(zip(both.tolist(), rows[one].tolist(), rows[other].tolist(), strict=True))


def _scored(
    worth: dict[Link, float], order: Order
) -> Iterator[tuple[float, Link, dict[Link, Link | None]]]:
    """For each link the worth of the best chain that ends in it, and how it goes there."""
    step = 1 if order is Order.FORWARD else -1
    jumps = [
        (rows, sources * step, _GAP_BITS * (rows + sources - 2))
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


def _aligned(data: TrainingSet, chains: Sequence[_Chain], order: Order) -> Iterator[Link]:
    """Pair the rows of all blocks of one direction, location by location."""
    if not chains:
        return
    copied, sources = np.zeros(len(data), dtype=bool), np.zeros(len(data), dtype=bool)
    for block in (chain.block for chain in chains):
        copied[block.first : block.last + 1] = True
        sources[block.source_first : block.source_last + 1] = True
    certain = {link for chain in chains for link in chain.links}
    levels = np.nan_to_num(data.rssi, nan=1000.0)
    for cell in np.unique(data.cells[copied]):
        here = data.cells == cell
        rows = np.flatnonzero(here & copied).tolist()
        beside = np.flatnonzero(here & sources).tolist()
        ordered = beside if order is Order.FORWARD else beside[::-1]
        yield from _align(levels, rows, ordered, certain)


def _align(
    levels: npt.NDArray[np.float32], rows: list[int], sources: list[int], certain: set[Link]
) -> Iterator[Link]:
    """The longest common order of two sequences of near rows; links of chains go first."""
    height, width = len(rows), len(sources)
    gain = [[_gain(levels, row, source, certain) for source in sources] for row in rows]
    best = [[0.0] * (width + 1) for _ in range(height + 1)]
    for down in range(1, height + 1):
        for across in range(1, width + 1):
            best[down][across] = max(
                best[down - 1][across - 1] + gain[down - 1][across - 1],
                best[down - 1][across],
                best[down][across - 1],
            )
    down, across = height, width
    while down and across:
        if best[down][across] == best[down - 1][across]:
            down -= 1
        elif best[down][across] == best[down][across - 1]:
            across -= 1
        else:
            down, across = down - 1, across - 1
            yield rows[down], sources[across]


def _gain(levels: npt.NDArray[np.float32], row: int, source: int, certain: set[Link]) -> float:
    apart = float(np.abs(levels[row] - levels[source]).max())
    if source <= row or apart > NEAR_DB or math.isnan(apart):
        return _UNLIKE
    return 1.0 - 0.1 * apart + _IN_CHAIN_BONUS * ((row, source) in certain)


def _once(pairs: Sequence[Link]) -> list[Link]:
    """Each row in one pair only; the first in file order wins."""
    used: set[int] = set()
    kept = []
    for pair in pairs:
        if not used.intersection(pair):
            used.update(pair)
            kept.append(pair)
    return kept
