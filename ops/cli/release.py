"""Commands on what is live: status, releases, rollback, events, trace, clean-up."""

import sys
from typing import Annotated

import typer

from ops.cli import stack
from ops.cli.options import AsJson, OnlySite, SiteName, Timeout, Wait
from ops.cli.output import out, print_json
from ops.cli.stack import open_stack
from ops.errors import OpsError

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "Releases"


@app.command(rich_help_panel=PANEL)
def status(site: OnlySite = None, as_json: AsJson = False) -> None:
    """Show what is live, what is in progress, and which surveys are quarantined and why.

    The exit code is 1 if an endpoint does not serve what should be live.
    """
    from ops.cli import show

    stack_client = open_stack(site)
    statuses = [stack_client.status(name) for name in ([site] if site else stack_client.sites())]
    drifted = [entry.site for entry in statuses if entry.drift]
    if as_json:
        print_json(statuses)
        _raise_if_drifted(drifted)
        return
    for folder in [] if site else stack_client.misnamed():
        out.print(show.misnamed_line(folder))
    if not statuses:
        out.print("No site yet. `rssi drop --site NAME FILE.csv` makes one.")
        return
    out.print(show.status_table(statuses))
    for entry in statuses:
        for line in show.decision_lines(entry):
            out.print(line)
        for line in show.quarantine_lines(entry):
            out.print(line)
        if entry.drift:
            out.print(show.drift_line(entry))
    _raise_if_drifted(drifted)


def _raise_if_drifted(sites: list[str]) -> None:
    if sites:
        raise OpsError(f"What is served differs from what should be live at: {', '.join(sites)}.")


@app.command(rich_help_panel=PANEL)
def releases(site: SiteName, as_json: AsJson = False) -> None:
    """List every release of a site, how good it is, and which one is live."""
    from ops.cli.show import releases_table

    rows = open_stack(site).releases(site)
    if as_json:
        print_json(rows)
    elif rows:
        out.print(releases_table(rows))
    else:
        out.print(f"No release has arrived at {site} yet; see `rssi status --site {site}`.")


@app.command(rich_help_panel=PANEL)
def rollback(
    site: SiteName,
    to: Annotated[
        str | None, typer.Option(help="Release to put back; by default the one live before.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    wait: Wait = True,
    timeout: Timeout = 3600,
    as_json: AsJson = False,
) -> None:
    """Put an earlier release back: rolled out and smoke-tested like any other."""
    from functions.core.deployments import DeploymentState
    from ops.cli.show import progress_line

    stack_client = open_stack(site)
    request = stack_client.request_rollback(site, to, reason)
    if not wait:
        if as_json:
            print_json({"request": request})
        else:
            out.print(f"requested: {request}. `rssi status --site {site}` shows it.")
        return
    ended = stack_client.follow_rollback(
        site,
        request,
        timeout,
        lambda deployment: (
            None if as_json else out.print(progress_line(deployment), highlight=False)
        ),
    )
    if as_json:
        print_json(ended)
    if ended.state is not DeploymentState.LIVE:
        raise OpsError(
            f"Release {ended.candidate.release} is not live: deployment {ended.number} "
            f"{ended.state.value}. {ended.reason}"
        )


@app.command(rich_help_panel=PANEL)
def events(
    site: OnlySite = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what happened, oldest first; with --follow also what happens from now on.

    With --json a list; with --follow --json one line for each event.
    """
    from ops.terminal import event_line

    log = open_stack(site).event_log
    if as_json and not follow:
        print_json(log.read(site=site))
        return
    for event in log.follow(site=site) if follow else log.read(site=site):
        if as_json:
            sys.stdout.write(event.model_dump_json() + "\n")
            sys.stdout.flush()
        else:
            out.print(event_line(event), soft_wrap=True)


@app.command(rich_help_panel=PANEL)
def trace(
    what: Annotated[
        str, typer.Argument(help="A release id, or a survey's key, file name, version or id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Trace a release back to its surveys, or a survey forward to the releases trained on it."""
    from ops.cli.show import print_trace

    found = open_stack().trace(what)
    if as_json:
        print_json(found)
    else:
        print_trace(out, found)


@app.command(rich_help_panel=PANEL)
def clean_up(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would go; the log names each file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete now, instead of next night, the files of attempts that yielded no release."""
    from ops.account.clean_up import clean_up as invoke
    from ops.account.session import AwsSession

    summary = invoke(AwsSession(), stack.stage(), dry_run=dry_run)
    if as_json:
        print_json({"said": summary})
    else:
        out.print(summary)
