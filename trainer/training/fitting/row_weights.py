"""How much each row counts in the fit, so that long visits do not drown short ones.

A survey stays at each location for some time, and the rows of one stay are much alike: forty of
them are closer to one observation than to forty. A stay is recognized by label and time, never by
the order of rows in a file, which must not matter.
"""

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices

Weights = npt.NDArray[np.float32]


def row_weights(stays: CellIndices, damping: float) -> Weights:
    """The weight of each row, 1 on average.

    Args:
        stays: (rows,) the stay at a location in which each row was taken.
        damping: 0: n rows of a stay count n times; 1: once; between: ``n**(1 - damping)`` times.
    """
    _, members, sizes = np.unique(stays, return_inverse=True, return_counts=True)
    weights = sizes[members].astype(np.float64) ** -damping
    normalized: Weights = (weights / weights.mean()).astype(np.float32)
    return normalized
