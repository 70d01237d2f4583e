"""The end of every served graph: from logits to a cell, a point, a confidence and an error.

The same as :func:`~trainer.localization.decoding.decode` and ``expected_errors``, which evaluation
uses; tests compare the two. There are as few operations as possible, as starting one costs 0.1 µs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import MEDIAN_STEPS, OVER_RELAXATION, SOFTENING_M, Positions
from trainer.localization.graph.writer import GraphWriter, Value

_ROUNDING = 4e-6
"""A bound on the rounding error of a squared distance in single precision, relative to the squared
distance of the farthest cell from the middle: five terms of up to four such squares, each off by
2^-24."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """The bytes of a model, and the numbers of its outputs.

    Its input is (rows, 1, beacons) float32 in dBm, ``silence_dbm`` where a beacon was not heard.
    """

    content: bytes
    silence_dbm: float
    width: int
    """The length of a row of ``numbers``."""
    probabilities: int
    """(rows, cells) as the network computes them."""
    calibrated: int
    """(rows, cells) after the confidence's temperature."""
    numbers: int
    """(rows, 1, 3 or 4) float32: x and y in metres from the middle of all cells, if they have
    positions; the confidence of the likeliest cell; the expected error times the radius' scale, if
    there is one."""


def finish_graph(
    writer: GraphWriter,
    logits: Value,
    silence_dbm: float,
    positions: Positions | None,
    radius_scale: float | None,
    temperature: float | None,
) -> ModelGraph:
    """Add everything that follows the logits, and write the graph.

    Args:
        writer: holds the input and all operations up to ``logits``.
        logits: (cells,) of a row.
        silence_dbm: the input of a beacon that was not heard.
        positions: (cells, 2) in metres, or None where cells are plain labels.
        radius_scale: the radius in expected errors; None for no radius.
        temperature: of the confidence; None for the probability as it is.
    """
    probabilities = _softmax(writer, logits)
    calibrated = probabilities if temperature is None else _tempered(writer, logits, temperature)
    parts = [writer.largest(calibrated)]
    if positions is not None:
        geometry = _CellGeometry.of(positions)
        point = _median(writer, probabilities, geometry)
        parts.insert(0, point)
        if radius_scale is not None:
            parts.append(_radius(writer, probabilities, point, geometry, radius_scale))
    numbers = writer.concatenate(*parts) if len(parts) > 1 else parts[0]
    output = writer.output(probabilities)
    return ModelGraph(
        silence_dbm=silence_dbm,
        width=numbers.shape[0],
        probabilities=output,
        calibrated=output if temperature is None else writer.output(calibrated),
        numbers=writer.output(numbers),
        content=writer.model(),
    )


def _softmax(writer: GraphWriter, logits: Value) -> Value:
    return writer.add("SOFTMAX", logits, beta=1.0)


def _tempered(writer: GraphWriter, logits: Value, temperature: float) -> Value:
    """p^(1/T), normalized; see ``decoding.tempered``."""
    return _softmax(writer, writer.add("MUL", logits, [1.0 / temperature]))


@dataclass(frozen=True, slots=True)
class _CellGeometry:
    """What the sums over cells need, relative to the middle of all cells."""

    local: Doubles
    """(cells, 2): x, y."""
    is_wide: bool
    """Whether rounding may change a squared distance by more than the softening."""

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
        """(4, cells): from (x, y, x², y²) of a point to squared distances, less ``remainders``."""
        return self._beside_ones(-2.0).T

    @property
    def remainders(self) -> Doubles:
        """(cells,): x² + y² of the cells themselves, softened."""
        lengths: Doubles = np.square(self.local).sum(axis=1)
        return lengths + float(SOFTENING_M**2)

    def _beside_ones(self, factor: float) -> Doubles:
        """(cells, 4): x and y times a factor, 1, 1."""
        return np.concatenate([factor * self.local, np.ones_like(self.local)], axis=1)


def _median(writer: GraphWriter, masses: Value, geometry: _CellGeometry) -> Value:
    """The point of least expected distance; see ``decoding.geometric_median``."""
    point = writer.dense(masses, geometry.local)
    for step in range(MEDIAN_STEPS):
        precise = geometry.is_wide and step == MEDIAN_STEPS - 1
        squares = _soft_squares if precise else _rough_squares
        weights = writer.add("MUL", masses, writer.add("RSQRT", squares(writer, point, geometry)))
        above, below = writer.halves(writer.dense(weights, geometry.sums))
        # Negative, as a step is longer than the way to the weighted mean.
        kept = writer.add("MUL", point, [1.0 - OVER_RELAXATION])
        point = writer.add("ADD", kept, writer.add("DIV", above, below))
    return point


def _rough_squares(writer: GraphWriter, point: Value, geometry: _CellGeometry) -> Value:
    """Squared distances multiplied out: a single product, but centimetres off on a wide site."""
    terms = writer.concatenate(point, writer.add("MUL", point, point))
    squares = writer.dense(terms, geometry.squares, geometry.remainders)
    return writer.add("MAXIMUM", squares, [SOFTENING_M**2]) if geometry.is_wide else squares


def _soft_squares(writer: GraphWriter, point: Value, geometry: _CellGeometry) -> Value:
    return writer.add("ADD", _squares(writer, point, geometry), [SOFTENING_M**2])


def _squares(writer: GraphWriter, point: Value, geometry: _CellGeometry) -> Value:
    across, along = (
        writer.add("SQUARED_DIFFERENCE", half, places)
        for half, places in zip(writer.halves(point), geometry.local.T, strict=True)
    )
    return writer.add("ADD", across, along)


def _radius(
    writer: GraphWriter, masses: Value, point: Value, geometry: _CellGeometry, scale: float
) -> Value:
    """The expected distance from the point to the truth, times the scale."""
    distances = writer.add("SQRT", _squares(writer, point, geometry))
    weights = np.full((len(geometry.local), 1), scale)
    return writer.dense(writer.add("MUL", masses, distances), weights)
