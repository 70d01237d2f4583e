"""Searches for hyperparameters on a file, in parallel, on folds that keep groups whole.

The best of many trials may be best by chance: it is measured again over fresh seeds beside the
settings that it should replace, and kept only if it is better there too.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import Progress

from ops.errors import UsageError
from ops.experiments.inputs import read_settings, trainer_errors
from ops.experiments.tune_processes import fold_pool
from ops.experiments.tune_search import Study, open_study
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import combine
from trainer.training.tuning.folds import CrossValidation
from trainer.training.tuning.plan import FOLDS, TuningResult, TuningTask

FRESH_SEEDS = (101, 102, 103)

Measure = Callable[[Sequence[TuningTask]], Sequence[TuningResult]]
"""Measures tasks, in processes here or in a cluster."""


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How to search."""

    trials: int
    """How many settings to try, those in a study file included."""
    seed: int
    """Seed of the sampler and of the fits that are compared."""
    settings_file: Path | None = None
    """The settings to begin with; the recipe's own if None."""
    study_file: Path | None = None
    """Keeps the search, so that it can be resumed; None keeps nothing."""
    workers: int | None = None
    """Processes; one per core if None."""


class TuningReport(BaseModel):
    """What a search found; also what ``--json`` prints."""

    model_config = ConfigDict(frozen=True)

    tried: tuple[TuningResult, ...]
    """Measured on all folds, the best first."""
    cut_short: int
    """Trials that were pruned after some folds."""
    before: TuningResult
    """The settings that the search began with, over fresh seeds."""
    best: TuningResult
    """The best trial's settings, over the same seeds."""

    @property
    def kept(self) -> TuningResult:
        """The better of the two; on a tie the settings from before."""
        return min(self.before, self.best, key=lambda result: result.loss)


def tune_on_file(
    data: Path, site: SiteDescription, output: Path, options: TuneOptions
) -> TuningReport:
    """Search, and write the best settings to a file that `rssi train --settings` takes.

    Args:
        data: a survey.
        site: where it was taken.
        output: where the settings go.
        options: how to search.

    Raises:
        OpsError: the data can't be used, or a file can't be read or written.
    """
    first = read_settings(options.settings_file) or Hyperparameters()
    seed = options.seed
    check_writable(output)
    with trainer_errors():
        folds = CrossValidation.of(
            combine([read_survey(data, site)], site), site, FOLDS, first.seed
        )
        with (
            open_study(
                first, _question(data, site, first, seed), seed, options.study_file
            ) as study,
            fold_pool(folds, options.workers or os.cpu_count() or 1) as pool,
            Progress(console=Console(stderr=True), transient=True) as progress,
        ):
            task = progress.add_task("trying settings", total=options.trials, completed=study.ended)
            for ended in pool.search(study, options.trials, seed):
                progress.update(task, completed=ended)
            progress.update(task, description="over fresh seeds", total=None)
            report = compare_on_fresh_seeds(study, first, pool.measure)
        write_settings(report, output)
    return report


def _question(data: Path, site: SiteDescription, first: Hyperparameters, seed: int) -> str:
    """Names everything that the losses of a study depend on."""
    digest = hashlib.sha256(data.read_bytes())
    digest.update(f"{site.model_dump_json()} {first.model_dump_json()} {seed}".encode())
    return digest.hexdigest()


def compare_on_fresh_seeds(study: Study, first: Hyperparameters, measure: Measure) -> TuningReport:
    """Measure the best trial again beside the first settings, with seeds that selected neither."""
    tried = sorted(study.results, key=lambda result: result.loss)
    settings = (first, tried[0].settings)
    before, best = measure([TuningTask(settings=each, seeds=FRESH_SEEDS) for each in settings])
    return TuningReport(
        tried=tuple(tried), cut_short=study.ended - len(tried), before=before, best=best
    )


def check_writable(output: Path) -> None:
    """Check before a long search that its result can be written.

    Raises:
        UsageError: its folder does not exist.
    """
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is no folder: name one that exists.")


def write_settings(report: TuningReport, output: Path) -> None:
    """Write the better settings of the two as JSON."""
    output.write_text(report.kept.settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
