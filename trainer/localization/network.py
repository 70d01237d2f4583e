"""The forward pass in plain numpy: what serves, without MXNet.

What may go wrong: BLAS sums in another order for another number of rows (gemv or gemm, another
kernel for the rest of a block), so a row alone and the same row in a batch would differ in the
last bits. Every product here therefore has the same shape: blocks of :data:`BLOCK` rows, the last
one padded.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix

BLOCK = 8
"""Rows per product. BLAS kernels take rows in tiles, and a row in a whole tile gets other last bits
than one in the rest: of 4, 6, 8, 12, 13, 16, 24 and 32 rows only 4 and 8 gave every place of the
block the same bits (OpenBLAS 0.3.23 on AMD EPYC, four shapes). A test asks on every machine."""

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


def in_blocks(rows: FloatMatrix) -> FloatMatrix:
    """(rows, width) as (blocks, BLOCK, width), padded with zeros."""
    count, width = rows.shape
    blocks = -(-count // BLOCK)
    padded = np.zeros((blocks * BLOCK, width), dtype=np.float32)
    padded[:count] = rows
    return padded.reshape(blocks, BLOCK, width)


def probabilities(network: Network, features: FloatMatrix) -> FloatMatrix:
    """The posterior over cells for each row; the same bits whatever rows stand beside it.

    Args:
        network: the weights.
        features: (rows, inputs).

    Returns:
        (rows, outputs) float32, each row sums to 1.
    """
    hidden = in_blocks(features)
    for layer in network.layers[:-1]:
        hidden = np.maximum(hidden @ layer.weight.T + layer.bias, np.float32(0.0))
    last = network.layers[-1]
    logits = (hidden @ last.weight.T + last.bias).reshape(-1, network.outputs)[: len(features)]
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits
