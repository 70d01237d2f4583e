"""Finds long copied blocks in sets that are too large to compare all rows with each other.

This is seed-and-extend, as in sequence alignment (BLAST; Altschul et al., 1990). A word is
:data:`WORD_ROWS` consecutive rows; words that hear the same beacons at the same locations, forwards
or backwards, are candidates. Only the most unusual word of each stretch of rows, its anchor, is
compared with its candidates. Where two words are near row by row (a seed), their diagonal is
extended both ways into segments of maximal score.

Stretches where everything is common, such as one steady beacon, are no evidence; they are not
searched, and their rows are counted. A row that is near the one before it, as in a visit whose
signals hardly change, adds no evidence and scores nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix
from trainer.training.quality.chains import (
    LINK_COST_BITS,
    NEAR_DB,
    Chain,
    Codes,
    Mask,
    Order,
    Rows,
    are_near,
    beacon_set_codes,
    row_slices,
    significant_bits,
)
from trainer.training.reading.row_keys import mix_bits
from trainer.training.reading.training_set import TrainingSet

WORD_ROWS = 16
"""Consecutive rows that have to be near before a diagonal is extended."""
ANCHOR_SPACING = 16
"""Rows for each of which one word is compared."""
LARGE_SET_ANCHOR_SPACING = 64
"""The same for large sets. A block is found for certain if it is longer by a word."""
MIN_WORD_BITS = 6.0
"""Words that score less are too common to be compared, and segments to be kept."""
MAX_COMPARISONS_PER_ROW = 2_500
"""Comparisons of words at most, for each row of the set: 15 s of a core for a million rows, at 170
million a second. Only sets of very few locations come near it."""
EXTENSION_ROWS = 512
"""How far a diagonal is extended beyond its last seed."""
MISMATCH_BITS = 2.0
"""Cost of a row that is not near. Without copies the expected score of a row is then negative: if
the share p is near, p log2(1/p) is less than 2 (1 - p)."""
NEIGHBOUR_ROWS = 64
"""Rows before and after a chain that are searched for its continuation."""
NEIGHBOUR_DIAGONALS = 8
"""Rows that may be missing or doubled there."""
NEIGHBOUR_BITS = 10.0
"""Least score of a continuation: 17 diagonals of 64 rows are 1,088 pairs, or 10 bits."""

_PEERS = 16
_SMALL_GROUP = 64
"""Groups of words this small are compared row by row."""
_MAX_CANDIDATES = 1_000
_WHOLE_COLUMNS = 4
"""Columns to compare as a whole; the others only where all earlier ones are near."""
_MAX_COLUMN_READINGS = 8_000_000
_BATCH = 200_000
_HASH_BASE = np.uint64(0x9E3779B97F4A7C15)

Bits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentSearch:
    """The significant chains of a large set."""

    chains: tuple[Chain, ...]
    unsearched_rows: int
    """Rows of stretches with candidates that were not compared: too common, or too many."""


@dataclass(frozen=True, slots=True, eq=False)
class _WordIndex:
    """All words of one order, sorted by key."""

    keys: Codes
    begins: Rows
    """The first row of each word; a backward word continues with earlier rows."""

    def span(self, keys: Codes) -> tuple[Rows, Rows]:
        """The bounds of the words with each of these keys."""
        return np.searchsorted(self.keys, keys), np.searchsorted(self.keys, keys, side="right")

    def span_in(self, other: "_WordIndex") -> tuple[Rows, Rows]:
        """The bounds of the words of another index that have the keys of these."""
        return other.span(self.keys)


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredRows:
    data: TrainingSet
    codes: Codes
    bits: Bits
    """(rows,) the score of a row that is near another one."""

    def near(self, rows: Rows, others: Rows) -> Mask:
        return are_near(self.data.rssi, self.codes, rows, others)


def seed_and_extend(data: TrainingSet, anchor_spacing: int) -> SegmentSearch:
    """Find blocks of copies without gaps.

    Args:
        data: rows in file order.
        anchor_spacing: rows for each of which one word is compared.
    """
    codes = beacon_set_codes(data)
    keys = _word_keys(codes)
    words = {
        Order.FORWARD: _sorted_words(keys),
        Order.BACKWARD: _sorted_words(_word_keys(codes[::-1]), last=len(data) - 1),
    }
    counts = _word_counts(words)
    scored = _ScoredRows(data, codes, _row_bits(data, codes, counts))
    anchors, unsearched = _anchors(scored, counts, anchor_spacing)
    chains = [
        chain
        for order in Order
        for chain in _extended(scored, order, *_seeds(scored, order, words[order], keys, anchors))
    ]
    return SegmentSearch(_significant(chains, scored, significant_bits(data)), unsearched)


def _row_bits(data: TrainingSet, codes: Codes, counts: Rows) -> Bits:
    """The score of a near row, from the share of its peers (a sample of its group) near it."""
    by_code = np.argsort(codes, kind="stable")
    firsts = np.flatnonzero(np.r_[True, np.diff(codes[by_code]) != 0])
    sizes = np.diff(firsts, append=len(codes))
    group = np.repeat(np.arange(len(firsts), dtype=np.int32), sizes)
    of_location = np.bincount(data.cells)
    has_candidates = _rows_of_words(counts > 1)[by_code]
    row_bits = np.empty(len(codes))
    for part in row_slices(len(codes), len(data.beacons)):
        rows, first, size = by_code[part], firsts[group[part]], sizes[group[part]]
        near = np.full(len(rows), _PEERS)
        places = np.flatnonzero(has_candidates[part])
        near[places] = _near_peers(
            data.rssi, by_code, part.start + places, first[places], size[places]
        )
        usual = size / of_location[data.cells[rows]] * (1 + near) / (1 + _PEERS)
        row_bits[rows] = np.maximum(-np.log2(usual) - LINK_COST_BITS, 0.0)
    later = np.flatnonzero(np.diff(data.visits) == 0) + 1
    row_bits[later[are_near(data.rssi, codes, later, later - 1)]] = 0.0
    return row_bits


def _rows_of_words(chosen: Mask) -> Mask:
    """(rows,) whether a row is in a chosen word."""
    begun = np.cumsum(np.r_[chosen, np.zeros(WORD_ROWS - 1, dtype=bool)])
    begun[WORD_ROWS:] -= begun[:-WORD_ROWS].copy()
    inside: Mask = begun > 0
    return inside


def _near_peers(levels: FloatMatrix, by_code: Rows, places: Rows, first: Rows, size: Rows) -> Rows:
    """Number of near peers of each row; peers are spread evenly over its group."""
    own = levels[by_code[places]]
    near = np.zeros(len(places), dtype=np.intp)
    for peer in range(_PEERS):
        others = by_code[first + (places - first + 1 + (size - 1) * peer // _PEERS) % size]
        near += ~(np.abs(own - levels[others]) > NEAR_DB).any(axis=1)
    return near


def _word_keys(codes: Codes) -> Codes:
    """A polynomial hash of the codes of each word."""
    count = len(codes) - WORD_ROWS + 1
    keys = np.zeros(count, dtype=np.uint64)
    for place in range(WORD_ROWS):
        keys *= _HASH_BASE
        keys += codes[place : place + count]
    return keys


def _sorted_words(keys: Codes, last: int | None = None) -> _WordIndex:
    order = np.argsort(keys, kind="stable")
    return _WordIndex(keys[order], order if last is None else last - order)


def _word_counts(words: dict[Order, _WordIndex]) -> Rows:
    """(words,) number of words of either order with the same key, including itself."""
    own = words[Order.FORWARD]
    counts = np.empty(len(own.keys), dtype=np.intp)
    # In sorted order, in which look-ups are ten times as fast.
    counts[own.begins] = sum(end - begin for begin, end in map(own.span_in, words.values()))
    return counts


def _anchors(scored: _ScoredRows, counts: Rows, anchor_spacing: int) -> tuple[Rows, int]:
    """The first rows of the words to compare, and the number of rows not searched."""
    total = np.r_[0.0, np.cumsum(scored.bits)]
    bits = np.full(-(-len(counts) // anchor_spacing) * anchor_spacing, -1.0)
    bits[: len(counts)] = np.where(counts > 1, total[WORD_ROWS:] - total[:-WORD_ROWS], -1.0)
    best = bits.reshape(-1, anchor_spacing).argmax(axis=1) + np.arange(0, len(bits), anchor_spacing)
    best = best[bits[best] >= 0.0]
    anchors = best[bits[best] >= MIN_WORD_BITS]
    # Among equally common ones a spread over the set, not the first.
    anchors = anchors[np.lexsort((mix_bits(anchors.astype(np.uint64)), counts[anchors]))]
    afforded = np.cumsum(counts[anchors]) <= MAX_COMPARISONS_PER_ROW * len(counts)
    return anchors[afforded], (len(best) - int(afforded.sum())) * anchor_spacing


def _seeds(
    scored: _ScoredRows, order: Order, words: _WordIndex, keys: Codes, anchors: Rows
) -> tuple[Rows, Rows]:
    """Pairs of words that are near row by row, by their first rows, the earlier one first."""
    found: list[tuple[Rows, Rows]] = []
    waiting: list[tuple[Rows, Rows]] = [(anchors[:0], anchors[:0])]
    many = 0
    for anchor, others in _candidates(scored, order, words, keys, anchors):
        waiting.append((np.full(len(others), anchor), others))
        many += len(others)
        if many > _BATCH:
            found.append(_near_pairs(scored, order, waiting))
            waiting, many = waiting[:1], 0
    found.append(_near_pairs(scored, order, waiting))
    rows, others = (np.concatenate(side) for side in zip(*found, strict=True))
    return np.minimum(rows, others), np.maximum(rows, others)


def _candidates(
    scored: _ScoredRows, order: Order, words: _WordIndex, keys: Codes, anchors: Rows
) -> Iterator[tuple[int, Rows]]:
    """Each anchor with the words that may be near it."""
    begins, ends = words.span(keys[anchors])
    by_key = np.argsort(begins, kind="stable")
    groups = np.split(by_key, np.flatnonzero(np.diff(begins[by_key])) + 1)
    for group in groups if len(anchors) else ():
        others = words.begins[begins[group[0]] : ends[group[0]]]
        if len(others) <= _SMALL_GROUP:
            yield from ((int(anchors[place]), others) for place in group)
            continue
        beacons = _most_variable_beacons(scored, others, order)
        columns = [
            scored.data.rssi[others + place * order.step, beacon]
            for place, beacon in enumerate(beacons)
        ]
        for anchor in anchors[group].tolist():
            levels = scored.data.rssi[anchor + np.arange(len(beacons)), beacons]
            yield anchor, others[_near_rows(columns, levels)[:_MAX_CANDIDATES]]


def _most_variable_beacons(scored: _ScoredRows, begins: Rows, order: Order) -> Rows:
    """For each row of a word, as far as memory allows, the beacon that varies most."""
    places = np.arange(min(WORD_ROWS, max(1, _MAX_COLUMN_READINGS // len(begins))))
    sample = begins[:: len(begins) // _SMALL_GROUP]
    levels = scored.data.rssi[sample[:, np.newaxis] + places * order.step]
    varies = np.nan_to_num(levels.max(axis=0) - levels.min(axis=0))
    most_variable: Rows = varies.argmax(axis=1)
    return most_variable


def _near_rows(columns: list[FloatMatrix], levels: FloatMatrix) -> Rows:
    """The indices at which all columns are near these levels."""
    close = np.abs(columns[0] - levels[0]) <= NEAR_DB
    for column, level in zip(columns[1:_WHOLE_COLUMNS], levels[1:_WHOLE_COLUMNS], strict=True):
        close &= np.abs(column - level) <= NEAR_DB
    near = np.flatnonzero(close)
    for column, level in zip(columns[_WHOLE_COLUMNS:], levels[_WHOLE_COLUMNS:], strict=True):
        near = near[np.abs(column[near] - level) <= NEAR_DB]
    return near


def _near_pairs(
    scored: _ScoredRows, order: Order, waiting: list[tuple[Rows, Rows]]
) -> tuple[Rows, Rows]:
    rows, others = (np.concatenate(side) for side in zip(*waiting, strict=True))
    visits = scored.data.visits
    for place in range(WORD_ROWS):
        left, right = rows + place, others + place * order.step
        near = np.flatnonzero((visits[left] != visits[right]) & scored.near(left, right))
        rows, others = rows[near], others[near]
    return rows, others


def _extended(scored: _ScoredRows, order: Order, rows: Rows, sources: Rows) -> Iterator[Chain]:
    """Extend seeds both ways; seeds on one diagonal and not far apart are extended together."""
    if not len(rows):
        return
    diagonals = sources - order.step * rows
    by_diagonal = np.lexsort((rows, diagonals))
    rows, diagonals = rows[by_diagonal], diagonals[by_diagonal]
    breaks = (np.diff(diagonals) != 0) | (np.diff(rows) > EXTENSION_ROWS)
    begins = np.flatnonzero(np.r_[True, breaks])
    ends = np.r_[begins[1:], len(rows)] - 1
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        yield from _segments_on(
            scored, order, int(diagonals[begin]), int(rows[begin]), int(rows[end])
        )


def _segments_on(
    scored: _ScoredRows, order: Order, diagonal: int, first: int, last: int
) -> Iterator[Chain]:
    """The near rows on a diagonal around a range, as segments of sufficient score."""
    rows = np.arange(max(0, first - EXTENSION_ROWS), min(len(scored.codes), last + EXTENSION_ROWS))
    sources = diagonal + order.step * rows
    inside = (rows < sources) & (sources < len(scored.codes))
    rows, sources = rows[inside], sources[inside]
    visits = scored.data.visits
    near = scored.near(rows, sources) & (visits[rows] != visits[sources])
    row_bits = np.where(near, np.minimum(scored.bits[rows], scored.bits[sources]), -MISMATCH_BITS)
    for begin, end in _maximal_segments(row_bits):
        linked = begin + np.flatnonzero(near[begin:end])
        yield Chain(rows[linked], sources[linked], order)


def _maximal_segments(row_bits: Bits) -> Iterator[tuple[int, int]]:
    """Disjoint ranges of maximal sum, while they score at least as much as a word."""
    waiting = [(0, len(row_bits))]
    while waiting:
        first, last = waiting.pop()
        total = np.r_[0.0, np.cumsum(row_bits[first:last])]
        gained = total - np.minimum.accumulate(total)
        end = int(gained.argmax())
        if gained[end] < MIN_WORD_BITS:
            continue
        begin = end - int(total[end::-1].argmin())
        yield first + begin, first + end
        waiting += [(first, first + begin), (first + end, last)]


def _significant(chains: list[Chain], scored: _ScoredRows, threshold: float) -> tuple[Chain, ...]:
    """The significant chains, best first, and their continuations; a row is in one at most."""

    def bits(chain: Chain) -> float:
        return float(np.minimum(scored.bits[chain.rows], scored.bits[chain.sources]).sum())

    used = np.zeros(len(scored.codes), dtype=bool)
    significant = []
    for chain in sorted(chains, key=bits, reverse=True):
        free = ~(used[chain.rows] | used[chain.sources])
        left = Chain(chain.rows[free], chain.sources[free], chain.order)
        if bits(left) >= threshold:
            significant.append(left)
            used[left.rows] = used[left.sources] = True
    # The list grows during the iteration, as a continuation may be continued itself.
    for chain in significant:
        for begin in (int(chain.rows.min()) - NEIGHBOUR_ROWS, int(chain.rows.max()) + 1):
            more = _continuation(scored, chain, begin, used)
            if more is not None:
                significant.append(more)
                used[more.rows] = used[more.sources] = True
    return tuple(significant)


def _continuation(scored: _ScoredRows, chain: Chain, begin: int, used: Mask) -> Chain | None:
    """The best segment in the rows next to a chain, on its diagonal or a near one."""
    diagonal = int(chain.sources[0]) - chain.order.step * int(chain.rows[0])
    diagonals = diagonal + np.arange(-NEIGHBOUR_DIAGONALS, NEIGHBOUR_DIAGONALS + 1)
    span = np.arange(max(0, begin), min(begin + NEIGHBOUR_ROWS, len(used)))
    rows = np.repeat(span[np.newaxis], len(diagonals), axis=0)
    sources = diagonals[:, np.newaxis] + chain.order.step * span
    visits = scored.data.visits
    near = (rows < sources) & (sources < len(used))
    left, right = rows[near], sources[near]
    near[near] = ~used[left] & ~used[right] & (visits[left] != visits[right])
    near[near] = scored.near(rows[near], sources[near])
    row_bits = np.full(near.shape, -MISMATCH_BITS)
    row_bits[near] = np.minimum(scored.bits[rows[near]], scored.bits[sources[near]])
    total = np.pad(np.cumsum(row_bits, axis=1), ((0, 0), (1, 0)))
    gained = total - np.minimum.accumulate(total, axis=1)
    best, end = np.unravel_index(gained.argmax(), gained.shape)
    if gained[best, end] < NEIGHBOUR_BITS:
        return None
    first = end - total[best, end::-1].argmin()
    linked = first + np.flatnonzero(near[best, first:end])
    return Chain(rows[best, linked], sources[best, linked], chain.order)
