"""The forward pass in plain numpy: what evaluates, and what the served graph is compared with.

What may go wrong: BLAS sums in another order for another number of rows, so a fingerprint alone
and the same one in a batch differ in the last bits. What serves promises more, see
:mod:`trainer.localization.runtime.engine`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix

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


def probabilities(network: Network, features: FloatMatrix) -> FloatMatrix:
    """The posterior over cells for each row.

    Args:
        network: the weights.
        features: (rows, inputs).

    Returns:
        (rows, outputs) float32, each row sums to 1.
    """
    hidden = features
    for layer in network.layers[:-1]:
        hidden = hidden @ layer.weight.T
        hidden += layer.bias
        np.maximum(hidden, np.float32(0.0), out=hidden)
    last = network.layers[-1]
    posterior: FloatMatrix = hidden @ last.weight.T
    posterior += last.bias
    posterior -= posterior.max(axis=1, keepdims=True)
    np.exp(posterior, out=posterior)
    posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior
