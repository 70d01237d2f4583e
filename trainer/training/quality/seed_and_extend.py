"""Finds long copied blocks in sets that are too large to compare all rows with each other.

Rows of a copied block hear the same beacons as their sources, one after the other. So words of
:data:`WORD` rows that hear the same beacons at the same locations, forwards or backwards, are
compared with each other, and only the most unusual word of each stretch of rows. Where two words
are near row by row, their rows are followed both ways as far as they stay near.

What may go wrong: stretches where everything is usual, such as one steady beacon; they prove
nothing, are left out and are counted. A row that is near the one before it, as in a visit whose
signals hardly move, says nothing new and is worth nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix
from trainer.training.quality.chains import (
    COMMON_BITS,
    NEAR_DB,
    Chain,
    Codes,
    Mask,
    Order,
    Rows,
    are_near,
    codes_of,
    enough_bits,
    parts,
)
from trainer.training.reading.row_keys import mixed
from trainer.training.reading.training_set import TrainingSet

WORD = 16
"""Rows that have to be near one after the other before anything is followed."""
STRETCH = 16
"""Of so many rows one word is compared."""
LONG_STRETCH = 64
"""The same for large sets. A block is found for certain if it holds a stretch and a word."""
LEAST_WORD_BITS = 6.0
"""Words that are worth less are too usual to be compared, and pieces of runs to be kept."""
COMPARED_PER_ROW = 2_500
"""How many words are compared at most, for each row of the set: 15 s of a core for a million rows,
where a second buys 170 million. Only sets of very few locations come near it."""
REACH = 512
"""How far rows are followed beyond the last word that was found near."""
MISS_BITS = 2.0
"""What a row that is not near costs a run. Without copies each row then loses, however usual: if
the share p is near, p log2(1/p) is less than 2 (1 - p)."""
BESIDE_ROWS = 64
"""So many rows before and after a run are looked at for what continues it."""
BESIDE_LINES = 8
"""So many rows may be missing there, or be there twice."""
BESIDE_BITS = 10.0
"""What that has to be worth: 17 lines of 64 rows are 1,088 pairs, which is as many bits."""

_PEERS = 16
_FEW = 64
"""Words of a group this small are all compared row by row."""
_MOST_ALIKE = 1_000
_DENSE = 4
"""Columns that are compared whole; of the others only the places that are still near."""
_MOST_COLUMN_READINGS = 8_000_000
_BATCH = 200_000
_BASE = np.uint64(0x9E3779B97F4A7C15)

Bits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """What was found, and where nothing could be."""

    chains: tuple[Chain, ...]
    left_out_rows: int
    """Rows of stretches that look like others and were not compared: too usual, or too many."""


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """All words of one order, sorted by what they hear."""

    keys: Codes
    begins: Rows
    """The row that each word begins with; backwards it goes to earlier rows from there."""

    def span(self, keys: Codes) -> tuple[Rows, Rows]:
        """From where to where the words of these keys stand."""
        return np.searchsorted(self.keys, keys), np.searchsorted(self.keys, keys, side="right")

    def span_in(self, other: "_Words") -> tuple[Rows, Rows]:
        """From where to where these words stand among others."""
        return other.span(self.keys)


@dataclass(frozen=True, slots=True, eq=False)
class _Set:
    data: TrainingSet
    codes: Codes
    worth: Bits
    """(rows,) what it is worth in bits that a row is near another one."""

    def near(self, rows: Rows, others: Rows) -> Mask:
        return are_near(self.data.rssi, self.codes, rows, others)


def find_runs(data: TrainingSet, stretch: int) -> Runs:
    """Look for blocks of copies that run straight beside their sources.

    Args:
        data: rows in file order.
        stretch: of so many rows one word is compared.
    """
    codes = codes_of(data)
    keys = _word_keys(codes)
    words = {
        Order.FORWARD: _sorted_words(keys),
        Order.BACKWARD: _sorted_words(_word_keys(codes[::-1]), last=len(data) - 1),
    }
    alike = _alike(words)
    known = _Set(data, codes, _worth(data, codes, alike))
    anchors, left_out = _anchors(known, alike, stretch)
    runs = [
        run
        for order in Order
        for run in _runs(known, order, *_seeds(known, order, words[order], keys, anchors))
    ]
    return Runs(_believed(runs, known, enough_bits(data)), left_out)


def _worth(data: TrainingSet, codes: Codes, alike: Rows) -> Bits:
    """What a near row is worth, from how many of some peers that hear the same are near it."""
    by_code = np.argsort(codes, kind="stable")
    firsts = np.flatnonzero(np.r_[True, np.diff(codes[by_code]) != 0])
    sizes = np.diff(firsts, append=len(codes))
    group = np.repeat(np.arange(len(firsts), dtype=np.int32), sizes)
    of_location = np.bincount(data.cells)
    asked = _in_words(alike > 1)[by_code]
    worth = np.empty(len(codes))
    for part in parts(len(codes), len(data.beacons)):
        rows, first, size = by_code[part], firsts[group[part]], sizes[group[part]]
        near = np.full(len(rows), _PEERS)
        places = np.flatnonzero(asked[part])
        near[places] = _near_peers(
            data.rssi, by_code, part.start + places, first[places], size[places]
        )
        usual = size / of_location[data.cells[rows]] * (1 + near) / (1 + _PEERS)
        worth[rows] = np.maximum(-np.log2(usual) - COMMON_BITS, 0.0)
    later = np.flatnonzero(np.diff(data.visits) == 0) + 1
    worth[later[are_near(data.rssi, codes, later, later - 1)]] = 0.0
    return worth


def _in_words(chosen: Mask) -> Mask:
    """(rows,) whether a row is in a word that is chosen."""
    begun = np.cumsum(np.r_[chosen, np.zeros(WORD - 1, dtype=bool)])
    begun[WORD:] -= begun[:-WORD].copy()
    inside: Mask = begun > 0
    return inside


def _near_peers(levels: FloatMatrix, by_code: Rows, places: Rows, first: Rows, size: Rows) -> Rows:
    """How many are near of the peers of a row that stand evenly spread in its group."""
    own = levels[by_code[places]]
    near = np.zeros(len(places), dtype=np.intp)
    for peer in range(_PEERS):
        others = by_code[first + (places - first + 1 + (size - 1) * peer // _PEERS) % size]
        near += ~(np.abs(own - levels[others]) > NEAR_DB).any(axis=1)
    return near


def _word_keys(codes: Codes) -> Codes:
    """One number for the codes of each row and the ones after it."""
    count = len(codes) - WORD + 1
    keys = np.zeros(count, dtype=np.uint64)
    for place in range(WORD):
        keys *= _BASE
        keys += codes[place : place + count]
    return keys


def _sorted_words(keys: Codes, last: int | None = None) -> _Words:
    order = np.argsort(keys, kind="stable")
    return _Words(keys[order], order if last is None else last - order)


def _alike(words: dict[Order, _Words]) -> Rows:
    """(words,) how many words of either order hear what each one hears; itself is one."""
    own = words[Order.FORWARD]
    alike = np.empty(len(own.keys), dtype=np.intp)
    # In their order, as looking up what is sorted is ten times as fast.
    alike[own.begins] = sum(end - begin for begin, end in map(own.span_in, words.values()))
    return alike


def _anchors(known: _Set, alike: Rows, stretch: int) -> tuple[Rows, int]:
    """The words to compare, by their first rows, and how many rows were left out."""
    total = np.r_[0.0, np.cumsum(known.worth)]
    bits = np.full(-(-len(alike) // stretch) * stretch, -1.0)
    bits[: len(alike)] = np.where(alike > 1, total[WORD:] - total[:-WORD], -1.0)
    best = bits.reshape(-1, stretch).argmax(axis=1) + np.arange(0, len(bits), stretch)
    best = best[bits[best] >= 0.0]
    anchors = best[bits[best] >= LEAST_WORD_BITS]
    # Of equally usual ones some everywhere, not the first.
    anchors = anchors[np.lexsort((mixed(anchors.astype(np.uint64)), alike[anchors]))]
    afforded = np.cumsum(alike[anchors]) <= COMPARED_PER_ROW * len(alike)
    return anchors[afforded], (len(best) - int(afforded.sum())) * stretch


def _seeds(
    known: _Set, order: Order, words: _Words, keys: Codes, anchors: Rows
) -> tuple[Rows, Rows]:
    """Words that are near row by row: the earlier and the later one of two first rows."""
    found: list[tuple[Rows, Rows]] = []
    waiting: list[tuple[Rows, Rows]] = [(anchors[:0], anchors[:0])]
    many = 0
    for anchor, others in _candidates(known, order, words, keys, anchors):
        waiting.append((np.full(len(others), anchor), others))
        many += len(others)
        if many > _BATCH:
            found.append(_near_words(known, order, waiting))
            waiting, many = waiting[:1], 0
    found.append(_near_words(known, order, waiting))
    rows, others = (np.concatenate(side) for side in zip(*found, strict=True))
    return np.minimum(rows, others), np.maximum(rows, others)


def _candidates(
    known: _Set, order: Order, words: _Words, keys: Codes, anchors: Rows
) -> Iterator[tuple[int, Rows]]:
    """Each anchor with the words that may be near it."""
    begins, ends = words.span(keys[anchors])
    by_key = np.argsort(begins, kind="stable")
    groups = np.split(by_key, np.flatnonzero(np.diff(begins[by_key])) + 1)
    for group in groups if len(anchors) else ():
        others = words.begins[begins[group[0]] : ends[group[0]]]
        if len(others) <= _FEW:
            yield from ((int(anchors[place]), others) for place in group)
            continue
        beacons = _widest(known, others, order)
        columns = [
            known.data.rssi[others + place * order.step, beacon]
            for place, beacon in enumerate(beacons)
        ]
        for anchor in anchors[group].tolist():
            levels = known.data.rssi[anchor + np.arange(len(beacons)), beacons]
            yield anchor, others[_near_in(columns, levels)[:_MOST_ALIKE]]


def _widest(known: _Set, begins: Rows, order: Order) -> Rows:
    """For each row of some words, as far as memory allows, the beacon that varies most in it."""
    places = np.arange(min(WORD, max(1, _MOST_COLUMN_READINGS // len(begins))))
    sample = begins[:: len(begins) // _FEW]
    levels = known.data.rssi[sample[:, np.newaxis] + places * order.step]
    varies = np.nan_to_num(levels.max(axis=0) - levels.min(axis=0))
    widest: Rows = varies.argmax(axis=1)
    return widest


def _near_in(columns: list[FloatMatrix], levels: FloatMatrix) -> Rows:
    """Where all columns are near these levels."""
    close = np.abs(columns[0] - levels[0]) <= NEAR_DB
    for column, level in zip(columns[1:_DENSE], levels[1:_DENSE], strict=True):
        close &= np.abs(column - level) <= NEAR_DB
    near = np.flatnonzero(close)
    for column, level in zip(columns[_DENSE:], levels[_DENSE:], strict=True):
        near = near[np.abs(column[near] - level) <= NEAR_DB]
    return near


def _near_words(known: _Set, order: Order, waiting: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    rows, others = (np.concatenate(side) for side in zip(*waiting, strict=True))
    visits = known.data.visits
    for place in range(WORD):
        left, right = rows + place, others + place * order.step
        near = np.flatnonzero((visits[left] != visits[right]) & known.near(left, right))
        rows, others = rows[near], others[near]
    return rows, others


def _runs(known: _Set, order: Order, rows: Rows, sources: Rows) -> Iterator[Chain]:
    """Follow near words both ways; words that are on one line and not far apart are one run."""
    if not len(rows):
        return
    lines = sources - order.step * rows
    by_line = np.lexsort((rows, lines))
    rows, lines = rows[by_line], lines[by_line]
    breaks = (np.diff(lines) != 0) | (np.diff(rows) > REACH)
    begins = np.flatnonzero(np.r_[True, breaks])
    ends = np.r_[begins[1:], len(rows)] - 1
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        yield from _followed(known, order, int(lines[begin]), int(rows[begin]), int(rows[end]))


def _followed(known: _Set, order: Order, line: int, first: int, last: int) -> Iterator[Chain]:
    """The near rows on a line about a range, in pieces that are each worth something."""
    rows = np.arange(max(0, first - REACH), min(len(known.codes), last + REACH))
    sources = line + order.step * rows
    inside = (rows < sources) & (sources < len(known.codes))
    rows, sources = rows[inside], sources[inside]
    visits = known.data.visits
    near = known.near(rows, sources) & (visits[rows] != visits[sources])
    worth = np.where(near, np.minimum(known.worth[rows], known.worth[sources]), -MISS_BITS)
    for begin, end in _pieces(worth):
        linked = begin + np.flatnonzero(near[begin:end])
        yield Chain(rows[linked], sources[linked], order)


def _pieces(worth: Bits) -> Iterator[tuple[int, int]]:
    """The range of the greatest sum, then the ones beside it, as long as they are worth a word."""
    waiting = [(0, len(worth))]
    while waiting:
        first, last = waiting.pop()
        total = np.r_[0.0, np.cumsum(worth[first:last])]
        gained = total - np.minimum.accumulate(total)
        end = int(gained.argmax())
        if gained[end] < LEAST_WORD_BITS:
            continue
        begin = end - int(total[end::-1].argmin())
        yield first + begin, first + end
        waiting += [(first, first + begin), (first + end, last)]


def _believed(runs: list[Chain], known: _Set, enough: float) -> tuple[Chain, ...]:
    """The runs that are worth enough, the best first; each row is in one at most."""

    def bits(run: Chain) -> float:
        return float(np.minimum(known.worth[run.rows], known.worth[run.sources]).sum())

    used = np.zeros(len(known.codes), dtype=bool)
    believed = []
    for run in sorted(runs, key=bits, reverse=True):
        free = ~(used[run.rows] | used[run.sources])
        left = Chain(run.rows[free], run.sources[free], run.order)
        if bits(left) >= enough:
            believed.append(left)
            used[left.rows] = used[left.sources] = True
    # It grows while it is gone through, as what continues a run may be continued itself.
    for run in believed:
        for begin in (int(run.rows.min()) - BESIDE_ROWS, int(run.rows.max()) + 1):
            more = _continued(known, run, begin, used)
            if more is not None:
                believed.append(more)
                used[more.rows] = used[more.sources] = True
    return tuple(believed)


def _continued(known: _Set, run: Chain, begin: int, used: Mask) -> Chain | None:
    """The best piece in the rows next to a run, on its line or one about it."""
    line = int(run.sources[0]) - run.order.step * int(run.rows[0])
    lines = line + np.arange(-BESIDE_LINES, BESIDE_LINES + 1)
    span = np.arange(max(0, begin), min(begin + BESIDE_ROWS, len(used)))
    rows = np.repeat(span[np.newaxis], len(lines), axis=0)
    sources = lines[:, np.newaxis] + run.order.step * span
    visits = known.data.visits
    near = (rows < sources) & (sources < len(used))
    left, right = rows[near], sources[near]
    near[near] = ~used[left] & ~used[right] & (visits[left] != visits[right])
    near[near] = known.near(rows[near], sources[near])
    worth = np.full(near.shape, -MISS_BITS)
    worth[near] = np.minimum(known.worth[rows[near]], known.worth[sources[near]])
    total = np.pad(np.cumsum(worth, axis=1), ((0, 0), (1, 0)))
    gained = total - np.minimum.accumulate(total, axis=1)
    best, end = np.unravel_index(gained.argmax(), gained.shape)
    if gained[best, end] < BESIDE_BITS:
        return None
    first = end - total[best, end::-1].argmin()
    linked = first + np.flatnonzero(near[best, first:end])
    return Chain(rows[best, linked], sources[best, linked], run.order)
