"""`rssi train`, `evaluate` and `serve`: the trainer's code on this machine, without any cloud."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ops.errors import OpsError, UsageError
from trainer.localization.errors import LocalizationError
from trainer.training.errors import TrainingError
from trainer.training.site import Site

LOOPBACK = "127.0.0.1"


def train_here(
    console: Console, data: Sequence[Path], out: Path, seed: int, cell_size: float, *, as_json: bool
) -> None:
    """Train from files and say where the bundle is and how good the recipe is.

    Raises:
        OpsError: the data can't be used, or the folder can't be written.
    """
    # One thread is right at this size (measured); MXNet reads it when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ops.show import quality_table
    from trainer.training.train import train_files

    progress = Console(stderr=True)
    with _as_sentences(), progress.status("reading") as status:
        result = train_files(
            data,
            out,
            seed=seed,
            site=Site(cell_size_m=cell_size),
            progress=status.update,
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
    console: Console, model: Path, data: Sequence[Path], cell_size: float, *, as_json: bool
) -> None:
    """Measure a bundle on labelled fingerprints.

    Raises:
        OpsError: the bundle or the data can't be used.
    """
    from ops.show import quality_table
    from trainer.training.evaluate import evaluate_bundle

    with _as_sentences():
        _check_there(model)
        evaluation = evaluate_bundle(model, data, Site(cell_size_m=cell_size))
    if as_json:
        _print_json(asdict(evaluation))
    else:
        console.print(quality_table(evaluation, evaluation.rows, ""))


def serve_here(model: Path, port: int, workers: int) -> None:
    """Serve a bundle until Ctrl-C; the logs go to standard output as in the container.

    Raises:
        OpsError: the bundle can't be served, or the port is taken.
    """
    from trainer.localization.bundle import load_bundle
    from trainer.serving.server import run
    from trainer.serving.settings import ServingSettings

    with _as_sentences():
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
def _as_sentences() -> Iterator[None]:
    try:
        yield
    except (TrainingError, LocalizationError) as error:
        raise OpsError(f"{error}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UsageError(f"{where}{error.strerror or error}.") from error


def _print_json(what: object) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")
