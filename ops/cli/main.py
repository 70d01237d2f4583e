"""The command `rssi`.

Errors end here: as a sentence on standard error and an exit code (see `ops.errors`), never as a
traceback. Modules that are slow to import are imported by the command that needs them, so that
`--help` comes at once.
"""

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel
from rich.console import Console

from ops.errors import OpsError, UsageError

if TYPE_CHECKING:
    from events.manifests import SurveyRef
    from ops.account.stack_client import StackClient

app = typer.Typer(
    name="rssi",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Keeps an indoor-localization model in production fresh.

    On this machine, without any cloud: `rssi demo` shows the whole way; `rssi up` starts the
    embedded cloud and an agent. Then, in another terminal, with what `rssi up` printed:

    `rssi drop --site lab survey.csv --wait`, `rssi status`, `rssi rollback --site lab`,
    `rssi predict --site lab --rssi b3001=-70`.

    Without AWS_ENDPOINT_URL the same commands talk to the AWS account of your credentials.""",
)
WIDE = 200
"""Columns where nobody watches: whoever reads a file or a pipe wants whole ids in one line."""
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True)

Site = Annotated[str, typer.Option("--site", help="Name of the site, such as library-1f.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Wait = Annotated[bool, typer.Option(help="Wait for the end, and fail if it is not a good one.")]
Timeout = Annotated[float, typer.Option(help="Longest wait, in seconds.", min=1)]
CellSize = Annotated[
    float | None, typer.Option(help="Metres between cells that are named like O02.", min=0.01)
]
SiteFile = Annotated[
    Path | None, typer.Option(help="site.json: grid, positions, thresholds, floor plan.")
]
SettingsFile = Annotated[Path | None, typer.Option(help="JSON of the recipe's hyperparameters.")]
Port = Annotated[
    int, typer.Option(help="Port on this machine; 0 takes a free one.", min=0, max=65535)
]


class ContentType(StrEnum):
    """What a request to an endpoint may be written in."""

    CSV = "text/csv"
    JSON = "application/json"


def main() -> None:
    """Run the command line; the process's outermost edge."""
    try:
        app(standalone_mode=True)
    except OpsError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except Exception as error:  # the outermost edge: a sentence, never a traceback
        if os.environ.get("RSSI_DEBUG"):
            raise
        _say(
            f"{type(error).__name__}: {error}. That should not happen; set RSSI_DEBUG=1 and repeat "
            "the command to see where it comes from."
        )
        sys.exit(1)


@app.command()
def up(
    port: Port = 0,
    agent: Annotated[bool, typer.Option(help="Also run an agent that trains surveys here.")] = True,
    folder: Annotated[
        Path | None, typer.Option(help="Where logs and runs lie; a temporary folder if not given.")
    ] = None,
) -> None:
    """Start the embedded cloud with the stack in it, in the foreground until Ctrl-C.

    Everything listens on this machine only and is gone when it ends.
    """
    from ops.cli.up import run

    run(out, port=port, with_agent=agent, folder=folder)


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A CSV of labelled fingerprints; generated if not given.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--out", help="Where summary.json and report.html go.")
    ] = Path("out/demo"),
    as_json: AsJson = False,
) -> None:
    """Show the whole way on this machine, in five acts, and check each.

    Drop a survey and get a live endpoint; drop another and roll without a failed request; a broken
    survey is quarantined; a release that answers wrongly goes back by itself; put the first back.
    """
    from ops.demo.run import run_demo

    summary = run_demo(Console(stderr=True) if as_json else out, data, output)
    if as_json:
        _print_json(summary)
    if not summary.ok:
        sys.exit(1)


@app.command()
def drop(
    site: Site,
    files: Annotated[list[Path], typer.Argument(help="CSV files of labelled fingerprints.")],
    wait: Wait = False,
    timeout: Timeout = 900,
    as_json: AsJson = False,
) -> None:
    """Drop surveys into the data bucket; that alone sets everything else in motion.

    A CSV has a column `location` or columns `x,y` (metres), one column per beacon (dBm; -200 or
    blank where it was not heard), and optionally a time stamp.
    """
    stack_client = _stack_client(site)
    _tell_drop(
        stack_client, stack_client.drop(site, files), wait=wait, timeout=timeout, as_json=as_json
    )


@app.command()
def status(
    site: Annotated[str | None, typer.Option("--site", help="Only this site.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is live where, what is going on, and which surveys are quarantined and why."""
    from ops.cli import show

    stack_client = _stack_client(site)
    statuses = [stack_client.status(name) for name in ([site] if site else stack_client.sites())]
    if as_json:
        _print_json(statuses)
        return
    for folder in [] if site else stack_client.misnamed():
        out.print(show.misnamed_line(folder))
    if not statuses:
        out.print("No site yet. `rssi drop --site NAME FILE.csv` makes one.")
        return
    out.print(show.status_table(statuses))
    for entry in statuses:
        for line in show.quarantine_lines(entry):
            out.print(line)


@app.command()
def releases(site: Site, as_json: AsJson = False) -> None:
    """Every release that arrived at a site, how good it is, and which one is live."""
    from ops.cli.show import releases_table

    rows = _stack_client(site).releases(site)
    if as_json:
        _print_json(rows)
    elif rows:
        out.print(releases_table(rows))
    else:
        out.print(f"No release has arrived at {site} yet. `rssi status --site {site}` tells more.")


@app.command()
def rollback(
    site: Site,
    to: Annotated[
        str | None, typer.Option(help="Release to put back; the one live before if not given.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever asks later.")] = "",
    wait: Wait = True,
    timeout: Timeout = 3600,
    as_json: AsJson = False,
) -> None:
    """Put an earlier release back: rolled out and smoke-tested like any other."""
    from functions.core.deployments import DeploymentState

    stack_client = _stack_client(site)
    request = stack_client.request_rollback(site, to, reason)
    if not wait:
        if as_json:
            _print_json({"request": request})
        else:
            out.print(f"asked for; request {request}. `rssi status --site {site}` shows it.")
        return
    ended = stack_client.follow_rollback(
        site,
        request,
        timeout,
        lambda deployment: (
            None
            if as_json
            else out.print(
                f"deployment {deployment.number} {deployment.state.value}: "
                f"{deployment.candidate.release}",
                highlight=False,
            )
        ),
    )
    if as_json:
        _print_json(ended)
    if ended.state is not DeploymentState.LIVE:
        raise OpsError(
            f"Release {ended.candidate.release} is not live: deployment {ended.number} "
            f"{ended.state.value}. {ended.reason}"
        )


@app.command()
def predict(
    site: Site,
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
    from ops.cli.show import prediction_table

    if (csv is None) == (rssi is None):
        raise UsageError("Give either --csv FILE or --rssi BEACON=DBM,...")
    if csv is not None:
        body, content_type = _read(csv), ContentType.CSV.value
    else:
        body, content_type = instances_body([_fingerprint(rssi or "")]), ContentType.JSON.value
    prediction = _stack_client(site).predict(site, body, content_type)
    if as_json:
        _print_json(prediction)
    else:
        out.print(prediction_table(prediction))


@app.command()
def events(
    site: Annotated[str | None, typer.Option("--site", help="Only this site.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """What happened, oldest first; with --follow also what happens.

    With --json a list; with --follow --json one line for each event.
    """
    from ops.cli.show import event_line

    log = _stack_client(site).event_log
    if as_json and not follow:
        _print_json(log.read(site=site))
        return
    for event in log.follow(site=site) if follow else log.read(site=site):
        if as_json:
            sys.stdout.write(event.model_dump_json() + "\n")
            sys.stdout.flush()
        else:
            out.print(event_line(event), soft_wrap=True)


@app.command()
def trace(
    what: Annotated[
        str, typer.Argument(help="A release id, or a survey's key, file name, version or id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Walk from a release back to its surveys, or from a survey to every release it taught."""
    from ops.cli.show import print_trace

    found = _stack_client(None).trace(what)
    if as_json:
        _print_json(found)
    else:
        print_trace(out, found)


@app.command()
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
    """Train a model from surveys, here, without any cloud."""
    from ops.experiments.train import site_of, train_here

    site = site_of(site_file, cell_size)
    train_here(
        out,
        [*data, *(more or [])],
        output,
        seed,
        site,
        settings,
        site_file.parent if site_file else None,
        as_json=as_json,
    )


@app.command()
def evaluate(
    data: Annotated[
        list[Path], typer.Option(help="CSV of labelled fingerprints; may be repeated.")
    ],
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
    from ops.experiments.train import evaluate_here, evaluate_recipe_here, site_of

    site = site_of(site_file, cell_size)
    if sum(way is not None for way in (model, split, folds)) != 1:
        raise UsageError("Give one of --model FILE, --split FILE and --folds NUMBER.")
    if model is not None:
        evaluate_here(out, model, data, site, as_json=as_json)
    else:
        evaluate_recipe_here(out, data, site, settings, split, folds, as_json=as_json)


@app.command()
def audit(
    files: Annotated[list[Path], typer.Argument(help="Surveys; the last is the newest.")],
    site_file: SiteFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what training would make of surveys: bad rows, copies, beacons, drift."""
    from ops.experiments.audit import audit_here

    audit_here(out, files, site_file, as_json=as_json)


@app.command()
def tune(
    *,
    output: Annotated[Path, typer.Option("--out", help="Where the settings go, as JSON.")],
    data: Annotated[Path | None, typer.Option(help="CSV of labelled fingerprints.")] = None,
    site: Annotated[
        str | None,
        typer.Option("--site", help="A site instead: the surveys of its newest release."),
    ] = None,
    trials: Annotated[int, typer.Option(help="How many settings to try.", min=2, max=1000)] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the search.", min=0)] = 0,
    settings: SettingsFile = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, or pods, at once; one for each core.", min=1)
    ] = None,
    site_file: SiteFile = None,
    study: Annotated[
        Path | None, typer.Option(help="Keeps the search; with the same file it goes on.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="With --site: Jobs in turn, each learning from the last.", min=1)
    ] = 1,
    runner: Annotated[
        str | None, typer.Option(help="With --site: where it runs, process or kubernetes.")
    ] = None,
    pod_template: Annotated[
        Path | None, typer.Option(help="YAML that describes the training pods, for kubernetes.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Namespace of the Jobs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search the recipe's settings on honest folds.

    On a file, here, on all cores: a trial is let go of once others do better after the same folds,
    and --study FILE makes a search that can be interrupted.

    On a site's own surveys, in processes here or as an Indexed Job in its cluster: the same command
    goes on where it was. What it writes is for the agent's RSSI_HYPERPARAMETERS_FILE.
    """
    from ops.experiments.tune import TuneOptions, tune_here

    if (data is None) == (site is None):
        raise UsageError("Give either --data FILE or --site SITE.")
    if data is not None:
        from ops.experiments.train import site_of

        options = TuneOptions(study_file=study, workers=workers, as_json=as_json)
        tune_here(out, data, site_of(site_file), settings, output, trials, seed, options)
        return
    from ops.experiments.tune_site import RunnerOptions, SiteTuneOptions, tune_site

    if study is not None or site_file is not None:
        raise UsageError(
            "A site has its own study and description: --study and --site-file go with --data."
        )
    wanted = SiteTuneOptions(trials, seed, workers or os.cpu_count() or 1, rounds)
    place = RunnerOptions(runner, pod_template, namespace)
    tune_site(
        out, _stack_client(site), site or "", settings, output, wanted, place, as_json=as_json
    )


@app.command()
def replay(
    site: Site,
    survey: Annotated[str, typer.Argument(help="A quarantined survey: key, file name or id.")],
    mended: Annotated[
        Path | None, typer.Option("--with", help="The corrected file; else it is tried again.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 900,
    as_json: AsJson = False,
) -> None:
    """Bring a survey back that was set aside, as it is or mended."""
    from ops.account.replay import replay as bring_back

    stack_client = _stack_client(site)
    again = bring_back(stack_client, site, survey, mended)
    _tell_drop(stack_client, [again], wait=wait, timeout=timeout, as_json=as_json)


@app.command()
def clean_up(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; the log names each file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete now what attempts left that became no release, instead of next night."""
    from ops.account.clean_up import clean_up as call
    from ops.account.session import AwsSession

    said = call(AwsSession(), os.environ.get("RSSI_STAGE", "dev"), dry_run=dry_run)
    if as_json:
        _print_json({"said": said})
    else:
        out.print(said)


@app.command()
def serve(
    model: Annotated[Path, typer.Option(help="A bundle: model.tar.gz or its unpacked folder.")],
    port: Port = 8080,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
) -> None:
    """Serve a bundle on this machine as the SageMaker container would, until Ctrl-C."""
    from ops.experiments.train import serve_here

    serve_here(model, port, workers)


@app.command()
def agent(
    runner: Annotated[
        str | None, typer.Option(help="Where training runs: process or kubernetes.")
    ] = None,
    pod_template: Annotated[
        Path | None, typer.Option(help="YAML that describes the training pods, for kubernetes.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Namespace of the Jobs.")] = None,
) -> None:
    """Run the on-prem agent here, until Ctrl-C: in a cluster, or with a kubeconfig.

    Reads the variables that its pod has (RSSI_DATA_BUCKET, RSSI_QUEUE_URL, ...); without any, the
    stack of RSSI_STAGE tells where everything is.
    """
    from ops.cli.agent import run_agent

    run_agent(runner, pod_template, namespace)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look whether the on-prem agent has all that it needs, and say how to mend what it lacks."""
    from ops.account.doctor import complain, run_doctor

    findings = run_doctor(err if as_json else out)
    if as_json:
        _print_json(findings)
    complain(findings)


def _tell_drop(
    stack_client: "StackClient",
    surveys: "Sequence[SurveyRef]",
    *,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    from ops.cli.show import event_line

    end = None
    if not as_json:
        for survey in surveys:
            out.print(f"dropped {survey.key}  correlation id {survey.id}", highlight=False)
    if wait:
        end = stack_client.follow_drop(
            surveys, timeout, lambda event: None if as_json else out.print(event_line(event))
        )
    if as_json:
        rows = [{"id": survey.id, **survey.model_dump(mode="json")} for survey in surveys]
        _print_json({"surveys": rows, "end": end.model_dump(mode="json") if end else None})
    if end is not None and end.detail_type not in {"DeploymentSucceeded", "RolledBack"}:
        raise OpsError(f"It ended with {end.detail_type}: {end.text('reason') or end.release}.")


def _say(sentence: str) -> None:
    err.print(f"rssi: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)


def _stack_client(site: str | None) -> "StackClient":
    from events.names import InvalidNameError, check_site
    from ops.account.session import AwsSession, find_stack
    from ops.account.stack_client import StackClient

    try:
        if site is not None:
            check_site(site)
    except InvalidNameError as error:
        raise UsageError(f"{error}.") from error
    aws = AwsSession()
    return StackClient(aws, find_stack(aws, os.environ.get("RSSI_STAGE", "dev")))


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


def _print_json(what: object) -> None:
    sys.stdout.write(json.dumps(_plain(what), indent=2) + "\n")


def _plain(what: object) -> object:
    if isinstance(what, BaseModel):
        return what.model_dump(mode="json")
    if isinstance(what, Sequence) and not isinstance(what, str):
        return [_plain(entry) for entry in what]
    return what
