"""Holds rows out so that the metrics say what the model does on a visit it has not seen.

Neighbouring rows are one visit and exact copies are one row: a random split puts them on both sides
and measures memory (on the reference data set 68 % of such test rows have a copy in training).
Where surveys visit every cell only once, visits are cut; if even that yields too little, whole
cells are held out. :class:`HoldOutScheme` says which, as cut visits flatter the model and unseen
cells can't be answered exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trainer.training.reading.row_keys import Keys, mix_bits, name_key
from trainer.training.reading.training_set import TrainingSet

MAX_CELL_SHARE = 0.5
"""No cell gives away more than this share of its rows, except in the last scheme."""
ENOUGH_SHARE = 0.5
"""The next scheme is tried if one yields less than this part of the requested rows."""

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class HoldOutScheme(StrEnum):
    """What is kept whole on one side; exact copies always are."""

    WHOLE_VISITS = "whole visits are held out"
    CUT_VISITS = "the ends of visits are held out, as most locations were visited once"
    WHOLE_CELLS = "whole locations are held out, as each holds copies of one row only"


@dataclass(frozen=True, slots=True, eq=False)
class HoldOut:
    """Indices of rows, each side in ascending order and never empty."""

    trained: Rows
    held_out: Rows
    scheme: HoldOutScheme


def hold_out(
    data: TrainingSet, share: float, seed: int, pairs: npt.NDArray[np.intp] | None = None
) -> HoldOut:
    """Split rows; deterministic for a seed and independent of the order of visits.

    Args:
        data: the labelled rows.
        share: of the rows to hold out; visits and cells may allow fewer.
        seed: chooses among visits.
        pairs: (n, 2) rows that are near duplicates of each other; each in one pair.

    Returns:
        Two sides that share no exact copy and no pair. Every cell keeps rows to train on, unless
        the scheme says otherwise.
    """
    keys = data.keys
    copies = np.unique(keys, return_inverse=True)[1]
    if pairs is not None and len(pairs):
        copies = _connected(copies, _paired(pairs, len(data)))
    scheme = HoldOutScheme.WHOLE_VISITS
    held = _choose(data, _connected(data.visits, copies), keys, share, seed)
    if held.sum() < ENOUGH_SHARE * share * len(data):
        scheme = HoldOutScheme.CUT_VISITS
        held = _choose(data, _connected(_cut(data.visits, share), copies), keys, share, seed)
    if not held.any():
        scheme = HoldOutScheme.WHOLE_CELLS
        held = _choose(data, copies, keys, share, seed, max_cell_share=1.0)
    return HoldOut(np.flatnonzero(~held), np.flatnonzero(held), scheme)


def folds(
    data: TrainingSet, count: int, seed: int, pairs: npt.NDArray[np.intp] | None = None
) -> list[Rows]:
    """Deal all rows to folds of about the same size; copies and visits stay in one fold.

    Args:
        data: the labelled rows.
        count: of folds.
        seed: shuffles groups of rows before they are dealt.
        pairs: (n, 2) rows that are near duplicates of each other; each in one pair.

    Returns:
        The test rows of each fold, ascending; a fold may be empty if there are too few visits.
    """
    keys = data.keys
    groups = _connected(data.visits, np.unique(keys, return_inverse=True)[1])
    if pairs is not None and len(pairs):
        groups = _connected(groups, _paired(pairs, len(data)))
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(order, members, mix_bits(keys + np.uint64(name_key(str(seed)))))
    dealt = np.zeros(len(sizes), dtype=np.intp)
    filled = [0] * count
    for group in _by_key(order):
        dealt[group] = filled.index(min(filled))
        filled[dealt[group]] += int(sizes[group])
    return [np.flatnonzero(dealt[members] == fold) for fold in range(count)]


def _cut(visits: Rows, share: float) -> Rows:
    """Visits, with the last part of each as a visit of its own."""
    starts = np.flatnonzero(np.diff(visits, prepend=-1))
    lengths = np.diff(starts, append=len(visits))
    place = np.arange(len(visits)) - np.repeat(starts, lengths)
    tail = place >= np.repeat(lengths - np.ceil(lengths * share), lengths)
    parts: Rows = visits * 2 + tail
    return parts


def _paired(pairs: npt.NDArray[np.intp], rows: int) -> Rows:
    groups = np.arange(rows)
    groups[pairs[:, 1]] = pairs[:, 0]
    return groups


def _connected(one: Rows, other: Rows) -> Rows:
    """Groups of rows that must stay together because they share a group of either kind."""
    groups = np.arange(len(one))
    while True:
        before = groups
        for kind in (one, other):
            lowest = np.full(kind.max() + 1, len(groups))
            np.minimum.at(lowest, kind, groups)
            groups = lowest[kind]
        if np.array_equal(before, groups):
            return groups


def _choose(
    data: TrainingSet,
    groups: Rows,
    keys: Keys,
    share: float,
    seed: int,
    max_cell_share: float = MAX_CELL_SHARE,
) -> Mask:
    """Take whole groups in an order shuffled by the seed, as far as cells can spare them."""
    _, firsts, members, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(order, members, mix_bits(keys + np.uint64(name_key(str(seed)))))
    spare = np.floor(np.bincount(data.cells) * max_cell_share).astype(int).tolist()
    remaining = max(1, round(share * len(data)))
    taken = np.zeros(len(sizes), dtype=bool)
    for group in _by_key(order):
        cell, size = int(data.cells[firsts[group]]), int(sizes[group])
        if size <= spare[cell] and size <= remaining:
            taken[group] = True
            spare[cell] -= size
            remaining -= size
    return taken[members]


def _by_key(order: Keys) -> Sequence[int]:
    ranked: list[int] = np.argsort(order, kind="stable").tolist()
    return ranked
