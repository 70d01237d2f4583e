"""Evaluates scored rows: figures of merit with intervals, by cell, and the usual confusions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from events.metrics import AgainstChampion, Metrics
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.decoding import (
    CellIndices,
)
from trainer.training.evaluation.baselines import Baseline
from trainer.training.evaluation.hold_out import Rows
from trainer.training.evaluation.reliability import Bootstrap, Calibration, Interval, calibration
from trainer.training.evaluation.scores import Errors, RowScores, score_model
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine_any

MAX_CONFUSIONS = 15


@dataclass(frozen=True, slots=True)
class CellError:
    """One cell of the floor map; lengths in metres."""

    label: str
    x: float | None
    y: float | None
    rows: int
    """How many rows of it were answered."""
    exact: float | None
    """Share of them answered with this cell; None without rows."""
    mean_error_m: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often one location is answered in place of another."""

    truth: str
    answered: str
    rows: int
    share: float
    """A share of the true location's rows."""
    apart_m: float | None


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % confidence intervals; visits are resampled."""

    exact_accuracy: Interval
    within_one_cell: Interval | None
    mean_error_m: Interval | None
    median_error_m: Interval | None
    p90_error_m: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of merit; shares in 0 to 1, errors in metres, None without positions."""

    rows: int
    exact_accuracy: float
    within_one_cell: float | None
    mean_error_m: float | None
    median_error_m: float | None
    p90_error_m: float | None
    floor_accuracy: float | None = None
    """Share of the rows answered with the right floor and building; None without floors."""
    building_accuracy: float | None = None
    intervals: Intervals | None = None
    calibration: Calibration | None = None
    baselines: tuple[Baseline, ...] = ()


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
        floor_accuracy=_share(scores.floors),
        building_accuracy=_share(scores.buildings),
    )


def _share(hits: Errors | None) -> float | None:
    return None if hits is None or np.isnan(hits).all() else float(np.nanmean(hits))


def with_intervals(evaluation: Evaluation, scores: RowScores, visits: Rows) -> Evaluation:
    """The same evaluation with intervals and calibration.

    Args:
        evaluation: of the scores.
        scores: of the rows.
        visits: (rows,) the visit of each row.
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
    beacons: int | None = None,
    location_coverage: float | None = None,
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
        floor_accuracy=evaluation.floor_accuracy,
        building_accuracy=evaluation.building_accuracy,
        against_champion=against_champion,
        beacons=beacons,
        location_coverage=location_coverage,
    )


def cell_errors(data: TrainingSet, cells: CellIndices, scores: RowScores) -> list[CellError]:
    """The figures of each cell of ``data``; ``cells`` are those of the scored rows."""
    found = []
    for cell, label in enumerate(data.labels):
        rows = cells == cell
        count = int(rows.sum())
        errors = None if scores.errors_m is None else scores.errors_m[rows]
        place = None if data.positions is None else data.positions[cell]
        found.append(
            CellError(
                label=label,
                x=None if place is None else float(place[0]),
                y=None if place is None else float(place[1]),
                rows=count,
                exact=float(scores.exact[rows].mean()) if count else None,
                mean_error_m=None if errors is None or not count else float(errors.mean()),
            )
        )
    return found


def confusions(data: TrainingSet, cells: CellIndices, scores: RowScores) -> list[Confusion]:
    """The most frequent wrong answers; ``cells`` are the true ones of the scored rows."""
    wrong = np.column_stack([cells, scores.answered])[~scores.exact]
    pairs, times = np.unique(wrong, axis=0, return_counts=True)
    totals = np.bincount(cells, minlength=len(data.labels))
    order = np.argsort(-times, kind="stable")[:MAX_CONFUSIONS]
    return [
        Confusion(
            truth=data.labels[truth],
            answered=data.labels[answered],
            rows=int(times[place]),
            share=float(times[place] / totals[truth]),
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
    """Evaluate a packaged model on the labelled rows of surveys, with the code that serves it.

    Args:
        bundle: ``model.tar.gz`` or the folder it was unpacked in.
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
