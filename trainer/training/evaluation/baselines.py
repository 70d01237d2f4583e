"""Simple methods that need no training: the model has to beat them.

Neighbours cost rows times rows, so large sets are sampled evenly; :attr:`Baseline.rows` and
:attr:`Baseline.known` hold the sizes of the samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices, Positions
from trainer.localization.readings import FloatMatrix
from trainer.training.reading.training_set import TrainingSet

NEIGHBOURS = 7
UNHEARD_DBM = -100.0
"""Just below the weakest reading, so that a beacon not heard is near one heard weakly."""
MAX_KNOWN = 20_000
MAX_QUERIES = 2_000

_BLOCK = 64

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A simple method's figures; lengths in metres, None without positions."""

    name: str
    rows: int
    """How many held-out rows it answered."""
    known: int
    """How many rows it knew."""
    exact_accuracy: float
    mean_error_m: float | None
    p90_error_m: float | None


def baselines(data: TrainingSet, trained: Rows, held_out: Rows) -> tuple[Baseline, ...]:
    """Nearest neighbour, weighted neighbours and the most frequent cell, on the same rows.

    Args:
        data: all rows.
        trained: indices of the known rows.
        held_out: indices of the rows to answer.
    """
    known, queries = _even(trained, MAX_KNOWN), _even(held_out, MAX_QUERIES)
    places = data.places_of(known)
    nearest = [
        _vote(distances, data.cells[known], len(data.labels), places)
        for distances in _distances(_levels(data, queries), _levels(data, known))
    ]
    found = [
        _scored(name, queries, np.concatenate(cells), points, data, len(known))
        for name, cells, points in (
            (
                "nearest neighbour",
                [part.first for part in nearest],
                _concatenate([part.first_points for part in nearest]),
            ),
            (
                f"{NEIGHBOURS} weighted neighbours",
                [part.voted for part in nearest],
                _concatenate([part.voted_points for part in nearest]),
            ),
        )
    ]
    return (*found, _majority(data, trained, queries))


@dataclass(frozen=True, slots=True, eq=False)
class _Neighbours:
    first: CellIndices
    first_points: Positions | None
    voted: CellIndices
    voted_points: Positions | None


def _even(rows: Rows, limit: int) -> Rows:
    """At most so many of the rows, evenly spread."""
    return rows[:: max(1, -(-len(rows) // limit))]


def _levels(data: TrainingSet, rows: Rows) -> FloatMatrix:
    return np.nan_to_num(data.rssi[rows], nan=UNHEARD_DBM)


def _distances(queries: FloatMatrix, known: FloatMatrix) -> Iterator[FloatMatrix]:
    """Blocks of (queries, known) squared distances in dB."""
    squares = (known * known).sum(axis=1)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        distances = (block * block).sum(axis=1)[:, np.newaxis] + squares - 2.0 * block @ known.T
        # Adding zero turns minus zero into zero.
        yield np.maximum(distances, 0.0) + np.float32(0.0)


def _vote(
    distances: FloatMatrix, cells: CellIndices, count: int, places: Positions | None
) -> _Neighbours:
    nearest = _nearest(distances)
    weights = 1.0 / (np.sqrt(np.take_along_axis(distances, nearest, axis=1)) + 1.0)
    votes = np.zeros((len(distances), count))
    np.add.at(votes, (np.arange(len(distances))[:, np.newaxis], cells[nearest]), weights)
    first = cells[nearest[:, 0]]
    if places is None:
        return _Neighbours(first, None, votes.argmax(axis=1), None)
    points = np.einsum("rn,rnd->rd", weights, places[nearest])
    points /= weights.sum(axis=1, keepdims=True)
    return _Neighbours(first, places[nearest[:, 0]], votes.argmax(axis=1), points)


def _nearest(distances: FloatMatrix) -> Rows:
    """(rows, neighbours), the nearest first, and the first of equally near ones.

    The bits of a non-negative float sort as the float does. With the index appended, all keys
    differ, and partitioning is enough.
    """
    keys = distances.view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(distances.shape[1], dtype=np.uint64)
    count = min(NEIGHBOURS, distances.shape[1])
    keys.partition(count - 1, axis=1)
    return (np.sort(keys[:, :count], axis=1) & np.uint64(0xFFFFFFFF)).astype(np.intp)


def _majority(data: TrainingSet, trained: Rows, queries: Rows) -> Baseline:
    most_frequent = int(np.bincount(data.cells[trained]).argmax())
    cells = np.full(len(queries), most_frequent, dtype=np.intp)
    points = None if data.positions is None else data.positions[cells]
    return _scored("most frequent location", queries, cells, points, data, len(trained))


def _scored(
    name: str,
    queries: Rows,
    cells: CellIndices,
    points: Positions | None,
    data: TrainingSet,
    known: int,
) -> Baseline:
    errors = None
    places = data.places_of(queries)
    if points is not None and places is not None:
        errors = np.linalg.norm(points - places, axis=1)
    return Baseline(
        name=name,
        rows=len(queries),
        known=known,
        exact_accuracy=float((cells == data.cells[queries]).mean()),
        mean_error_m=None if errors is None else float(errors.mean()),
        p90_error_m=None if errors is None else float(np.quantile(errors, 0.9)),
    )


def _concatenate(parts: list[Positions | None]) -> Positions | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
