"""The forward pass in plain numpy: what serves, without MXNet.

Fingerprints stand side by side as the columns of a panel, so that sums over features or cells run
along whole rows. What may go wrong: BLAS sums in another order for another number of columns (gemv
or gemm, another kernel at the edges), so a fingerprint alone and the same one in a batch would
differ in the last bits. Panels therefore come in few widths, with margins, and whether that is
enough is asked of this very machine (:func:`times`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix

PANEL_ROWS = 256
_MARGIN = 8
_WIDTHS = (32, 80, 144, PANEL_ROWS + 2 * _MARGIN)
"""OpenBLAS 0.3.23 on AMD EPYC gives all columns of a product the same bits, but for the first and
last 8 of each, up to a width of 288; beyond, it cuts them into parts with margins of their own."""
_TILE = 8
"""Where that does not hold, every product has this one shape and takes some four times as long."""

FloatVector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dense:
    """One layer: (outputs, inputs) weights, as MXNet keeps them, and (outputs,) biases."""

    weight: FloatMatrix
    bias: FloatVector


@dataclass(frozen=True, slots=True)
class Network:
    """Dense layers with relu between them and a softmax after the last."""

    layers: tuple[Dense, ...]

    @property
    def inputs(self) -> int:
        """How many features go in."""
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """How many cells come out."""
        return int(self.layers[-1].weight.shape[0])


def by_panels(rows: FloatMatrix, work: Callable[[FloatMatrix], FloatMatrix]) -> FloatMatrix:
    """Apply ``work`` to fingerprints as columns; the same bits whatever stands beside each.

    Args:
        rows: (rows, inputs).
        work: from a panel (inputs, width) to (outputs, width), column by column and, where it
            multiplies matrices, by :func:`times`. The columns of the margin are zeros.

    Returns:
        (rows, outputs) float32.
    """
    starts = range(0, max(len(rows), 1), PANEL_ROWS)
    parts = [_worked(rows[start : start + PANEL_ROWS], work) for start in starts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _worked(rows: FloatMatrix, work: Callable[[FloatMatrix], FloatMatrix]) -> FloatMatrix:
    count, inputs = rows.shape
    width = next(width for width in _WIDTHS if width >= count + 2 * _MARGIN)
    panel = np.zeros((inputs, width), dtype=np.float32)
    inner = slice(_MARGIN, _MARGIN + count)
    panel[:, inner] = rows.T
    return work(panel)[:, inner].T


def times(weight: FloatMatrix, panel: FloatMatrix) -> FloatMatrix:
    """``weight @ panel``, where no column's bits depend on its place or on the others.

    Args:
        weight: (outputs, inputs), contiguous.
        panel: (inputs, width), one of :func:`by_panels`.
    """
    if _even(*weight.shape):
        return weight @ panel
    tiles = range(0, panel.shape[1], _TILE)
    return np.concatenate([weight @ panel[:, at : at + _TILE] for at in tiles], axis=1)


@cache
def _even(outputs: int, inputs: int) -> bool:
    """Whether equal columns have equal products, in every width and place within the margins.

    Which kernel BLAS takes follows from the shapes alone, and sums in another order show in almost
    every number, so random numbers tell.
    """
    random = np.random.default_rng(0)
    weight = random.normal(size=(outputs, inputs)).astype(np.float32)
    column = random.normal(size=(inputs, 1)).astype(np.float32)
    products = [weight @ np.repeat(column, width, axis=1) for width in _WIDTHS]
    first = products[0][:, _MARGIN : _MARGIN + 1]
    return all((product[:, _MARGIN:-_MARGIN] == first).all() for product in products)


def probabilities(network: Network, features: FloatMatrix) -> FloatMatrix:
    """The posterior over cells for each row; the same bits whatever rows stand beside it.

    Args:
        network: the weights.
        features: (rows, inputs).

    Returns:
        (rows, outputs) float32, each row sums to 1.
    """
    return by_panels(features, lambda panel: _softmax(_logits(network, panel)))


def _logits(network: Network, panel: FloatMatrix) -> FloatMatrix:
    nothing = np.zeros(panel.shape[1], dtype=np.float32)
    hidden = panel
    for layer in network.layers[:-1]:
        hidden = times(layer.weight, hidden)
        hidden += layer.bias[:, np.newaxis]
        # A row of zeros, as numpy's maximum with a single number takes twice as long.
        np.maximum(hidden, nothing, out=hidden)
    last = network.layers[-1]
    logits = times(last.weight, hidden)
    logits += last.bias[:, np.newaxis]
    return logits


def _softmax(logits: FloatMatrix) -> FloatMatrix:
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits
