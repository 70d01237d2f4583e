"""From a posterior over cells to answers: a cell, a point and how sure the model is of the cell.

Each figure of merit has its own best answer: the likeliest cell for "exactly right", the cell of
least expected distance for "within one cell", the geometric median for the error in metres.
What may go wrong: cells without positions; then only the first of the three exists.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix

Positions = npt.NDArray[np.float64]
CellIndices = npt.NDArray[np.intp]

MEDIAN_STEPS = 4
OVER_RELAXATION = np.float32(1.5)
"""Weiszfeld's steps, each half as long again. On the UCI set the expected distance is then 0.008 m
above its least on average, and 0.28 m at most; 6 steps: 0.003 and 0.18; the mean alone: 0.29 and
3.5; 500 plain steps find the least. Newton's steps run away from it between two far clusters.

The nearer the point, the less the mean error and the greater the ninth decile, both by hardly
anything: ADR 0010."""

SOFTENING_M = np.float32(0.1)
"""Keeps distances off zero."""

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 5.0
"""What a confidence's temperature may be. Up to it a probability that single precision can't tell
from nothing, 1e-45, would be 1e-9, so that probabilities alone are enough to apply it."""

_PART_ROWS = 1024
"""So that what the median works with stays in the cache."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it leaves the container; x and y in metres, None without positions.

    ``confidence`` is how often ``location`` is the very cell where the model is as sure as here
    (:func:`tempered`); ``radius_m`` is how far from (x, y) the truth is at most in most cases (the
    bundle says in how many), None if that was not measured.
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
    """(rows, cells) as the network says."""
    cells: CellIndices
    """(rows,) the likeliest cell."""
    points: Positions | None
    """(rows, 2) metres; None without positions."""
    confidences: npt.NDArray[np.float32]
    """(rows,) how sure the likeliest cell is said to be."""


def decode(
    probabilities: FloatMatrix, positions: Positions | None, temperature: float | None = None
) -> Predictions:
    """The answers to a posterior.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres, or None where cells are plain labels.
        temperature: of the confidence; None for the probability as it is.
    """
    told = probabilities if temperature is None else tempered(probabilities, temperature)
    confidences: npt.NDArray[np.float32] = told.max(axis=1)
    return Predictions(
        probabilities=probabilities,
        cells=probabilities.argmax(axis=1),
        points=None if positions is None else geometric_median(probabilities, positions),
        confidences=confidences,
    )


def tempered(probabilities: FloatMatrix, temperature: float) -> FloatMatrix:
    """The same posterior made more or less sure: p^(1/T), normalized (Guo et al., 2017).

    The order of the cells stays, and with it the likeliest.

    Args:
        probabilities: (rows, cells).
        temperature: from 0.1 to 5; above 1 for less sure.
    """
    told: FloatMatrix = probabilities / probabilities.max(axis=1, keepdims=True)
    np.power(told, np.float32(1.0 / temperature), out=told)
    told /= told.sum(axis=1, keepdims=True)
    return told


def geometric_median(probabilities: FloatMatrix, positions: Positions) -> Positions:
    """The point of least expected distance for each row, by Weiszfeld's iteration.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres.

    Returns:
        (rows, 2) in metres.
    """
    # In single precision near their own origin, as a site's may lie hundreds of kilometres away.
    origin = positions.mean(axis=0)
    local = (positions - origin).astype(np.float32)
    starts = range(0, max(len(probabilities), 1), _PART_ROWS)
    parts = [_medians(probabilities[at : at + _PART_ROWS], local) for at in starts]
    medians: Positions = np.concatenate(parts).astype(np.float64) + origin
    return medians


def _medians(masses: FloatMatrix, local: FloatMatrix) -> FloatMatrix:
    """(rows, 2) medians of (rows, cells) masses at (cells, 2) places."""
    points: FloatMatrix = masses @ local
    for _ in range(MEDIAN_STEPS):
        weights = masses / _distances(points, local)
        steps = weights @ local
        steps /= weights.sum(axis=1, keepdims=True)
        steps -= points
        steps *= OVER_RELAXATION
        points += steps
    return points


def _distances(points: FloatMatrix, local: FloatMatrix) -> FloatMatrix:
    """(rows, cells) metres from each point to each cell, kept off zero."""
    square = points[:, :1] - local[:, 0]
    square *= square
    across = points[:, 1:] - local[:, 1]
    across *= across
    square += across
    square += SOFTENING_M * SOFTENING_M
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
    cells: CellIndices = (probabilities @ between).argmin(axis=1)
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
    """(rows,) metres: how far from its point the model itself expects the truth to be."""
    across = points[:, :1] - positions[:, 0]
    along = points[:, 1:] - positions[:, 1]
    distances = np.sqrt(across * across + along * along)
    distances *= probabilities
    expected: npt.NDArray[np.float64] = distances.sum(axis=1)
    return expected
