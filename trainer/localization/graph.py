"""The whole model as one graph: from dBm to a cell, a point, how sure and how far off.

A fingerprint alone costs what starting its operations costs, some 0.7 µs each, so there are as few
as can be: what is linear is put into the weights, and what a product can do besides is left to it.
:func:`~trainer.localization.features.featurize`, :mod:`~trainer.localization.network` and
:func:`~trainer.localization.decoding.decode` say the same in numpy. What may go wrong: that the two
drift apart; the tests compare them.
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
from trainer.localization.features import FeatureParameters
from trainer.localization.network import Dense, Network
from trainer.localization.onnx_writer import DOUBLE, MICROSOFT, GraphWriter

INPUT = "dbm"

PER_METRE, PER_ONE = 1e3, 1e6
"""Answers are told to the millimetre, probabilities to the millionth."""

_OUT_OF_REACH = 15.0
"""So many sigma from its centre a bump is an exact zero in single precision (14.4 would do)."""

_ROUNDING = 4e-6
"""What single precision may take from a square of a distance, in squares of the way from the middle
to the farthest cell, with room: five terms of up to four such squares, each off by 2^-24."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """The bytes of an ONNX model, and what its outputs are called."""

    content: bytes
    width: int
    """How many numbers there are for a row."""
    probabilities: str
    """(rows, cells) as the network says."""
    told: str
    """(rows, cells): the same as they are told, by the confidence's temperature."""
    cells: str
    """(rows, 1) int64: the likeliest."""
    numbers: str
    """(rows, 1, 3 or 4 of them) float32: x and y in metres from the middle of all cells, if they
    have positions; how sure that cell is told to be; the error to expect times the radius' scale,
    if any."""
    answers: str
    """(rows, as many) float64: the same as it is told, from the site's own origin and rounded."""


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
    inputs = _inputs(writer, writer.input(INPUT, beacons), beacons, features)
    layers = _on_raw_strength(network.layers, beacons, features)
    logits = _dense(writer, inputs, layers)
    probabilities = writer.add("Softmax", logits, axis=1)
    cells = writer.add("ArgMax", probabilities, axis=1)
    told = probabilities if temperature is None else _tempered(writer, logits, temperature)
    # A maximum, unlike a sum, is the same in whatever order it is taken.
    confidence = writer.add("ReduceMax", told, writer.constant([1], np.int64))
    parts = [confidence]
    if positions is not None:
        floor = _Floor.of(writer, positions)
        point = _median(writer, probabilities, floor)
        parts.insert(0, point)
        if radius_scale is not None:
            parts.append(_radius(writer, probabilities, point, floor, radius_scale))
    numbers = writer.add("Concat", *parts, axis=1) if len(parts) > 1 else confidence
    for each in dict.fromkeys((probabilities, told)):
        writer.output(each, network.outputs)
    writer.output(cells, 1, np.int64)
    width = len(parts) + (positions is not None)
    writer.output(numbers, width)
    answers = _rounded(writer, numbers, width, positions)
    writer.output(answers, width, np.float64)
    return ModelGraph(writer.model(), width, probabilities, told, cells, numbers, answers)


def _tempered(writer: GraphWriter, logits: str, temperature: float) -> str:
    """p^(1/T), normalized: see ``decoding.tempered``."""
    cooler = writer.add("Mul", logits, writer.constant(1.0 / temperature))
    return writer.add("Softmax", cooler, axis=1)


def _inputs(writer: GraphWriter, dbm: str, beacons: int, parameters: FeatureParameters) -> str:
    """The features, but with dBm as they are in place of the scaled strength.

    A comparison with NaN is false, so what was not heard needs no further care.
    """
    heard = writer.add("GreaterOrEqual", dbm, writer.constant(parameters.not_heard_below_dbm))
    strength = writer.add("Where", heard, dbm, writer.constant(_silence_dbm(parameters)))
    # Offsets from every centre by one product with a matrix of few ones, scaled so that their
    # squares are the exponents.
    scale = parameters.bump_sigma_db * np.sqrt(2.0)
    centres = np.repeat(np.array(parameters.bump_centres_dbm), beacons)
    spread = np.tile(np.eye(beacons), len(parameters.bump_centres_dbm))
    offsets = writer.add(
        "Gemm", strength, writer.constant(spread / scale), writer.constant(-centres / scale)
    )
    bumps = writer.add("Exp", writer.add("Neg", writer.add("Mul", offsets, offsets)))
    masks = writer.add("Cast", heard, to=1)
    return writer.add("Concat", strength, bumps, masks, axis=1)


def _silence_dbm(parameters: FeatureParameters) -> float:
    """Where an unheard beacon stands: out of every bump's reach, and no farther.

    What its strength would say there is taken back by its mask, and small numbers cancel better.
    """
    return min(parameters.bump_centres_dbm) - _OUT_OF_REACH * parameters.bump_sigma_db


def _on_raw_strength(
    layers: Sequence[Dense], beacons: int, parameters: FeatureParameters
) -> list[tuple[Doubles, Doubles]]:
    """Weights (inputs, outputs) and biases, the first layer's for dBm that are not scaled yet."""
    plain = [(layer.weight.T.astype(np.float64), layer.bias.astype(np.float64)) for layer in layers]
    weight, bias = plain[0]
    strength, bumps, masks = np.split(weight, [beacons, len(weight) - beacons])
    strength = strength / parameters.span_db
    silence_dbm = _silence_dbm(parameters)
    bias = bias - strength.sum(axis=0) * silence_dbm
    masks = masks + strength * (silence_dbm - parameters.floor_dbm)
    return [(np.concatenate([strength, bumps, masks]), bias), *plain[1:]]


def _dense(writer: GraphWriter, inputs: str, layers: Sequence[tuple[Doubles, Doubles]]) -> str:
    hidden = inputs
    for weight, bias in layers[:-1]:
        hidden = writer.add(
            "FusedGemm",
            hidden,
            writer.constant(weight),
            writer.constant(bias),
            domain=MICROSOFT,
            activation="Relu",
        )
    weight, bias = layers[-1]
    return writer.add("Gemm", hidden, writer.constant(weight), writer.constant(bias))


def _rounded(writer: GraphWriter, numbers: str, width: int, positions: Positions | None) -> str:
    """In double precision, as the cells may be far from the site's origin."""
    origin, digits = np.zeros(width), np.full(width, PER_METRE)
    if positions is not None:
        origin[:2] = positions.mean(axis=0)
    digits[0 if positions is None else 2] = PER_ONE
    scale = writer.constant(digits, np.float64)
    precise = writer.add("Cast", numbers, to=DOUBLE)
    placed = writer.add("Add", precise, writer.constant(origin, np.float64))
    return writer.add("Div", writer.add("Round", writer.add("Mul", placed, scale)), scale)


@dataclass(frozen=True, slots=True)
class _Floor:
    """Names of what the sums over cells need: (cells, ...) near the middle of them all."""

    places: str
    """(cells, 2): x, y."""
    sums: str
    """(cells, 4): x and y times the relaxation, 1, 1."""
    squares: str
    """(4, cells): from (x, y, x², y²) of a point to the squares of its distances, less ..."""
    remainders: str
    """(cells,): ... x² + y² of the cells themselves, softened."""
    is_wide: bool
    """Whether rounding may take more from a square than the softening adds."""
    xs: str
    ys: str
    """(1, cells) each."""
    cells: int
    softening: str
    halves: str
    """(2,): where two pairs part."""
    single: str
    """(2,): where two columns part."""
    kept: str
    """(2, 2): how much of a point a step keeps, which is less than nothing."""

    @classmethod
    def of(cls, writer: GraphWriter, positions: Positions) -> "_Floor":
        local = positions - positions.mean(axis=0)
        ones = np.ones((len(local), 2))
        lengths = np.square(local).sum(axis=1)
        return cls(
            places=writer.constant(local),
            sums=writer.constant(np.concatenate([local * OVER_RELAXATION, ones], axis=1)),
            squares=writer.constant(np.concatenate([-2.0 * local, ones], axis=1).T),
            remainders=writer.constant(lengths + SOFTENING_M**2),
            is_wide=bool(_ROUNDING * lengths.max(initial=0.0) > SOFTENING_M**2),
            cells=len(local),
            xs=writer.constant(local[np.newaxis, :, 0]),
            ys=writer.constant(local[np.newaxis, :, 1]),
            softening=writer.constant(SOFTENING_M**2),
            halves=writer.constant([2, 2], np.int64),
            single=writer.constant([1, 1], np.int64),
            kept=writer.constant(np.eye(2) * (1.0 - OVER_RELAXATION)),
        )


def _median(writer: GraphWriter, masses: str, floor: _Floor) -> str:
    """The point of least expected distance; see ``decoding.geometric_median``."""
    point = writer.add("MatMul", masses, floor.places)
    for step in range(MEDIAN_STEPS):
        precise = floor.is_wide and step == MEDIAN_STEPS - 1
        squares = _soft_squares if precise else _rough_squares
        distances = writer.add("Sqrt", squares(writer, point, floor))
        sums = writer.add("MatMul", writer.add("Div", masses, distances), floor.sums)
        above, below = writer.add_several("Split", sums, floor.halves, results=2, axis=1)
        mean = writer.add("Div", above, below)
        point = writer.add("Gemm", point, floor.kept, mean)
    return point


def _rough_squares(writer: GraphWriter, point: str, floor: _Floor) -> str:
    """Squares of distances multiplied out: one product, and on a wide floor centimetres off."""
    terms = writer.add("Concat", point, writer.add("Mul", point, point), axis=1)
    squares = writer.add("Gemm", terms, floor.squares, floor.remainders)
    return writer.add("Max", squares, floor.softening) if floor.is_wide else squares


def _soft_squares(writer: GraphWriter, point: str, floor: _Floor) -> str:
    return writer.add("Add", _squares(writer, point, floor), floor.softening)


def _squares(writer: GraphWriter, point: str, floor: _Floor) -> str:
    x, y = writer.add_several("Split", point, floor.single, results=2, axis=1)
    across, along = writer.add("Sub", floor.xs, x), writer.add("Sub", floor.ys, y)
    return writer.add("Add", writer.add("Mul", across, across), writer.add("Mul", along, along))


def _radius(writer: GraphWriter, masses: str, point: str, floor: _Floor, scale: float) -> str:
    """How far from its point the model expects the truth to be, times the scale.

    A product, as the runtime's own sum over a row depends on where in memory the row lies.
    """
    distances = writer.add("Sqrt", _squares(writer, point, floor))
    weights = writer.constant(np.full((floor.cells, 1), scale))
    return writer.add("MatMul", writer.add("Mul", masses, distances), weights)
