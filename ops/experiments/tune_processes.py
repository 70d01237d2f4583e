"""Measures folds in processes of this machine, each of which has the rows and one core.

If a process is killed, most likely for lack of memory, the search ends with an error; a study in a
file can be resumed.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ops.errors import OpsError
from ops.experiments.tune_search import PendingTrial, Study
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.tuning.folds import NO_FIGURES, CrossValidation, FoldFigures
from trainer.training.tuning.plan import TuningResult, TuningTask

_cross_validation: list[CrossValidation] = []
"""In a measuring process: the cross-validation that it measures."""


@dataclass(frozen=True, slots=True)
class _RunningTrial:
    """A trial with a fold being measured."""

    trial: PendingTrial
    task: TuningTask
    fold: int = 0
    figures: FoldFigures = NO_FIGURES

    @property
    def result(self) -> TuningResult:
        """The result by the folds measured so far."""
        return self.figures.result(self.task)


class FoldPool:
    """Processes that measure the folds of one cross-validation."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int, folds: int) -> None:
        self._pool = pool
        self._workers = workers
        self._folds = folds

    def search(self, study: Study, trials: int, seed: int) -> Iterator[int]:
        """Run a study until so many trials have ended; yields their number as it grows.

        A trial is measured fold by fold, and pruned once the median of the others was better.
        """
        running: dict[Future[FoldFigures], _RunningTrial] = {}
        ended = study.ended
        while ended < trials:
            while len(running) < self._workers and ended + len(running) < trials:
                drawn = study.ask()
                self._submit(
                    running,
                    _RunningTrial(drawn, TuningTask(settings=drawn.settings, seeds=(seed,))),
                )
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                trial = running.pop(future)
                trial = replace(trial, fold=trial.fold + 1, figures=trial.figures + future.result())
                if not self._ended(study, trial):
                    self._submit(running, trial)
            ended = study.ended
            yield ended

    def measure(self, tasks: Sequence[TuningTask]) -> list[TuningResult]:
        """Measure tasks on all folds with all their seeds."""
        started = [
            [
                self._fold(task.settings, seed, fold)
                for seed in task.seeds
                for fold in range(self._folds)
            ]
            for task in tasks
        ]
        return [
            sum((future.result() for future in futures), NO_FIGURES).result(task)
            for task, futures in zip(tasks, started, strict=True)
        ]

    def _submit(
        self, running: dict[Future[FoldFigures], _RunningTrial], trial: _RunningTrial
    ) -> None:
        future = self._fold(trial.task.settings, trial.task.seeds[0], trial.fold)
        running[future] = trial

    def _ended(self, study: Study, trial: _RunningTrial) -> bool:
        worse = study.should_prune(trial.trial, trial.fold, trial.result.loss)
        if trial.fold == self._folds:
            study.tell(trial.trial, trial.result)
        elif worse:
            study.prune(trial.trial)
        return worse or trial.fold == self._folds

    def _fold(self, settings: Hyperparameters, seed: int, fold: int) -> Future[FoldFigures]:
        return self._pool.submit(_measure, settings, seed, fold)


@contextmanager
def fold_pool(cross_validation: CrossValidation, workers: int) -> Iterator[FoldPool]:
    """Start processes for a block of code.

    Raises:
        OpsError: one of them was killed.
    """
    # One core each: MXNet reads the variable when it is imported, and must not be forked.
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, spawn, _initialize, (cross_validation,)) as pool:
            yield FoldPool(pool, workers, len(cross_validation.tests))
    except BrokenProcessPool as error:
        raise OpsError(
            "A measuring process was killed, most likely for lack of memory: use fewer --workers. "
            "With --study FILE the same command resumes the search."
        ) from error


def _initialize(cross_validation: CrossValidation) -> None:
    # The searching process handles Ctrl-C: it lets the current fold end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _cross_validation.append(cross_validation)


def _measure(settings: Hyperparameters, seed: int, fold: int) -> FoldFigures:
    return _cross_validation[0].measure_fold(settings, seed, fold)
