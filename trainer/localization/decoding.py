"""From a posterior over cells to answers: a cell, a point and a confidence.

Each figure of merit has its own best answer: the likeliest cell for "exactly right", the cell with
the most probability around it for "within one cell", the geometric median for the error in metres.
Without positions only the first of the three exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import FloatMatrix

Positions = npt.NDArray[np.float64]
CellIndices = npt.NDArray[np.intp]

MEDIAN_STEPS = 4
OVER_RELAXATION = np.float32(1.5)
"""Weiszfeld's steps, each 1.5 times as long. On the UCI set the expected distance is then 0.008 m
above its minimum on average, and 0.28 m at most; 6 steps: 0.003 and 0.18; the mean alone: 0.29 and
3.5; 500 plain steps find the minimum. Newton's steps diverge between two distant clusters.

More steps hardly lower the mean error and hardly raise the ninth decile: ADR 0010."""

SOFTENING_M = np.float32(0.1)
"""Keeps distances off zero."""

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 5.0
"""The range of a confidence's temperature. At 5, the least positive number of single precision,
1e-45, becomes 1e-9, so a temperature can be applied to probabilities instead of logits."""

_PART_ROWS = 1024
"""Keeps the median's working memory in the cache."""
_MOST_PAIRED = 1024
"""Up to so many cells, all their distances are computed at once."""
MOST_NEAR = 256
"""Cells near a place that are looked at."""
_BLOCK_NUMBERS = 2**21
_STOREYS_APART_M = 1e5
"""Between cells of different floors, where only nearness counts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it leaves the container; x and y in metres, None without positions.

    ``confidence`` is the calibrated probability that ``location`` is the true cell
    (:func:`tempered`); within ``radius_m`` of (x, y) lies the truth in most cases (the bundle's
    ``radius.share``), None if that was not measured.
    """

    location: str
    x: float | None
    y: float | None
    confidence: float
    radius_m: float | None = None
    floor: str | None = None
    """Of the location; None where no survey names floors."""
    building: str | None = None


@dataclass(frozen=True, slots=True)
class Predictions:
    """The model's predictions for each row."""

    probabilities: FloatMatrix
    """(rows, cells) as the network computes them."""
    cells: CellIndices
    """(rows,) the likeliest cell."""
    points: Positions | None
    """(rows, 2) metres; None without positions."""
    confidences: npt.NDArray[np.float32]
    """(rows,) of the likeliest cell, calibrated."""


def decode(
    probabilities: FloatMatrix, positions: Positions | None, temperature: float | None = None
) -> Predictions:
    """The predictions from a posterior.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres, or None where cells are plain labels.
        temperature: of the confidence; None for the probability as it is.
    """
    calibrated = probabilities if temperature is None else tempered(probabilities, temperature)
    confidences: npt.NDArray[np.float32] = calibrated.max(axis=1)
    return Predictions(
        probabilities=probabilities,
        cells=probabilities.argmax(axis=1),
        points=None if positions is None else geometric_median(probabilities, positions),
        confidences=confidences,
    )


def tempered(probabilities: FloatMatrix, temperature: float) -> FloatMatrix:
    """Temperature scaling: p^(1/T), normalized (Guo et al., 2017).

    It keeps the order of the cells, and so the likeliest.

    Args:
        probabilities: (rows, cells).
        temperature: from 0.1 to 5; above 1 for lower confidence.
    """
    calibrated: FloatMatrix = probabilities / probabilities.max(axis=1, keepdims=True)
    np.power(calibrated, np.float32(1.0 / temperature), out=calibrated)
    calibrated /= calibrated.sum(axis=1, keepdims=True)
    return calibrated


def geometric_median(probabilities: FloatMatrix, positions: Positions) -> Positions:
    """The point of least expected distance for each row, by Weiszfeld's iteration.

    Args:
        probabilities: (rows, cells).
        positions: (cells, 2) in metres.

    Returns:
        (rows, 2) in metres.
    """
    # In single precision relative to their mean, as a site's origin may be hundreds of km away.
    origin = positions.mean(axis=0)
    local = (positions - origin).astype(np.float32)
    starts = range(0, max(len(probabilities), 1), _PART_ROWS)
    parts = [_medians(probabilities[at : at + _PART_ROWS], local) for at in starts]
    medians: Positions = np.concatenate(parts).astype(np.float64) + origin
    return medians


def _medians(masses: FloatMatrix, local: FloatMatrix) -> FloatMatrix:
    """(rows, 2) medians of (rows, cells) masses at (cells, 2) positions."""
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


def most_mass_within(probabilities: FloatMatrix, spots: Positions, reach_m: float) -> CellIndices:
    """The cell that has the most probability around it: the best answer to "within one cell".

    Args:
        probabilities: (rows, cells).
        spots: (cells, 2) positions in metres, or 3 with floors (:func:`spots_of`).
        reach_m: the radius around a cell that counts.

    Returns:
        (rows,) indices of cells.
    """
    if len(spots) <= _MOST_PAIRED:
        between = np.linalg.norm(spots[:, np.newaxis] - spots, axis=2)
        mass = probabilities @ (between <= reach_m).astype(np.float32)
    else:
        near, _ = near_spots(spots, spots, reach_m)
        padded = np.pad(probabilities, ((0, 0), (0, 1)))
        mass = padded[:, near[:, 0]]
        for column in near.T[1:]:
            mass += padded[:, column]
    cells: CellIndices = mass.argmax(axis=1)
    return cells


def spots_of(
    positions: Positions | None, storeys: Sequence[tuple[str, str]] | None
) -> Positions | None:
    """Positions such that cells of different floors are out of each other's reach.

    Args:
        positions: (cells, 2) in metres.
        storeys: the building and floor of each cell; None if they have none.

    Returns:
        The positions, or with floors (cells, 3).
    """
    if positions is None or storeys is None:
        return positions
    numbers = {storey: number for number, storey in enumerate(sorted(set(storeys)))}
    heights = np.array([numbers[storey] for storey in storeys]) * _STOREYS_APART_M
    return np.column_stack([positions, heights])


def near_spots(
    places: Positions, spots: Positions, reach_m: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """The cells within reach of each place, at least the nearest and at most :data:`MOST_NEAR`.

    Args:
        places: (places, dimensions) in metres.
        spots: (cells, dimensions) in metres.
        reach_m: the largest distance.

    Returns:
        (places, width) indices of cells in ascending order, the number of cells where there are
        fewer, and the squared distances, infinite there. The memory grows with places plus cells.
    """
    width, found = 1, []
    step = max(1, _BLOCK_NUMBERS // len(spots))
    for start in range(0, len(places), step):
        squares = np.zeros((min(step, len(places) - start), len(spots)))
        for axis in range(spots.shape[1]):
            squares += np.square(places[start : start + step, axis, np.newaxis] - spots[:, axis])
        bound = np.maximum(squares.min(axis=1, keepdims=True), reach_m**2)
        most = min(int((squares <= bound).sum(axis=1).max(initial=1)), MOST_NEAR)
        cells = np.argpartition(squares, most - 1, axis=1)[:, :most]
        kept = np.take_along_axis(squares, cells, axis=1)
        cells[kept > bound] = len(spots)
        kept[kept > bound] = np.inf
        order = np.argsort(cells, axis=1, kind="stable")
        found.append(
            (
                np.take_along_axis(cells, order, axis=1).astype(np.int32),
                np.take_along_axis(kept, order, axis=1),
            )
        )
        width = max(width, most)
    near = np.full((len(places), width), len(spots), dtype=np.int32)
    distances = np.full((len(places), width), np.inf)
    for part, (cells, kept) in enumerate(found):
        near[part * step : part * step + len(cells), : cells.shape[1]] = cells
        distances[part * step : part * step + len(cells), : cells.shape[1]] = kept
    return near, distances


def expected_errors(
    probabilities: FloatMatrix, points: Positions, positions: Positions
) -> npt.NDArray[np.float64]:
    """(rows,) metres: the expected distance from each point to the truth, by the posterior."""
    across = points[:, :1] - positions[:, 0]
    along = points[:, 1:] - positions[:, 1]
    distances = np.sqrt(across * across + along * along)
    distances *= probabilities
    expected: npt.NDArray[np.float64] = distances.sum(axis=1)
    return expected
