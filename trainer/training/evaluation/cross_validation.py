"""Measures a recipe, not a model: on any split of the rows, or on folds, over several seeds.

What may go wrong: a split that names rows which were dropped or unlabelled, or that puts one row on
both sides; both are refused. A split whose sides share copies is measured as asked, as that is how
figures from elsewhere can be compared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.localization.decoding import decode, expected_errors
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network
from trainer.localization.readings import FloatMatrix
from trainer.training.errors import BadSplit
from trainer.training.evaluation.baselines import Baseline, baselines
from trainer.training.evaluation.evaluate import (
    Errors,
    Evaluation,
    RowScores,
    concatenate_scores,
    parts_of,
    score_predictions,
    summarize,
)
from trainer.training.evaluation.hold_out import Rows, folds
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.model_family import MODEL_FAMILY
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import TrainingSet, combine

_MOST_SAMPLED = 10_000
"""Shares of as many rows are known to a point either way (binomial, 95 %)."""


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """A named way to divide rows; one part for a split, several for folds."""

    name: str
    parts: tuple[tuple[Rows, Rows], ...]
    """(trained, asked) indices into a training set, for each part."""


@dataclass(frozen=True, slots=True, eq=False)
class HoldOutMeasurement:
    """How a fit answered rows that it had not seen."""

    scores: RowScores
    expected_m: Errors | None
    """(rows,) metres: the error that the model itself expected; None without positions."""
    sampled: Rows
    """Places among the rows, evenly spread; all of them if they are no more than 10,000."""
    posteriors: FloatMatrix
    """(sampled, cells) as the network says, for these rows alone, as those of all may be much."""


@dataclass(frozen=True, slots=True)
class RecipeMeasurement:
    """What a recipe does on one division."""

    division: str
    evaluations: tuple[Evaluation, ...]
    """One for each seed; over the rows of all parts."""
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
            baselines=self.baselines,
        )

    @property
    def worst_exact(self) -> float:
        """The exact accuracy of the worst seed."""
        return min(found.exact_accuracy for found in self.evaluations)


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return float(np.mean(known)) if known else None


def measure_hold_out(
    data: TrainingSet, trained: Rows, asked: Rows, site: SiteDescription, settings: Hyperparameters
) -> HoldOutMeasurement:
    """Fit on some rows and judge the answers to others."""
    return fit_and_measure(data.take(trained), data.take(asked), site, settings)


def fit_and_measure(
    known: TrainingSet, asked: TrainingSet, site: SiteDescription, settings: Hyperparameters
) -> HoldOutMeasurement:
    """:func:`measure_hold_out` with one set of rows and another of the same cells and beacons."""
    network = MODEL_FAMILY.fit(known, FeatureParameters(), settings)
    every = max(1, -(-len(asked) // _MOST_SAMPLED))
    answers = [_ask(network, asked, part, site, every) for part in parts_of(len(asked))]
    expected = [part.expected_m for part in answers if part.expected_m is not None]
    return HoldOutMeasurement(
        scores=concatenate_scores([part.scores for part in answers]),
        expected_m=np.concatenate(expected) if expected else None,
        sampled=np.concatenate([part.sampled for part in answers]),
        posteriors=np.concatenate([part.posteriors for part in answers]),
    )


def _ask(
    network: Network, asked: TrainingSet, part: slice, site: SiteDescription, every: int
) -> HoldOutMeasurement:
    """The answers to some rows; of one in ``every`` the whole posterior is kept."""
    posterior = MODEL_FAMILY.probabilities(network, asked.rssi[part], FeatureParameters())
    predictions = decode(posterior, asked.positions)
    cells, places, expected = asked.cells[part], None, None
    if asked.positions is not None and predictions.points is not None:
        places = asked.positions[cells]
        expected = expected_errors(posterior, predictions.points, asked.positions)
    scores = score_predictions(predictions, asked.positions, cells, places, site.cell_size_m)
    sampled = np.arange(part.start + -part.start % every, part.stop, every)
    return HoldOutMeasurement(scores, expected, sampled, posterior[sampled - part.start])


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
        judged = [measure_hold_out(data, *part, site, seeded).scores for part in division.parts]
        evaluations.append(summarize(concatenate_scores(judged)))
    trained, asked = division.parts[0]
    return RecipeMeasurement(division.name, tuple(evaluations), baselines(data, trained, asked))


def grouped_folds(data: TrainingSet, count: int, seed: int) -> tuple[Rows, ...]:
    """The rows that each fold asks; copies and visits stay whole.

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
        seeds: each is measured.

    Raises:
        BadSurvey: the survey can't be used.
        BadSplit: the file is no such JSON, or names rows that there are not.
    """
    [survey] = mask_sentinel([read_survey(path, site)], site)
    data = combine([survey], site)
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
