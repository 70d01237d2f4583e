"""`rssi train`, `evaluate` and `serve`: the trainer's code on this machine, without any cloud."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from rich.console import Console

from ops.errors import OpsError, UsageError
from trainer.localization.errors import LocalizationError
from trainer.training.errors import TrainingError
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription

LOOPBACK = "127.0.0.1"
SEEDS = range(5)
"""Fixed, so that no seed is chosen by its result."""


def train_here(
    console: Console,
    data: Sequence[Path],
    out: Path,
    seed: int,
    site: SiteDescription,
    settings_file: Path | None = None,
    site_folder: Path | None = None,
    *,
    as_json: bool,
) -> None:
    """Train from files and say where the bundle is and how good the recipe is.

    The picture of the floor that a site names lies in ``site_folder``, beside its description.

    Raises:
        OpsError: the data can't be used, or the folder can't be written.
    """
    # One thread is right at this size (measured); MXNet reads it when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ops.cli.show import quality_table
    from trainer.training.job.train import train_files

    progress = Console(stderr=True)
    with as_sentences(), progress.status("reading") as status:
        result = train_files(
            data,
            out,
            seed=seed,
            site=site,
            hyperparameters=settings_of(settings_file),
            progress=status.update,
            site_folder=site_folder,
        )
    if as_json:
        _print_json(
            {
                "bundle": str(result.bundle),
                "release": result.release_id,
                "digest": result.digest,
                "fit_seconds": result.fit_seconds,
                "metrics": result.metrics.model_dump(mode="json"),
            }
        )
        return
    title = f"on visits that were held out ({result.cells} cells, {result.beacons} beacons)"
    console.print(quality_table(result.metrics, result.metrics.held_out_rows, title))
    console.print(
        f"\n{result.bundle}  {result.bundle_bytes / 1000:.0f} kB, fitted in "
        f"{result.fit_seconds:.2f} s; the model card lies beside it\n"
        f"Try it: rssi serve --model {result.bundle}",
        highlight=False,
        soft_wrap=True,
    )


def evaluate_here(
    console: Console, model: Path, data: Sequence[Path], site: SiteDescription, *, as_json: bool
) -> None:
    """Measure a bundle on labelled fingerprints.

    Raises:
        OpsError: the bundle or the data can't be used.
    """
    from ops.cli.show import quality_table
    from trainer.training.evaluation.evaluate import evaluate_bundle

    with as_sentences():
        _check_there(model)
        evaluation = evaluate_bundle(model, data, site)
    if as_json:
        _print_json(asdict(evaluation))
        return
    console.print(quality_table(evaluation, evaluation.rows, ""))
    found = evaluation.calibration
    if found is not None:
        console.print(f"\nexpected calibration error {found.expected_error:.1%}", highlight=False)


def evaluate_recipe_here(
    console: Console,
    data: Sequence[Path],
    site: SiteDescription,
    settings_file: Path | None,
    split: Path | None,
    folds: int | None,
    *,
    as_json: bool,
) -> None:
    """Measure a recipe on a file of splits or on folds, over :data:`SEEDS`.

    Raises:
        OpsError: the data or the splits can't be used.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ops.cli.show import quality_table
    from trainer.training.evaluation.cross_validation import measure_folds, measure_splits

    if len(data) != 1:
        raise UsageError("Splits and folds count the rows of one file: give one --data.")
    settings = settings_of(settings_file) or Hyperparameters()
    with as_sentences():
        if split is not None:
            measured = measure_splits(data[0], split, site, settings, SEEDS)
        else:
            measured = [measure_folds(data[0], folds or 5, site, settings, SEEDS)]
    if as_json:
        _print_json([asdict(found) for found in measured])
        return
    for found in measured:
        title = f"{found.division}: mean of {len(SEEDS)} seeds, worst exact {found.worst_exact:.1%}"
        console.print(quality_table(found.mean, found.mean.rows, title))
        for baseline in found.baselines:
            console.print(
                f"  {baseline.name}: {baseline.exact_accuracy:.1%} exact"
                + ("" if baseline.mean_error_m is None else f", {baseline.mean_error_m:.2f} m"),
                style="dim",
                highlight=False,
            )


def site_of(file: Path | None, cell_size: float | None = None) -> SiteDescription:
    """A site as its ``site.json`` describes it, or a plain one.

    Raises:
        UsageError: the file does not describe a site.
    """
    if file is None:
        return SiteDescription() if cell_size is None else SiteDescription(cell_size_m=cell_size)
    site = _described(file, SiteDescription)
    return site if cell_size is None else site.model_copy(update={"cell_size_m": cell_size})


def settings_of(file: Path | None) -> Hyperparameters | None:
    """Hyperparameters from a file, None without one.

    Raises:
        UsageError: the file holds something else.
    """
    return None if file is None else _described(file, Hyperparameters)


Described = TypeVar("Described", bound=BaseModel)


def _described(file: Path, kind: type[Described]) -> Described:
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        raise UsageError(f"{file} can't be used: {error}") from error


def serve_here(model: Path, port: int, workers: int) -> None:
    """Serve a bundle until Ctrl-C; the logs go to standard output as in the container.

    Raises:
        OpsError: the bundle can't be served, or the port is taken.
    """
    from trainer.localization.bundle.reading import load_bundle
    from trainer.serving.http.server import run
    from trainer.serving.settings import ServingSettings

    with as_sentences():
        _check_there(model)
        # The container keeps answering 503 with the reason; a person wants it at once.
        load_bundle(model)
    try:
        run(ServingSettings(model, LOOPBACK, port, workers))
    except OSError as error:
        raise UsageError(
            f"Nothing can listen on port {port} of this machine ({error.strerror}): "
            "choose another with --port, or --port 0 for a free one."
        ) from error


def _check_there(model: Path) -> None:
    if not model.exists():
        raise UsageError(f"{model} is not there: name a model.tar.gz, or the folder it unpacks to.")


@contextmanager
def as_sentences() -> Iterator[None]:
    try:
        yield
    except (TrainingError, LocalizationError) as error:
        raise OpsError(f"{error}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UsageError(f"{where}{error.strerror or error}.") from error


def _print_json(what: object) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")
