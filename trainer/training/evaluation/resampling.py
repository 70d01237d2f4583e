"""Fills the places of held-out rows with others of their location, so that no location counts less.

A visit that is held out is often all that a new survey has of its location. A fit without it then
knows the location by fewer rows than its neighbours and answers it less often than a fit on all
rows would; measured so, more data looks worse than less (docs/adr/0019 has the figures). What may
go wrong: a location of which no row is left; nothing can stand in for it, and it stays unknown.
"""

from dataclasses import replace

import numpy as np

from trainer.training.evaluation.hold_out import Rows
from trainer.training.reading.training_set import TrainingSet


def oversample_locations(data: TrainingSet, trained: Rows, held_out: Rows) -> TrainingSet:
    """The rows to train on, and for each held-out row one of them from the same location.

    A stand-in belongs to the stay of the row that it stands for, as weights go by stays. Which one
    it is depends on what rows hold, not on their order.

    Args:
        data: all rows.
        trained: indices of those to train on.
        held_out: indices of those that were held out.
    """
    keys = data.keys
    left = _by_location(data, trained[np.argsort(keys[trained], kind="stable")])
    gone = _by_location(data, held_out[np.argsort(keys[held_out], kind="stable")])
    filled = {cell: rows for cell, rows in gone.items() if cell in left}
    chosen = [np.resize(left[cell], len(rows)) for cell, rows in filled.items()]
    rows = np.concatenate([trained, *chosen])
    stays = np.concatenate([data.stays[trained], *(data.stays[rows] for rows in filled.values())])
    return replace(data.take(rows), stays=stays)


def _by_location(data: TrainingSet, rows: Rows) -> dict[int, Rows]:
    """The rows of each location that has any, in the order given."""
    cells = data.cells[rows]
    return {int(cell): rows[cells == cell] for cell in np.unique(cells)}
