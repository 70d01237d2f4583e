"""The network: its weights, its structure, and its forward pass in plain numpy.

Evaluation uses the pass in numpy, and tests compare the served graph with it. BLAS sums in another
order for another number of rows, so a fingerprint alone and the same one in a batch differ in the
last bits; what is served does not, see :mod:`trainer.localization.runtime.engine`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix

FloatVector = npt.NDArray[np.float32]

ValuesT = TypeVar("ValuesT")
LayerT = TypeVar("LayerT")


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
        """The number of features."""
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """The number of cells."""
        return int(self.layers[-1].weight.shape[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """The inputs, then the outputs of each layer."""
        return (self.inputs, *(len(layer.bias) for layer in self.layers))


def forward(
    features: ValuesT,
    layers: Sequence[LayerT],
    relu_dense: Callable[[ValuesT, LayerT], ValuesT],
    dense: Callable[[ValuesT, LayerT], ValuesT],
) -> ValuesT:
    """The logits: every layer but the last is followed by relu.

    The one definition of the structure: numpy, the graphs that train and are exported, and the
    served graph each bring their way to compute a layer, with relu and without.
    """
    values = features
    for layer in layers[:-1]:
        values = relu_dense(values, layer)
    return dense(values, layers[-1])


def probabilities(network: Network, features: FloatMatrix) -> FloatMatrix:
    """The posterior over cells for each row.

    Args:
        network: the weights.
        features: (rows, inputs).

    Returns:
        (rows, outputs) float32, each row sums to 1.
    """
    posterior = forward(features, network.layers, _relu_dense, _dense)
    posterior -= posterior.max(axis=1, keepdims=True)
    np.exp(posterior, out=posterior)
    posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior


def _dense(values: FloatMatrix, layer: Dense) -> FloatMatrix:
    outputs: FloatMatrix = values @ layer.weight.T
    outputs += layer.bias
    return outputs


def _relu_dense(values: FloatMatrix, layer: Dense) -> FloatMatrix:
    outputs = _dense(values, layer)
    return np.maximum(outputs, np.float32(0.0), out=outputs)
