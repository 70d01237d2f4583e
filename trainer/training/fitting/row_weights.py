"""How much each row counts in the fit, so that long visits do not drown short ones.

A survey stays at each location as long as it happens to, and rows of one visit say much the same:
forty of them are closer to one look at the place than to forty. What may go wrong: weights that
depend on the order of rows in a file; visits are told by label and time, never by neighbourhood.
"""

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices

Weights = npt.NDArray[np.float32]


def row_weights(stays: CellIndices, damping: float) -> Weights:
    """The weight of each row, 1 on average.

    Args:
        stays: (rows,) which rows were taken in one stay at a location.
        damping: 0: n rows of a stay count n times; 1: once; between: ``n**(1 - damping)`` times.
    """
    _, members, sizes = np.unique(stays, return_inverse=True, return_counts=True)
    weights = sizes[members].astype(np.float64) ** -damping
    normalized: Weights = (weights / weights.mean()).astype(np.float32)
    return normalized
