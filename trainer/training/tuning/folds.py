"""Measures settings on folds, fold by fold, so that a search may stop after any of them.

Copies and visits stay in one fold, the folds are the same for all settings, and no test split is
ever used, so that figures do not flatter.
"""

from dataclasses import dataclass

import numpy as np

from trainer.training.evaluation.cross_validation import grouped_folds
from trainer.training.evaluation.hold_out import Rows
from trainer.training.evaluation.hold_out_evaluation import measure_hold_out
from trainer.training.evaluation.scores import RowScores
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet
from trainer.training.tuning.plan import TuningResult, TuningTask


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """Sums over the rows of folds; they can be added up."""

    rows: int = 0
    exact: int = 0
    placed: int = 0
    """Rows with a known true position."""
    metres: float = 0.0
    """The sum of their errors."""

    def __add__(self, other: "FoldFigures") -> "FoldFigures":
        """The figures of both."""
        return FoldFigures(
            self.rows + other.rows,
            self.exact + other.exact,
            self.placed + other.placed,
            self.metres + other.metres,
        )

    def result(self, task: TuningTask) -> TuningResult:
        """The means for a task; rows are counted for one seed."""
        return TuningResult(
            settings=task.settings,
            seeds=task.seeds,
            rows=self.rows // len(task.seeds),
            exact_accuracy=self.exact / self.rows,
            mean_error_m=self.metres / self.placed if self.placed else None,
        )


NO_FIGURES = FoldFigures()


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """The rows of a search and their folds."""

    data: TrainingSet
    site: SiteDescription
    tests: tuple[Rows, ...]
    """The test rows of each fold; all others are trained on."""

    @classmethod
    def of(
        cls, data: TrainingSet, site: SiteDescription, count: int, seed: int
    ) -> "CrossValidation":
        """Divide rows into folds that keep copies and visits whole.

        Raises:
            BadSplit: there are too few visits for so many folds.
        """
        return cls(data, site, grouped_folds(data, count, seed))

    def measure_fold(self, settings: Hyperparameters, seed: int, fold: int) -> FoldFigures:
        """Train on all folds but one, with a seed, and measure that one."""
        test = self.tests[fold]
        trained = np.setdiff1d(np.arange(len(self.data)), test)
        seeded = settings.model_copy(update={"seed": seed})
        return _figures(measure_hold_out(self.data, trained, test, self.site, seeded).scores)

    def measure(self, task: TuningTask) -> TuningResult:
        """Measure a task on every fold with every seed."""
        figures = (
            self.measure_fold(task.settings, seed, fold)
            for seed in task.seeds
            for fold in range(len(self.tests))
        )
        return sum(figures, NO_FIGURES).result(task)


def _figures(scores: RowScores) -> FoldFigures:
    errors = scores.errors_m
    known = np.empty(0) if errors is None else errors[~np.isnan(errors)]
    return FoldFigures(
        rows=len(scores.exact),
        exact=int(scores.exact.sum()),
        placed=len(known),
        metres=float(known.sum()),
    )
