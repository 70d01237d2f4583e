"""Oversamples locations, so that none counts less because rows of it were held out.

A held-out visit is often all that a new survey has of its location. A fit without it then knows the
location by fewer rows than its neighbours and answers it less often than a fit on all rows would;
measured so, more data looks worse than less (docs/adr/0019 has the figures). A location of which no
row is left stays unknown.
"""

from dataclasses import replace

import numpy as np

from trainer.training.evaluation.hold_out import Rows
from trainer.training.reading.training_set import TrainingSet


def oversample_locations(data: TrainingSet, trained: Rows, held_out: Rows) -> TrainingSet:
    """The rows to train on, and for each held-out row another row of the same location.

    The added row takes over the stay of the held-out row, as weights are computed by stays. Which
    row it is depends on the content of the rows, not on their order.

    Args:
        data: all rows.
        trained: indices of those to train on.
        held_out: indices of those that were held out.
    """
    keys = data.keys
    left = _by_location(data, trained[np.argsort(keys[trained], kind="stable")])
    gone = _by_location(data, held_out[np.argsort(keys[held_out], kind="stable")])
    replaced = {cell: rows for cell, rows in gone.items() if cell in left}
    chosen = [np.resize(left[cell], len(rows)) for cell, rows in replaced.items()]
    rows = np.concatenate([trained, *chosen])
    stays = np.concatenate([data.stays[trained], *(data.stays[rows] for rows in replaced.values())])
    return replace(data.take(rows), stays=stays)


def _by_location(data: TrainingSet, rows: Rows) -> dict[int, Rows]:
    """The rows of each location that has any, in the order given."""
    cells = data.cells[rows]
    return {int(cell): rows[cells == cell] for cell in np.unique(cells)}
