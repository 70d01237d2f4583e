"""Searches for hyperparameters: on a file here, or on a site's surveys, also in its cluster."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import (
    AsJson,
    Namespace,
    PodTemplate,
    RunnerName,
    SettingsFile,
    SiteFile,
    SiteName,
)
from ops.cli.output import out, print_json
from ops.cli.stack import open_stack

if TYPE_CHECKING:
    from ops.experiments.tune import TuningReport

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "Models"

Output = Annotated[Path, typer.Option("--out", help="Where the best settings go, as JSON.")]
Trials = Annotated[int, typer.Option(help="How many settings to try.", min=2, max=1000)]
Seed = Annotated[int, typer.Option(help="Seed of the search.", min=0)]


@app.command(rich_help_panel=PANEL)
def tune(
    *,
    output: Output,
    data: Annotated[Path, typer.Option(help="CSV of labelled fingerprints.")],
    trials: Trials = 30,
    seed: Seed = 0,
    settings: SettingsFile = None,
    site_file: SiteFile = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; by default one per core.", min=1)
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Stores the search; with the same file it resumes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for better hyperparameters on a file, with all cores of this machine.

    Folds keep near-duplicates and visits together. A trial is pruned once others do better after
    the same folds. `rssi tune-site` searches on a site's own surveys.
    """
    from ops.experiments.inputs import read_site
    from ops.experiments.tune import TuneOptions, tune_on_file

    options = TuneOptions(trials, seed, settings, study, workers)
    _report(tune_on_file(data, read_site(site_file), output, options), output, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def tune_site(
    *,
    site: SiteName,
    output: Output,
    trials: Trials = 30,
    seed: Seed = 0,
    settings: SettingsFile = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes or pods at once; by default one per core here.", min=1),
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="Jobs in turn, each learning from the last.", min=1)
    ] = 1,
    runner: RunnerName = None,
    pod_template: PodTemplate = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Search for better hyperparameters on the surveys of a site's newest release.

    Runs in processes here or as an Indexed Job in the site's cluster; the same command resumes an
    interrupted search. What it writes is for the agent's RSSI_HYPERPARAMETERS_FILE.
    """
    from ops.account.agent import RunnerOptions
    from ops.experiments.tune_site import SiteTuneOptions, tune_on_site

    options = SiteTuneOptions(trials, seed, workers or os.cpu_count() or 1, rounds, settings)
    runner_options = RunnerOptions(runner, pod_template, namespace)
    report = tune_on_site(open_stack(site), site, output, options, runner_options)
    _report(report, output, as_json=as_json)


def _report(report: "TuningReport", output: Path, *, as_json: bool) -> None:
    from ops.cli.show_model import print_tuning

    if as_json:
        print_json(report)
    else:
        print_tuning(out, report, output)
