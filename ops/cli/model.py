"""Commands on a model: train, evaluate, serve on this machine; predict by a site's endpoint."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.cli.options import (
    AsJson,
    CellSize,
    LabelledData,
    Port,
    SettingsFile,
    SiteFile,
    SiteName,
)
from ops.cli.output import out, print_json
from ops.cli.stack import open_stack
from ops.errors import UsageError

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "Models"


class ContentType(StrEnum):
    """Media type of a request to an endpoint."""

    CSV = "text/csv"
    JSON = "application/json"


@app.command(rich_help_panel=PANEL)
def predict(
    site: SiteName,
    csv: Annotated[
        Path | None, typer.Option(help="CSV of fingerprints, one column per beacon.")
    ] = None,
    rssi: Annotated[
        str | None, typer.Option(help="One fingerprint, such as b3001=-70,b3005=-81 (dBm).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a site's endpoint where fingerprints were taken."""
    from ops.account.stack_client import instances_body
    from ops.cli.show_model import prediction_table

    if (csv is None) == (rssi is None):
        raise UsageError("Give either --csv FILE or --rssi BEACON=DBM,...")
    if csv is not None:
        body, content_type = _read(csv), ContentType.CSV.value
    else:
        body, content_type = instances_body([_fingerprint(rssi or "")]), ContentType.JSON.value
    prediction = open_stack(site).predict(site, body, content_type)
    if as_json:
        print_json(prediction)
    else:
        out.print(prediction_table(prediction))


@app.command(rich_help_panel=PANEL)
def train(
    data: Annotated[
        list[Path], typer.Option(help="CSV of labelled fingerprints; more may follow it.")
    ],
    output: Annotated[Path, typer.Option("--out", help="Folder for model.tar.gz and the card.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="CSV", hidden=True)] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 0,
    cell_size: CellSize = None,
    site_file: SiteFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Train a model from surveys on this machine, without any cloud."""
    from ops.cli.show_model import print_trained
    from ops.experiments.inputs import read_settings, read_site
    from ops.experiments.train import train_bundle

    with Console(stderr=True).status("reading") as progress:
        result = train_bundle(
            [*data, *(more or [])],
            output,
            seed=seed,
            site=read_site(site_file, cell_size),
            settings=read_settings(settings),
            site_folder=site_file.parent if site_file else None,
            progress=progress.update,
        )
    if as_json:
        print_json(
            {
                "bundle": str(result.bundle),
                "release": result.release_id,
                "digest": result.digest,
                "fit_seconds": result.fit_seconds,
                "metrics": result.metrics.model_dump(mode="json"),
            }
        )
    else:
        print_trained(out, result)


@app.command(rich_help_panel=PANEL)
def evaluate(
    data: LabelledData,
    model: Annotated[
        Path | None, typer.Option(help="A bundle: model.tar.gz or its unpacked folder.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="JSON of row numbers; measures the recipe, not a bundle.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Measure the recipe on so many folds.", min=2, max=100)
    ] = None,
    cell_size: CellSize = None,
    site_file: SiteFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure a bundle, or the recipe on a split or on folds, without any cloud."""
    from ops.cli import show_model
    from ops.experiments import evaluate as experiment
    from ops.experiments.inputs import read_settings, read_site

    site = read_site(site_file, cell_size)
    if sum(way is not None for way in (model, split, folds)) != 1:
        raise UsageError("Give one of --model FILE, --split FILE and --folds NUMBER.")
    if model is not None:
        evaluation = experiment.evaluate_model(model, data, site)
        if as_json:
            print_json(asdict(evaluation))
        else:
            show_model.print_evaluation(out, evaluation)
        return
    measured = experiment.evaluate_recipe(data, site, read_settings(settings), split, folds)
    if as_json:
        print_json([asdict(each) for each in measured])
    else:
        show_model.print_recipe_evaluations(out, measured, seeds=len(experiment.SEEDS))


@app.command(rich_help_panel=PANEL)
def serve(
    model: Annotated[Path, typer.Option(help="A bundle: model.tar.gz or its unpacked folder.")],
    port: Port = 8080,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
) -> None:
    """Serve a bundle on this machine as the SageMaker container would, until Ctrl-C."""
    from ops.experiments.serve import serve_bundle

    serve_bundle(model, port, workers)


def _fingerprint(text: str) -> dict[str, float]:
    try:
        pairs = [part.split("=") for part in text.split(",") if part.strip()]
        fingerprint = {beacon.strip(): float(rssi) for beacon, rssi in pairs}
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no fingerprint: write BEACON=DBM,..., such as b3001=-70,b3005=-81."
        ) from error
    if not fingerprint:
        raise UsageError("The fingerprint names no beacon: write BEACON=DBM,...")
    return fingerprint


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
