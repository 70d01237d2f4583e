"""Scores the answers to rows one by one: against the truth, for any model or network.

A row whose label the model does not know counts as wrong, not as missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.decoding import (
    CellIndices,
    Positions,
    Predictions,
    most_mass_within,
    near_spots,
    spots_of,
)
from trainer.localization.readings import FloatMatrix
from trainer.training.evaluation.hold_out import Rows
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet

_DIAGONAL = 2**0.5
"""Within one cell: the cell itself or one of the eight around it."""
_SLACK = 1.001
_PART_ROWS, _PART_NUMBERS = 4096, 2**22
"""Posteriors over all cells are held for so many rows, or so many numbers, at a time."""
FLOOR_PENALTY_M, BUILDING_PENALTY_M = 4.0, 50.0
"""Added to the error of an answer on a wrong floor of the right building, or in a wrong building,
as in the competitions on UJIIndoorLoc (Torres-Sospedra et al., 2017)."""
Errors = npt.NDArray[np.float64]
Storeys = Sequence[tuple[str, str]]
"""The building and floor of cells or rows, blank where not known."""


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """What the answer to each row came to."""

    exact: npt.NDArray[np.bool_]
    """(rows,) whether the answered cell is the true one."""
    near: npt.NDArray[np.bool_] | None
    """(rows,) within one cell; None without positions."""
    errors_m: Errors | None
    """(rows,) metres; NaN where the true position is unknown, None without positions."""
    confidences: npt.NDArray[np.float32]
    """(rows,) the probability of the cell that was answered."""
    answered: CellIndices
    """(rows,) the likeliest cell."""
    floors: Errors | None = None
    """(rows,) 1 where floor and building are right, 0 where not, NaN where the true one is not
    known; None without floors."""
    buildings: Errors | None = None
    """(rows,) the same for the building alone."""

    def take(self, rows: Rows) -> "RowScores":
        """The scores of some of the rows."""
        return RowScores(
            exact=self.exact[rows],
            near=None if self.near is None else self.near[rows],
            errors_m=None if self.errors_m is None else self.errors_m[rows],
            confidences=self.confidences[rows],
            answered=self.answered[rows],
            floors=None if self.floors is None else self.floors[rows],
            buildings=None if self.buildings is None else self.buildings[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class StoreyHits:
    """Whether answered cells lie on the floor, and in the building, of the true places."""

    answerable: Storeys
    """Of the model's cells."""
    true: Storeys
    """Of the places."""

    def floors(self, cells: CellIndices, places: CellIndices) -> Errors:
        """(rows,) whether the cells lie where the places do, NaN where that is not known."""
        return self._hits(cells, places, 2)

    def buildings(self, cells: CellIndices, places: CellIndices) -> Errors:
        """The same for the building alone."""
        return self._hits(cells, places, 1)

    def _hits(self, cells: CellIndices, places: CellIndices, parts: int) -> Errors:
        known = {storey[:parts] for storey in (*self.answerable, *self.true)}
        numbers = {storey: number for number, storey in enumerate(sorted(known))}
        answered, true = (
            np.array([numbers[storey[:parts]] for storey in storeys])
            for storeys in (self.answerable, self.true)
        )
        unknown = np.array([not storey[parts - 1] for storey in self.true])
        hits = (answered[cells] == true[places]).astype(np.float64)
        return np.where(unknown[places], np.nan, hits)


def score_predictions(
    predictions: Predictions,
    answerable: Positions | None,
    truth: CellIndices,
    places: Positions | None,
    cell_size_m: float,
) -> RowScores:
    """Compare predictions with the truth, regardless of floors.

    Args:
        predictions: for (rows,) fingerprints.
        answerable: (model's cells, 2 or 3) in metres; see ``decoding.spots_of``.
        truth: (rows,) the model's index of each row's cell, -1 for an unknown cell.
        places: (rows, 2) in metres where each row was taken; NaN where that is unknown.
        cell_size_m: of the grid.
    """
    exact = predictions.cells == truth
    if answerable is None or places is None or predictions.points is None:
        return RowScores(exact, None, None, predictions.confidences, predictions.cells)
    reach = cell_size_m * _DIAGONAL * _SLACK
    decided = answerable[most_mass_within(predictions.probabilities, answerable, reach), :2]
    return RowScores(
        exact=exact,
        # A row without a position can't be near: NaN compares as false.
        near=np.linalg.norm(decided - places, axis=1) <= reach,
        errors_m=np.linalg.norm(predictions.points - places, axis=1),
        confidences=predictions.confidences,
        answered=predictions.cells,
    )


def with_floors(scores: RowScores, hits: StoreyHits | None, places: CellIndices) -> RowScores:
    """Scores that count a wrong floor: never near, and so many metres farther.

    Args:
        scores: regardless of floors.
        hits: None without floors.
        places: (rows,) the index of each row's true place.
    """
    if hits is None:
        return scores
    floors = hits.floors(scores.answered, places)
    buildings = hits.buildings(scores.answered, places)
    if np.isnan(floors).all():
        # Only buildings are named.
        floors = buildings
    penalty = np.where(buildings == 0.0, BUILDING_PENALTY_M, FLOOR_PENALTY_M * (floors == 0.0))
    return replace(
        scores,
        near=None if scores.near is None else scores.near & (penalty == 0.0),
        errors_m=None if scores.errors_m is None else scores.errors_m + penalty,
        floors=floors,
        buildings=None if np.isnan(buildings).all() else buildings,
    )


def blocks_of(rows: int, cells: int) -> Iterator[slice]:
    """Blocks of rows to score one after the other; a single empty one if there are no rows."""
    step = min(_PART_ROWS, max(1, _PART_NUMBERS // cells))
    for start in range(0, max(rows, 1), step):
        yield slice(start, min(start + step, rows))


def concatenate_scores(parts: Sequence[RowScores]) -> RowScores:
    """The scores of several blocks, in their order, as one."""
    near = [part.near for part in parts if part.near is not None]
    errors = [part.errors_m for part in parts if part.errors_m is not None]
    floors = [part.floors for part in parts if part.floors is not None]
    buildings = [part.buildings for part in parts if part.buildings is not None]
    return RowScores(
        exact=np.concatenate([part.exact for part in parts]),
        near=np.concatenate(near) if near else None,
        errors_m=np.concatenate(errors) if errors else None,
        confidences=np.concatenate([part.confidences for part in parts]),
        answered=np.concatenate([part.answered for part in parts]),
        floors=np.concatenate(floors) if floors else None,
        buildings=np.concatenate(buildings) if buildings else None,
    )


def score_model(model: LoadedModel, rows: TrainingSet, site: SiteDescription) -> RowScores:
    """Score a packaged model on labelled rows; unknown labels count as wrong."""
    truth, places = _true_cells(model, rows), _places(model, rows)
    spots = spots_of(model.positions, model.description.storeys)
    scores = concatenate_scores(
        [
            score_predictions(
                model.predict(_in_order(rows, part, model.beacons)),
                spots,
                truth[part],
                places[part],
                rows.cell_size_m(site),
            )
            for part in blocks_of(len(rows), len(model.cells))
        ]
    )
    storeys = model.description.storeys
    if storeys is None or rows.storeys is None:
        return scores
    return with_floors(scores, StoreyHits(storeys, rows.storeys), rows.cells)


def _true_cells(model: LoadedModel, rows: TrainingSet) -> CellIndices:
    """(rows,) the model's cell of each row, -1 for an unknown label."""
    if rows.points is not None and model.positions is not None:
        # Another set of scattered points makes other cells: the nearest of the model counts.
        return near_spots(rows.points, model.positions, 0.0)[0][:, 0].astype(np.intp)
    known = {label: cell for cell, label in enumerate(model.cells)}
    truth = np.array([known.get(label, -1) for label in rows.labels], dtype=np.intp)
    return truth[rows.cells]


def _places(model: LoadedModel, rows: TrainingSet) -> Positions:
    """(rows, 2) the position of each row, from the surveys or else from the model."""
    known_places = rows.places_of(slice(None))
    if known_places is not None:
        return known_places
    places = np.full((len(rows.labels), 2), np.nan)
    if model.positions is not None:
        known = dict(zip(model.cells, model.positions, strict=True))
        for place, label in enumerate(rows.labels):
            places[place] = known.get(label, places[place])
    return places[rows.cells]


def _in_order(rows: TrainingSet, part: slice, beacons: Sequence[str]) -> FloatMatrix:
    """The readings of a block in a model's columns, without beacons it does not know."""
    readings = rows.rssi[part]
    columns = dict(zip(rows.beacons, readings.T, strict=True))
    unheard = np.full(len(readings), np.nan, dtype=np.float32)
    return np.column_stack([columns.get(beacon, unheard) for beacon in beacons])
