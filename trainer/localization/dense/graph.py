"""The whole model as one graph: from dBm to a cell, a point, a confidence and an expected error.

``featurize`` and ``probabilities`` compute the same in numpy; tests compare the two. Starting an
operation costs some 0.1 µs, so linear steps are folded into the weights: the first layer takes
strengths in dBm as they are. That is why this graph shares the network's structure with numpy and
MXNet, :func:`~trainer.localization.dense.network.forward`, but not the features.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from trainer.localization.decoding import Positions
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Dense, Network, forward
from trainer.localization.graph.answer_graph import Doubles, ModelGraph, finish_graph
from trainer.localization.graph.writer import FROM_MINUS_ONE_TO_ONE, GraphWriter, Value

_OUT_OF_REACH = 15.0
"""So many sigma from its centre a bump is exactly zero in single precision (14.4 would do)."""

_LEAST_STEP_DB = 1.0
"""At least so far from silence to the weakest reading, so that its mask is 1."""

_Layer = tuple[Doubles, Doubles]
"""Weights (inputs, outputs) and biases."""


def model_graph(
    network: Network,
    features: FeatureParameters,
    positions: Positions | None,
    radius_scale: float | None,
    temperature: float | None,
) -> ModelGraph:
    """Write a model as a graph.

    Args:
        network: the weights.
        features: scale and bumps.
        positions, radius_scale, temperature: as in ``finish_graph``.
    """
    writer = GraphWriter()
    beacons = network.inputs // features.per_beacon
    silence_dbm = _silence_dbm(features)
    inputs = _inputs(writer, writer.input(1, beacons), features, silence_dbm)
    layers = _on_raw_strength(network.layers, beacons, features, silence_dbm)
    logits = forward(inputs, layers, partial(_dense, writer, relu=True), partial(_dense, writer))
    return finish_graph(writer, logits, silence_dbm, positions, radius_scale, temperature)


def _dense(writer: GraphWriter, values: Value, layer: _Layer, *, relu: bool = False) -> Value:
    return writer.dense(values, *layer, relu=relu)


def _inputs(
    writer: GraphWriter, dbm: Value, parameters: FeatureParameters, silence_dbm: float
) -> Value:
    """(features per beacon, beacons), but with dBm in place of the scaled strength."""
    masks = writer.add("SUB", dbm, [[silence_dbm]], fusedActivationFunction=FROM_MINUS_ONE_TO_ONE)
    if not parameters.bump_centres_dbm:
        return writer.concatenate(dbm, masks)
    centres = np.array(parameters.bump_centres_dbm)[:, np.newaxis]
    squares = writer.add("SQUARED_DIFFERENCE", dbm, centres)
    exponents = writer.add("MUL", squares, [[-0.5 / parameters.bump_sigma_db**2]])
    return writer.concatenate(dbm, writer.add("EXP", exponents), masks)


def _silence_dbm(parameters: FeatureParameters) -> float:
    """The input of an unheard beacon: out of every bump's reach, and no farther.

    Its mask cancels the contribution of its strength, and small numbers cancel more exactly.
    """
    lowest = min(parameters.bump_centres_dbm, default=np.inf)
    return min(
        lowest - _OUT_OF_REACH * parameters.bump_sigma_db,
        parameters.not_heard_below_dbm - _LEAST_STEP_DB,
    )


def _on_raw_strength(
    layers: Sequence[Dense], beacons: int, parameters: FeatureParameters, silence_dbm: float
) -> list[_Layer]:
    """The layers, the first of them for dBm that are not scaled yet."""
    plain = [(layer.weight.T.astype(np.float64), layer.bias.astype(np.float64)) for layer in layers]
    weight, bias = plain[0]
    strength, bumps, masks = np.split(weight, [beacons, len(weight) - beacons])
    strength = strength / parameters.span_db
    bias = bias - strength.sum(axis=0) * silence_dbm
    masks = masks + strength * (silence_dbm - parameters.floor_dbm)
    return [(np.concatenate([strength, bumps, masks]), bias), *plain[1:]]
