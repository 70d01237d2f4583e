"""Measures a recipe rather than a model: on any split of the rows or on folds, over several seeds.

A split that names dropped or unlabelled rows, or puts one row on both sides, is refused. A split
whose sides share copies is measured as it is, so that figures from elsewhere can be compared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.training.errors import BadSplit
from trainer.training.evaluation.baselines import Baseline, baselines
from trainer.training.evaluation.evaluate import Evaluation, summarize
from trainer.training.evaluation.hold_out import Rows, folds
from trainer.training.evaluation.hold_out_evaluation import measure_hold_out
from trainer.training.evaluation.scores import (
    concatenate_scores,
)
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import TrainingSet, check_enough, combine, join_masked


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """A named division of the rows: one part for a split, several for folds."""

    name: str
    parts: tuple[tuple[Rows, Rows], ...]
    """(trained, test) indices into a training set, for each part."""


@dataclass(frozen=True, slots=True)
class RecipeMeasurement:
    """The figures of a recipe on one division."""

    division: str
    evaluations: tuple[Evaluation, ...]
    """One for each seed, over the rows of all parts."""
    baselines: tuple[Baseline, ...]
    """On the first part's rows."""

    @property
    def mean(self) -> Evaluation:
        """Each figure's mean over the seeds."""
        return Evaluation(
            rows=self.evaluations[0].rows,
            exact_accuracy=float(np.mean([found.exact_accuracy for found in self.evaluations])),
            within_one_cell=_mean([found.within_one_cell for found in self.evaluations]),
            mean_error_m=_mean([found.mean_error_m for found in self.evaluations]),
            median_error_m=_mean([found.median_error_m for found in self.evaluations]),
            p90_error_m=_mean([found.p90_error_m for found in self.evaluations]),
            floor_accuracy=_mean([found.floor_accuracy for found in self.evaluations]),
            building_accuracy=_mean([found.building_accuracy for found in self.evaluations]),
            baselines=self.baselines,
        )

    @property
    def worst_exact(self) -> float:
        """The exact accuracy of the worst seed."""
        return min(found.exact_accuracy for found in self.evaluations)


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return float(np.mean(known)) if known else None


def measure_recipe(
    data: TrainingSet,
    division: Division,
    site: SiteDescription,
    settings: Hyperparameters,
    seeds: Sequence[int],
) -> RecipeMeasurement:
    """Measure a recipe on a division, once for each seed."""
    evaluations = []
    for seed in seeds:
        seeded = settings.model_copy(update={"seed": seed})
        scores = [measure_hold_out(data, *part, site, seeded).scores for part in division.parts]
        evaluations.append(summarize(concatenate_scores(scores)))
    trained, test = division.parts[0]
    return RecipeMeasurement(division.name, tuple(evaluations), baselines(data, trained, test))


def grouped_folds(data: TrainingSet, count: int, seed: int) -> tuple[Rows, ...]:
    """The test rows of each fold; copies and visits stay in one fold.

    Raises:
        BadSplit: there are too few visits for so many folds.
    """
    tests = tuple(folds(data, count, seed, find_near_duplicates(data).pairs))
    if not all(len(test) for test in tests):
        raise BadSplit(f"There are too few visits for {count} folds: ask for fewer.")
    return tests


def measure_folds(
    path: Path, count: int, site: SiteDescription, settings: Hyperparameters, seeds: Sequence[int]
) -> RecipeMeasurement:
    """Measure a recipe on folds that keep copies and visits whole.

    Raises:
        BadSurvey: the file can't be used.
        BadSplit: there are too few visits for so many folds.
    """
    data = combine([read_survey(path, site)], site)
    tests = grouped_folds(data, count, settings.seed)
    every = np.arange(len(data))
    parts = tuple((np.setdiff1d(every, test), test) for test in tests)
    return measure_recipe(data, Division(f"{count} folds", parts), site, settings, seeds)


def measure_splits(
    path: Path, splits: Path, site: SiteDescription, settings: Hyperparameters, seeds: Sequence[int]
) -> list[RecipeMeasurement]:
    """Measure a recipe on every division that a file names.

    Args:
        path: one survey.
        splits: JSON; each entry that is an object with ``train`` and ``test``, or a list of folds'
            test rows, holds row numbers of the survey from 0, in file order.
        site: where it was taken.
        settings: the recipe's.
        seeds: the recipe is measured once with each.

    Raises:
        BadSurvey: the survey can't be used.
        BadSplit: the file is no such JSON, or names rows that the survey lacks.
    """
    [survey] = mask_sentinel([read_survey(path, site)], site)
    data = join_masked([survey], site)
    check_enough(data)
    return [
        measure_recipe(data, division, site, settings, seeds)
        for division in _divisions(survey, splits)
    ]


def _divisions(survey: Survey, path: Path) -> list[Division]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = dict(document).items()
    except (ValueError, TypeError) as error:
        raise BadSplit(f"{path} is no JSON object of splits: {error}.") from error
    places = {int(line) - 2: place for place, line in enumerate(survey.lines)}
    every = np.arange(len(survey.labels))
    found = []
    for name, entry in entries:
        if isinstance(entry, dict):
            part = (_rows(entry.get("train"), places, name), _rows(entry.get("test"), places, name))
            if set(part[0].tolist()) & set(part[1].tolist()):
                raise BadSplit(f"The split {name!r} has rows that are in train and in test.")
            found.append(Division(name, (part,)))
        elif isinstance(entry, list):
            tests = [_rows(rows, places, name) for rows in entry]
            found.append(Division(name, tuple((np.setdiff1d(every, test), test) for test in tests)))
    if not found:
        raise BadSplit(f"{path} names no split: give an object with train and test, or folds.")
    return found


def _rows(listed: object, places: dict[int, int], name: str) -> Rows:
    if not isinstance(listed, list) or not listed:
        raise BadSplit(f"The split {name!r} has a side without rows.")
    unknown = [row for row in listed if not isinstance(row, int) or row not in places]
    if unknown:
        raise BadSplit(
            f"The split {name!r} names row {unknown[0]!r}, and the survey has no labelled row of "
            "that number (they count from 0, below the header)."
        )
    return np.array(sorted(places[row] for row in listed), dtype=np.intp)
