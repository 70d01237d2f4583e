"""`rssi tune`: searches hyperparameters on folds that keep copies and visits whole, in parallel.

What may go wrong: a trial that is best by chance. The best is measured again over fresh seeds
beside the settings it should replace, and kept only if it wins there too.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ops.errors import UsageError
from ops.experiments.train import as_sentences, settings_of
from ops.experiments.tune_processes import fold_pool
from ops.experiments.tune_search import Study, open_study
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import combine
from trainer.training.tuning.folds import CrossValidation
from trainer.training.tuning.plan import FOLDS, TuningResult, TuningTask

FRESH_SEEDS = (101, 102, 103)
_SHOWN = 10

Measure = Callable[[Sequence[TuningTask]], Sequence[TuningResult]]
"""Measures tasks, somewhere."""


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What a search may be told besides what it is about."""

    study_file: Path | None = None
    """What the search is kept in and gone on with; None keeps nothing."""
    workers: int | None = None
    """Processes; one for each core if None."""
    as_json: bool = False
    """Print the report as JSON."""


NOTHING_SPECIAL = TuneOptions()


class TuningReport(BaseModel):
    """What a search came to; also what ``--json`` prints."""

    model_config = ConfigDict(frozen=True)

    tried: tuple[TuningResult, ...]
    """Measured on all folds, the best first."""
    cut_short: int
    """Trials that were let go of after some folds."""
    before: TuningResult
    """The settings that the search began with, over fresh seeds."""
    best: TuningResult
    """The best trial's settings, over the same seeds."""

    @property
    def kept(self) -> TuningResult:
        """The better of the two; what was there before, if they are level."""
        return min(self.before, self.best, key=lambda result: result.loss)


def tune_here(
    console: Console,
    data: Path,
    site: SiteDescription,
    start: Path | None,
    output: Path,
    trials: int,
    seed: int,
    options: TuneOptions = NOTHING_SPECIAL,
) -> None:
    """Search, and write the best settings to a file that `rssi train --settings` takes.

    Args:
        console: where the outcome is told.
        data: a survey.
        site: where it was taken.
        start: the settings to begin with, as JSON; the recipe's own if None.
        output: where the settings go.
        trials: how many settings are tried, with those that a study file holds already.
        seed: of what is drawn, and of the fits that are compared.
        options: what else may be asked for.

    Raises:
        OpsError: the data can't be used, or a file can't be read or written.
    """
    first = settings_of(start) or Hyperparameters()
    check_writable(output)
    with as_sentences():
        ground = CrossValidation.of(
            combine([read_survey(data, site)], site), site, FOLDS, first.seed
        )
        question = _question(data, site, first, seed)
        with (
            open_study(first, question, seed, options.study_file) as study,
            fold_pool(ground, options.workers or os.cpu_count() or 1) as measured,
            Progress(console=Console(stderr=True), transient=True) as progress,
        ):
            shown = progress.add_task("trying settings", total=trials, completed=study.ended)
            for ended in measured.search(study, trials, seed):
                progress.update(shown, completed=ended)
            progress.update(shown, description="over fresh seeds", total=None)
            report = compare_on_fresh_seeds(study, first, measured.measure)
    finish(console, report, output, as_json=options.as_json)


def _question(data: Path, site: SiteDescription, first: Hyperparameters, seed: int) -> str:
    digest = hashlib.sha256(data.read_bytes())
    digest.update(f"{site.model_dump_json()} {first.model_dump_json()} {seed}".encode())
    return digest.hexdigest()


def compare_on_fresh_seeds(study: Study, first: Hyperparameters, measure: Measure) -> TuningReport:
    """Measure the best trial again beside the first settings, with seeds that chose neither."""
    tried = sorted(study.results, key=lambda result: result.loss)
    settings = (first, tried[0].settings)
    before, best = measure([TuningTask(settings=each, seeds=FRESH_SEEDS) for each in settings])
    return TuningReport(
        tried=tuple(tried), cut_short=study.ended - len(tried), before=before, best=best
    )


def check_writable(output: Path) -> None:
    """Look before a long search whether its outcome can be written.

    Raises:
        UsageError: it can't.
    """
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is no folder: name one that is there.")


def finish(console: Console, report: TuningReport, output: Path, *, as_json: bool) -> None:
    """Write the settings that won, and tell how."""
    kept = report.kept.settings
    output.write_text(kept.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        return
    console.print(_table(report.tried[:_SHOWN]))
    if report.cut_short:
        console.print(f"{report.cut_short} more were let go of after some folds", style="dim")
    better = "the settings it began with" if kept == report.before.settings else "the best trial"
    console.print(
        f"\nOver fresh seeds {report.before.loss:.3f} before and {report.best.loss:.3f} for the "
        f"best trial: {better} went to {output}",
        highlight=False,
    )


def _table(results: Sequence[TuningResult]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("loss", "exact", "epochs", "batch", "rate", "hidden", "sigma", "damping"):
        table.add_column(column)
    for result in results:
        settings = result.settings
        table.add_row(
            f"{result.loss:.3f}",
            f"{result.exact_accuracy:.1%}",
            str(settings.epochs),
            str(settings.batch_size),
            f"{settings.learning_rate:g}",
            "x".join(map(str, settings.hidden)),
            f"{settings.target_sigma_m:g}",
            f"{settings.visit_damping:g}",
        )
    return table
