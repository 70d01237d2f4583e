"""The whole model as one graph: from dBm to a cell, a point, a confidence and an expected error.

A single fingerprint costs what starting its operations costs, some 0.1 µs each, so there are as few
as possible: linear steps are folded into the weights. ``featurize``, ``probabilities`` and
``decode`` compute the same in numpy; tests compare the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import (
    MEDIAN_STEPS,
    OVER_RELAXATION,
    SOFTENING_M,
    Positions,
)
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Dense, Network
from trainer.localization.runtime.graph_writer import FROM_MINUS_ONE_TO_ONE, GraphWriter, Value

_OUT_OF_REACH = 15.0
"""So many sigma from its centre a bump is an exact zero in single precision (14.4 would do)."""

_LEAST_STEP_DB = 1.0
"""From silence to the weakest reading, at least, so that a mask is 1 there."""

_ROUNDING = 4e-6
"""What single precision may take from a square of a distance, in squares of the way from the middle
to the farthest cell, with room: five terms of up to four such squares, each off by 2^-24."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """The bytes of a model, and which of its outputs is what.

    Its input is (rows, 1, beacons) float32 in dBm, ``silence_dbm`` where a beacon was not heard.
    """

    content: bytes
    silence_dbm: float
    width: int
    """How many numbers there are for a row."""
    probabilities: int
    """(rows, cells) as the network says."""
    told: int
    """(rows, cells): the same as they are told, by the confidence's temperature."""
    numbers: int
    """(rows, 1, 3 or 4 of them) float32: x and y in metres from the middle of all cells, if they
    have positions; how sure the likeliest cell is told to be; the error to expect times the radius'
    scale, if any."""


def model_graph(
    network: Network,
    features: FeatureParameters,
    positions: Positions | None,
    radius_scale: float | None,
    temperature: float | None,
) -> ModelGraph:
    """Write a model down as a graph.

    Args:
        network: the weights.
        features: scale and bumps.
        positions: (cells, 2) in metres, or None where cells are plain labels.
        radius_scale: how many expected errors a radius is; None for no radius.
        temperature: of the confidence; None for the probability as it is.
    """
    writer = GraphWriter()
    beacons = network.inputs // features.per_beacon
    silence_dbm = _silence_dbm(features)
    inputs = _inputs(writer, writer.input(1, beacons), features, silence_dbm)
    layers = _on_raw_strength(network.layers, beacons, features, silence_dbm)
    logits = _dense(writer, inputs, layers)
    probabilities = _softmax(writer, logits)
    told = probabilities if temperature is None else _tempered(writer, logits, temperature)
    parts = [writer.largest(told)]
    if positions is not None:
        floor = _CellGeometry.of(positions)
        point = _median(writer, probabilities, floor)
        parts.insert(0, point)
        if radius_scale is not None:
            parts.append(_radius(writer, probabilities, point, floor, radius_scale))
    numbers = writer.concatenate(*parts) if len(parts) > 1 else parts[0]
    said = writer.output(probabilities)
    return ModelGraph(
        silence_dbm=silence_dbm,
        width=numbers.shape[0],
        probabilities=said,
        told=said if temperature is None else writer.output(told),
        numbers=writer.output(numbers),
        content=writer.model(),
    )


def _softmax(writer: GraphWriter, logits: Value) -> Value:
    return writer.add("SOFTMAX", logits, beta=1.0)


def _tempered(writer: GraphWriter, logits: Value, temperature: float) -> Value:
    """p^(1/T), normalized: see ``decoding.tempered``."""
    return _softmax(writer, writer.add("MUL", logits, [1.0 / temperature]))


def _inputs(
    writer: GraphWriter, dbm: Value, parameters: FeatureParameters, silence_dbm: float
) -> Value:
    """(features per beacon, beacons), but with dBm as they are in place of the scaled strength."""
    masks = writer.add("SUB", dbm, [[silence_dbm]], fusedActivationFunction=FROM_MINUS_ONE_TO_ONE)
    if not parameters.bump_centres_dbm:
        return writer.concatenate(dbm, masks)
    centres = np.array(parameters.bump_centres_dbm)[:, np.newaxis]
    squares = writer.add("SQUARED_DIFFERENCE", dbm, centres)
    exponents = writer.add("MUL", squares, [[-0.5 / parameters.bump_sigma_db**2]])
    return writer.concatenate(dbm, writer.add("EXP", exponents), masks)


def _silence_dbm(parameters: FeatureParameters) -> float:
    """Where an unheard beacon stands: out of every bump's reach, and no farther.

    What its strength would say there is taken back by its mask, and small numbers cancel better.
    """
    lowest = min(parameters.bump_centres_dbm, default=np.inf)
    return min(
        lowest - _OUT_OF_REACH * parameters.bump_sigma_db,
        parameters.not_heard_below_dbm - _LEAST_STEP_DB,
    )


def _on_raw_strength(
    layers: Sequence[Dense], beacons: int, parameters: FeatureParameters, silence_dbm: float
) -> list[tuple[Doubles, Doubles]]:
    """Weights (inputs, outputs) and biases, the first layer's for dBm that are not scaled yet."""
    plain = [(layer.weight.T.astype(np.float64), layer.bias.astype(np.float64)) for layer in layers]
    weight, bias = plain[0]
    strength, bumps, masks = np.split(weight, [beacons, len(weight) - beacons])
    strength = strength / parameters.span_db
    bias = bias - strength.sum(axis=0) * silence_dbm
    masks = masks + strength * (silence_dbm - parameters.floor_dbm)
    return [(np.concatenate([strength, bumps, masks]), bias), *plain[1:]]


def _dense(writer: GraphWriter, inputs: Value, layers: Sequence[tuple[Doubles, Doubles]]) -> Value:
    hidden = inputs
    for weight, bias in layers[:-1]:
        hidden = writer.dense(hidden, weight, bias, relu=True)
    return writer.dense(hidden, *layers[-1])


@dataclass(frozen=True, slots=True)
class _CellGeometry:
    """What the sums over cells need: (cells, ...) near the middle of them all."""

    places: Doubles
    """(cells, 2): x, y."""
    is_wide: bool
    """Whether rounding may take more from a square than the softening adds."""

    @classmethod
    def of(cls, positions: Positions) -> "_CellGeometry":
        local = positions - positions.mean(axis=0)
        farthest = np.square(local).sum(axis=1).max(initial=0.0)
        return cls(local, bool(_ROUNDING * farthest > SOFTENING_M**2))

    @property
    def sums(self) -> Doubles:
        """(cells, 4): x and y times the relaxation, 1, 1."""
        return self._beside_ones(float(OVER_RELAXATION))

    @property
    def squares(self) -> Doubles:
        """(4, cells): from (x, y, x², y²) of a point to the squares of its distances, less ..."""
        return self._beside_ones(-2.0).T

    @property
    def remainders(self) -> Doubles:
        """(cells,): ... x² + y² of the cells themselves, softened."""
        lengths: Doubles = np.square(self.places).sum(axis=1)
        return lengths + float(SOFTENING_M**2)

    def _beside_ones(self, factor: float) -> Doubles:
        """(cells, 4): x and y times a factor, 1, 1."""
        return np.concatenate([factor * self.places, np.ones_like(self.places)], axis=1)


def _median(writer: GraphWriter, masses: Value, floor: _CellGeometry) -> Value:
    """The point of least expected distance; see ``decoding.geometric_median``."""
    point = writer.dense(masses, floor.places)
    for step in range(MEDIAN_STEPS):
        precise = floor.is_wide and step == MEDIAN_STEPS - 1
        squares = _soft_squares if precise else _rough_squares
        weights = writer.add("MUL", masses, writer.add("RSQRT", squares(writer, point, floor)))
        above, below = writer.halves(writer.dense(weights, floor.sums))
        # How much of a point a step keeps is less than nothing.
        kept = writer.add("MUL", point, [1.0 - OVER_RELAXATION])
        point = writer.add("ADD", kept, writer.add("DIV", above, below))
    return point


def _rough_squares(writer: GraphWriter, point: Value, floor: _CellGeometry) -> Value:
    """Squares of distances multiplied out: one product, and on a wide floor centimetres off."""
    terms = writer.concatenate(point, writer.add("MUL", point, point))
    squares = writer.dense(terms, floor.squares, floor.remainders)
    return writer.add("MAXIMUM", squares, [SOFTENING_M**2]) if floor.is_wide else squares


def _soft_squares(writer: GraphWriter, point: Value, floor: _CellGeometry) -> Value:
    return writer.add("ADD", _squares(writer, point, floor), [SOFTENING_M**2])


def _squares(writer: GraphWriter, point: Value, floor: _CellGeometry) -> Value:
    across, along = (
        writer.add("SQUARED_DIFFERENCE", half, places)
        for half, places in zip(writer.halves(point), floor.places.T, strict=True)
    )
    return writer.add("ADD", across, along)


def _radius(
    writer: GraphWriter, masses: Value, point: Value, floor: _CellGeometry, scale: float
) -> Value:
    """How far from its point the model expects the truth to be, times the scale."""
    distances = writer.add("SQRT", _squares(writer, point, floor))
    weights = np.full((len(floor.places), 1), scale)
    return writer.dense(writer.add("MUL", masses, distances), weights)
