"""From a posterior over cells to answers: a cell, a point and how sure the model is of the cell.

Each figure of merit has its own best answer: the likeliest cell for "exactly right", the cell of
least expected distance for "within one cell", the geometric median for the error in metres.
What may go wrong: cells without positions; then only the first of the three exists.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trainer.localization.network import by_panels, times
from trainer.localization.readings import FloatMatrix

Positions = npt.NDArray[np.float64]
CellIndices = npt.NDArray[np.intp]

MEDIAN_STEPS = 4
OVER_RELAXATION = np.float32(1.5)
"""Weiszfeld's steps, each half as long again. On the UCI set the expected distance is then 0.008 m
above its least on average, and 0.28 m at most; 6 steps: 0.003 and 0.18; the mean alone: 0.29 and
3.5; 500 plain steps find the least. Newton's steps run away from it between two far clusters."""

_SOFTENING_M = np.float32(0.1)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it leaves the container; x and y in metres, None without positions.

    ``confidence`` is the model's probability that ``location`` is the very cell; ``radius_m`` is
    how far from (x, y) the truth is at most in most cases (the bundle says in how many), None if
    that was not measured.
    """

    location: str
    x: float | None
    y: float | None
    confidence: float
    radius_m: float | None = None


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the model says about each row."""

    probabilities: FloatMatrix
    """(rows, cells)."""
    cells: CellIndices
    """(rows,) the likeliest cell."""
    points: Positions | None
    """(rows, 2) metres; None without positions."""

    @property
    def confidences(self) -> npt.NDArray[np.float32]:
        """(rows,) the probability of the likeliest cell."""
        picked: npt.NDArray[np.float32] = self.probabilities[np.arange(len(self.cells)), self.cells]
        return picked


def decode(probabilities: FloatMatrix, positions: Positions | None) -> Predictions:
    """The answers to a posterior.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres, or None where cells are plain labels.
    """
    return Predictions(
        probabilities=probabilities,
        cells=probabilities.argmax(axis=1),
        points=None if positions is None else geometric_median(probabilities, positions),
    )


def geometric_median(probabilities: FloatMatrix, positions: Positions) -> Positions:
    """The point of least expected distance for each row, by Weiszfeld's iteration.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres.

    Returns:
        (rows, 2) in metres. A row's bits do not depend on the rows beside it.
    """
    frame = _frame(positions.astype(np.float64).tobytes())
    points = by_panels(probabilities, lambda masses: _medians(masses, frame))
    medians: Positions = points.astype(np.float64) + frame.origin
    return medians


@dataclass(frozen=True, slots=True)
class _Frame:
    """The cells as the median's sums need them; single precision, near their own origin.

    A site's coordinates may lie hundreds of kilometres away from theirs.
    """

    origin: Positions
    local: FloatMatrix
    """(2, cells)."""
    moments: FloatMatrix
    """(3, cells): x, y, 1."""
    corners: FloatMatrix
    """(cells, 4): x, y, 1 and x² + y²."""


# By content, as arrays have no hash; making it takes longer than a step of the median of one row.
@lru_cache(maxsize=256)
def _frame(positions: bytes) -> _Frame:
    places = np.frombuffer(positions).reshape(-1, 2)
    origin = places.mean(axis=0)
    local = np.ascontiguousarray((places - origin).T, dtype=np.float32)
    moments = np.concatenate([local, np.ones((1, local.shape[1]), dtype=np.float32)])
    squares = np.square(local).sum(axis=0, keepdims=True)
    corners = np.ascontiguousarray(np.concatenate([moments, squares]).T)
    return _Frame(origin, local, moments, corners)


def _medians(masses: FloatMatrix, frame: _Frame) -> FloatMatrix:
    """(2, width) medians of (cells, width) masses."""
    moments = frame.moments
    points = times(moments, masses)[:2]
    for step in range(MEDIAN_STEPS):
        last = step == MEDIAN_STEPS - 1
        weights = (
            _distances(points, frame.local) if last else _rough_distances(points, frame.corners)
        )
        np.divide(masses, weights, out=weights)
        sums = times(moments, weights)
        # A margin's columns have no mass at all.
        steps = sums[:2] / np.maximum(sums[2], np.float32(1e-30))
        steps -= points
        steps *= OVER_RELAXATION
        points += steps
    return points


def _rough_distances(points: FloatMatrix, corners: FloatMatrix) -> FloatMatrix:
    """As :func:`_distances` in a third of the time, but some centimetres off near a cell.

    The squares are multiplied out, which loses digits: good enough on the way to the median, as
    each step starts from wherever the one before it led.

    Args:
        points: (2, width).
        corners: (cells, 4) of x, y, 1 and x² + y².
    """
    terms = np.empty((4, points.shape[1]), dtype=np.float32)
    np.multiply(points, np.float32(-2.0), out=terms[:2])
    np.square(points).sum(axis=0, out=terms[2])
    terms[2] += _SOFTENING_M * _SOFTENING_M
    terms[3] = 1.0
    square = times(corners, terms)
    np.maximum(square, _SOFTENING_M * _SOFTENING_M, out=square)
    return np.sqrt(square, out=square)


def _distances(points: FloatMatrix, local: FloatMatrix) -> FloatMatrix:
    """(cells, width) metres from each point to each cell, kept off zero."""
    square = local[0][:, np.newaxis] - points[0]
    square *= square
    across = local[1][:, np.newaxis] - points[1]
    across *= across
    square += across
    square += _SOFTENING_M * _SOFTENING_M
    distances: FloatMatrix = np.sqrt(square, out=square)
    return distances


def least_expected_distance(probabilities: FloatMatrix, positions: Positions) -> CellIndices:
    """The cell that minimizes the expected distance to the true one.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres.

    Returns:
        (rows,) indices of cells.
    """
    between = np.linalg.norm(positions[:, np.newaxis] - positions, axis=2).astype(np.float32)
    expected = by_panels(probabilities, lambda masses: times(between, masses))
    cells: CellIndices = expected.argmin(axis=1)
    return cells


def most_mass_within(
    probabilities: FloatMatrix, positions: Positions, reach_m: float
) -> CellIndices:
    """The cell that has the most probability around it: the best answer to "within one cell".

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres.
        reach_m: how far around a cell counts.

    Returns:
        (rows,) indices of cells.
    """
    between = np.linalg.norm(positions[:, np.newaxis] - positions, axis=2)
    mass = probabilities @ (between <= reach_m).astype(np.float32)
    cells: CellIndices = mass.argmax(axis=1)
    return cells


def expected_errors(
    probabilities: FloatMatrix, points: Positions, positions: Positions
) -> npt.NDArray[np.float64]:
    """(rows,) metres: how far from its point the model itself expects the truth to be.

    Element by element and one sum a row, so a row's bits do not depend on the rows beside it.
    """
    across = points[:, :1] - positions[:, 0]
    along = points[:, 1:] - positions[:, 1]
    distances = np.sqrt(across * across + along * along)
    distances *= probabilities
    expected: npt.NDArray[np.float64] = distances.sum(axis=1)
    return expected
