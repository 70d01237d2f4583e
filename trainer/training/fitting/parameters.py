"""All parameters of a network as one vector: where each layer lies, and the initial values."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainer.localization.dense.network import Dense, FloatVector, Network


@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """Where each layer lies in the vector."""

    widths: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        return list(pairwise(self.widths))

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(inputs * outputs + outputs for inputs, outputs in self.layers)

    def slices(self) -> list[tuple[slice, slice]]:
        """Where the weights and the biases of each layer lie."""
        slices, start = [], 0
        for inputs, outputs in self.layers:
            middle = start + inputs * outputs
            slices.append((slice(start, middle), slice(middle, middle + outputs)))
            start = middle + outputs
        return slices

    def network(self, theta: FloatVector) -> Network:
        """The network whose parameters are ``theta``."""
        return Network(
            tuple(
                Dense(weight=theta[weights].reshape(outputs, inputs), bias=theta[biases])
                for (inputs, outputs), (weights, biases) in zip(
                    self.layers, self.slices(), strict=True
                )
            )
        )


def initial_parameters(
    layout: ParameterLayout,
    heard: npt.NDArray[np.bool_],
    features_per_beacon: int,
    random: np.random.Generator,
) -> FloatVector:
    """He-normal weights and zero biases as one vector.

    A beacon that no row heard gets zeros and draws no random numbers: the model is the same as
    without it, and if it is heard one day, it adds no noise.

    Args:
        layout: of the network.
        heard: (beacons,) whether any row heard the beacon.
        features_per_beacon: each beacon's inputs.
        random: the source of the weights.
    """
    theta = np.zeros(layout.size, dtype=np.float32)
    for number, ((inputs, outputs), (weights, _)) in enumerate(
        zip(layout.layers, layout.slices(), strict=True)
    ):
        alive = np.ones(inputs, dtype=bool) if number else np.tile(heard, features_per_beacon)
        fan_in = max(int(alive.sum()), 1)
        drawn = random.normal(0.0, math.sqrt(2.0 / fan_in), size=(outputs, int(alive.sum())))
        matrix = np.zeros((outputs, inputs), dtype=np.float32)
        matrix[:, alive] = drawn
        theta[weights] = matrix.ravel()
    return theta


def beacon_major_order(layout: ParameterLayout, beacons: int) -> npt.NDArray[np.intp]:
    """Which parameter stands at each place if a row's features are grouped by beacon.

    The training graph looks up all features of a beacon at once; the network is served with
    features grouped by kind (:func:`~trainer.localization.dense.features.featurize`).
    """
    inputs, outputs = layout.layers[0]
    first = np.arange(inputs * outputs).reshape(outputs, inputs // beacons, beacons)
    order = np.arange(layout.size)
    order[: first.size] = first.transpose(0, 2, 1).ravel()
    return order
