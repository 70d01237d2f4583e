"""`rssi tune`: searches hyperparameters on folds that keep copies and visits whole, in parallel.

A seeded random search: with some thirty trials in six dimensions it finds what a model-based one
would (Bergstra and Bengio, 2012), each trial stands alone, and so the result does not depend on
which process ends first. What may go wrong: a trial that is best by chance; the best is measured
again over fresh seeds beside the settings it should replace, and kept only if it wins there too.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.errors import UsageError
from ops.offline import as_sentences, settings_of
from trainer.training.evaluate import Evaluation
from trainer.training.hyperparameters import Hyperparameters
from trainer.training.site import Site

FOLDS = 5
FRESH_SEEDS = (101, 102, 103)
_SHOWN = 10


@dataclass(frozen=True)
class Trial:
    """One set of settings and what the folds say of it."""

    settings: Hyperparameters
    evaluation: Evaluation

    @property
    def loss(self) -> float:
        """Lower is better: metres where there are positions, else the share of wrong answers."""
        if self.evaluation.mean_error_m is not None:
            return self.evaluation.mean_error_m
        return 1.0 - self.evaluation.exact_accuracy


@dataclass(frozen=True)
class _Task:
    data: Path
    site: Site
    settings: Hyperparameters
    seeds: tuple[int, ...]


def tune_here(
    console: Console,
    data: Path,
    site: Site,
    start: Path | None,
    output: Path,
    trials: int,
    seed: int,
) -> None:
    """Search, and write the best settings to a file that `rssi train --settings` takes.

    Raises:
        OpsError: the data can't be used, or the file can't be written.
    """
    # Each process has one core.
    os.environ["OMP_NUM_THREADS"] = "1"
    first = settings_of(start) or Hyperparameters()
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is no folder: name one that is there.")
    candidates = [first, *_drawn(first, trials - 1, seed)]
    with as_sentences(), _pool() as pool, console.status(f"trying {len(candidates)} settings"):
        tried = [*pool.map(_try, [_Task(data, site, each, (seed,)) for each in candidates])]
        best = min(tried, key=lambda trial: trial.loss)
        rematch = [first, best.settings]
        again = [*pool.map(_try, [_Task(data, site, each, FRESH_SEEDS) for each in rematch])]
    kept = min(again, key=lambda trial: trial.loss)
    console.print(_table(sorted(tried, key=lambda trial: trial.loss)[:_SHOWN]))
    output.write_text(kept.settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
    better = "the best trial" if kept.settings != first else "the settings it began with"
    console.print(
        f"\nOver fresh seeds {again[0].loss:.3f} before and {again[1].loss:.3f} for the best trial:"
        f" {better} went to {output}",
        highlight=False,
    )


def _pool() -> ProcessPoolExecutor:
    # MXNet must not be forked (it hangs).
    return ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))


def _try(task: _Task) -> Trial:
    from trainer.training.protocols import measure_folds  # noqa: PLC0415 - in the process's own time

    measured = measure_folds(task.data, FOLDS, task.site, task.settings, task.seeds)
    return Trial(task.settings, measured.mean)


def _drawn(first: Hyperparameters, count: int, seed: int) -> list[Hyperparameters]:
    random = np.random.default_rng(seed)
    return [
        first.model_copy(
            update={
                "learning_rate": float(np.round(10 ** random.uniform(-3.0, -2.0), 5)),
                "batch_size": int(random.choice([64, 128, 256])),
                "epochs": int(random.integers(10, 41)),
                "hidden": (int(random.choice([128, 256, 384, 512])),),
                "weight_decay": float(np.round(10 ** random.uniform(-5.0, -3.0), 7)),
                "target_sigma_m": float(np.round(random.uniform(1.0, 2.6), 2)),
                "visit_damping": float(np.round(random.uniform(0.0, 1.0), 2)),
            }
        )
        for _ in range(count)
    ]


def _table(trials: Sequence[Trial]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("loss", "exact", "epochs", "batch", "rate", "hidden", "sigma", "damping"):
        table.add_column(column)
    for trial in trials:
        settings = trial.settings
        table.add_row(
            f"{trial.loss:.3f}",
            f"{trial.evaluation.exact_accuracy:.1%}",
            str(settings.epochs),
            str(settings.batch_size),
            f"{settings.learning_rate:g}",
            "x".join(map(str, settings.hidden)),
            f"{settings.target_sigma_m:g}",
            f"{settings.visit_damping:g}",
        )
    return table
