"""How well answers are: the figures of merit, overall and for each cell.

What may go wrong: figures that flatter. They are measured on the rows of
:mod:`trainer.training.evaluation.hold_out` or on a file that the caller names; a row whose
label the model does not know counts as wrong, not as missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from events.metrics import AgainstChampion, Metrics
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.decoding import (
    CellIndices,
    Positions,
    Predictions,
    most_mass_within,
)
from trainer.localization.readings import FloatMatrix
from trainer.training.evaluation.baselines import Baseline
from trainer.training.evaluation.hold_out import Rows
from trainer.training.evaluation.reliability import Bootstrap, Calibration, Interval, calibration
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine_any

_DIAGONAL = 2**0.5
"""Within one cell means the cell itself or one of the eight around it."""
_SLACK = 1.001
_PART_ROWS = 4096
"""What a model says of each cell is kept of so many rows at a time, and of each row its answer."""
MOST_CONFUSIONS = 15

Errors = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CellError:
    """One cell of the floor map; lengths in metres."""

    label: str
    x: float | None
    y: float | None
    rows: int
    """How many of its rows were asked."""
    exact: float | None
    """Share of them answered with this very cell; None if none was asked."""
    mean_error_m: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often one location is answered where another is right."""

    truth: str
    answered: str
    rows: int
    share: float
    """Of the truth's rows."""
    apart_m: float | None


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """Answers beside the truth."""

    exact: npt.NDArray[np.bool_]
    """(rows,)"""
    near: npt.NDArray[np.bool_] | None
    """(rows,) within one cell; None without positions."""
    errors_m: Errors | None
    """(rows,) metres; NaN where the truth has no position, None without positions."""
    confidences: npt.NDArray[np.float32]
    """(rows,) the probability of the cell that was answered."""
    answered: CellIndices
    """(rows,) the likeliest cell."""

    def only(self, rows: Rows) -> "RowScores":
        """The same of some of the rows."""
        return RowScores(
            exact=self.exact[rows],
            near=None if self.near is None else self.near[rows],
            errors_m=None if self.errors_m is None else self.errors_m[rows],
            confidences=self.confidences[rows],
            answered=self.answered[rows],
        )


@dataclass(frozen=True, slots=True)
class Intervals:
    """Where each figure lies with 95 % confidence; visits are resampled."""

    exact_accuracy: Interval
    within_one_cell: Interval | None
    mean_error_m: Interval | None
    median_error_m: Interval | None
    p90_error_m: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A packaged model on surveys; shares in 0 to 1, errors in metres, None without positions."""

    rows: int
    exact_accuracy: float
    within_one_cell: float | None
    mean_error_m: float | None
    median_error_m: float | None
    p90_error_m: float | None
    intervals: Intervals | None = None
    calibration: Calibration | None = None
    baselines: tuple[Baseline, ...] = ()


def score_predictions(
    predictions: Predictions,
    answerable: Positions | None,
    truth: CellIndices,
    places: Positions | None,
    cell_size_m: float,
) -> RowScores:
    """Compare predictions with the truth.

    Args:
        predictions: for (rows,) fingerprints.
        answerable: (model's cells, 2) in metres.
        truth: (rows,) the model's index of each row's cell, -1 for one it does not know.
        places: (rows, 2) in metres where each row was taken; NaN where nobody said.
        cell_size_m: of the grid.
    """
    exact = predictions.cells == truth
    if answerable is None or places is None or predictions.points is None:
        return RowScores(exact, None, None, predictions.confidences, predictions.cells)
    reach = cell_size_m * _DIAGONAL * _SLACK
    decided = answerable[most_mass_within(predictions.probabilities, answerable, reach)]
    return RowScores(
        exact=exact,
        # A row without a position can't be near: NaN compares as false.
        near=np.linalg.norm(decided - places, axis=1) <= reach,
        errors_m=np.linalg.norm(predictions.points - places, axis=1),
        confidences=predictions.confidences,
        answered=predictions.cells,
    )


def parts_of(rows: int) -> Iterator[slice]:
    """Blocks to ask a model about, one after the other; of no rows an empty one."""
    for start in range(0, max(rows, 1), _PART_ROWS):
        yield slice(start, min(start + _PART_ROWS, rows))


def concatenate_scores(judged: Sequence[RowScores]) -> RowScores:
    """The judgements of several parts, in their order, as one."""
    near = [part.near for part in judged if part.near is not None]
    errors = [part.errors_m for part in judged if part.errors_m is not None]
    return RowScores(
        exact=np.concatenate([part.exact for part in judged]),
        near=np.concatenate(near) if near else None,
        errors_m=np.concatenate(errors) if errors else None,
        confidences=np.concatenate([part.confidences for part in judged]),
        answered=np.concatenate([part.answered for part in judged]),
    )


def summarize(scores: RowScores) -> Evaluation:
    """The figures of merit of all rows."""
    errors = scores.errors_m
    known = None if errors is None else errors[~np.isnan(errors)]
    measured = known if known is not None and len(known) else None
    near = scores.near
    return Evaluation(
        rows=len(scores.exact),
        exact_accuracy=float(scores.exact.mean()),
        within_one_cell=None if near is None or measured is None else float(near.mean()),
        mean_error_m=None if measured is None else float(measured.mean()),
        median_error_m=None if measured is None else float(np.median(measured)),
        p90_error_m=None if measured is None else float(np.quantile(measured, 0.9)),
    )


def with_intervals(evaluation: Evaluation, scores: RowScores, visits: Rows) -> Evaluation:
    """The same evaluation with how far it can be trusted.

    Args:
        evaluation: of the scores.
        scores: answers beside the truth.
        visits: (rows,) which rows were taken together.
    """
    bootstrap = Bootstrap(visits)
    errors, near = scores.errors_m, scores.near
    placed = errors is not None and not np.isnan(errors).all()
    return replace(
        evaluation,
        intervals=Intervals(
            exact_accuracy=bootstrap.mean(scores.exact.astype(float)),
            within_one_cell=bootstrap.mean(near.astype(float)) if near is not None else None,
            mean_error_m=bootstrap.mean(errors) if errors is not None and placed else None,
            median_error_m=bootstrap.quantile(errors, 0.5)
            if errors is not None and placed
            else None,
            p90_error_m=bootstrap.quantile(errors, 0.9) if errors is not None and placed else None,
        ),
        calibration=calibration(scores.confidences, scores.exact),
    )


def release_metrics(
    evaluation: Evaluation,
    rows: int,
    trained_rows: int,
    against_champion: AgainstChampion | None = None,
) -> Metrics:
    """The figures of an evaluation, as the release carries them."""
    return Metrics(
        rows=rows,
        trained_rows=trained_rows,
        held_out_rows=evaluation.rows,
        exact_accuracy=evaluation.exact_accuracy,
        within_one_cell=evaluation.within_one_cell,
        mean_error_m=evaluation.mean_error_m,
        median_error_m=evaluation.median_error_m,
        p90_error_m=evaluation.p90_error_m,
        against_champion=against_champion,
    )


def cell_errors(data: TrainingSet, cells: CellIndices, scores: RowScores) -> list[CellError]:
    """What each cell of ``data`` came to; ``cells`` are those of the judged rows."""
    found = []
    for cell, label in enumerate(data.labels):
        rows = cells == cell
        asked = int(rows.sum())
        errors = None if scores.errors_m is None else scores.errors_m[rows]
        place = None if data.positions is None else data.positions[cell]
        found.append(
            CellError(
                label=label,
                x=None if place is None else float(place[0]),
                y=None if place is None else float(place[1]),
                rows=asked,
                exact=float(scores.exact[rows].mean()) if asked else None,
                mean_error_m=None if errors is None or not asked else float(errors.mean()),
            )
        )
    return found


def confusions(data: TrainingSet, cells: CellIndices, scores: RowScores) -> list[Confusion]:
    """The most frequent wrong answers; ``cells`` are the true ones of the judged rows."""
    wrong = np.column_stack([cells, scores.answered])[~scores.exact]
    pairs, times = np.unique(wrong, axis=0, return_counts=True)
    asked = np.bincount(cells, minlength=len(data.labels))
    order = np.argsort(-times, kind="stable")[:MOST_CONFUSIONS]
    return [
        Confusion(
            truth=data.labels[truth],
            answered=data.labels[answered],
            rows=int(times[place]),
            share=float(times[place] / asked[truth]),
            apart_m=None
            if data.positions is None
            else float(np.linalg.norm(data.positions[truth] - data.positions[answered])),
        )
        for place in order.tolist()
        for truth, answered in [pairs[place].tolist()]
    ]


def evaluate_bundle(
    bundle: Path, data: Path | Sequence[Path], site: SiteDescription | None = None
) -> Evaluation:
    """Ask a packaged model the labelled rows of surveys, through the code that serves it.

    Args:
        bundle: ``model.tar.gz`` or the folder it was unpacked to.
        data: surveys.
        site: where they were taken; by default the model's own site with the usual grid.

    Raises:
        BadBundle: the model can't be opened.
        BadSurvey: a survey can't be used.
    """
    model = load_bundle(bundle)
    place = site or SiteDescription(name=model.description.site)
    paths = [data] if isinstance(data, Path) else list(data)
    rows = combine_any([read_survey(path, place) for path in paths], place)
    scores = score_model(model, rows, place)
    return with_intervals(summarize(scores), scores, rows.visits)


def score_model(model: LoadedModel, rows: TrainingSet, site: SiteDescription) -> RowScores:
    """Ask a packaged model labelled rows and compare; labels it does not know count as wrong."""
    known = {label: cell for cell, label in enumerate(model.cells)}
    truth = np.array([known.get(label, -1) for label in rows.labels], dtype=np.intp)
    places = _places(model, rows)
    return concatenate_scores(
        [
            score_predictions(
                model.predict(_in_order(rows, part, model.beacons)),
                model.positions,
                truth[rows.cells[part]],
                places[rows.cells[part]],
                site.cell_size_m,
            )
            for part in parts_of(len(rows))
        ]
    )


def _places(model: LoadedModel, rows: TrainingSet) -> Positions:
    """(labels, 2) where the rows' labels lie: as the surveys say, else as the model knows."""
    places = np.full((len(rows.labels), 2), np.nan)
    if model.positions is not None:
        known = dict(zip(model.cells, model.positions, strict=True))
        for place, label in enumerate(rows.labels):
            places[place] = known.get(label, places[place])
    return places if rows.positions is None else rows.positions


def _in_order(rows: TrainingSet, part: slice, beacons: Sequence[str]) -> FloatMatrix:
    """The readings of a part in a model's columns; beacons it does not know are left out."""
    readings = rows.rssi[part]
    columns = dict(zip(rows.beacons, readings.T, strict=True))
    unheard = np.full(len(readings), np.nan, dtype=np.float32)
    return np.column_stack([columns.get(beacon, unheard) for beacon in beacons])
