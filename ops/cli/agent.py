"""Commands on the on-prem agent: agent, doctor."""

from typing import TYPE_CHECKING

import typer

from ops.cli.options import AsJson, Namespace, PodTemplate, RunnerName
from ops.cli.output import err, out, print_json
from ops.cli.stack import stage
from ops.errors import OpsError

if TYPE_CHECKING:
    from rich.console import Console

    from ops.account.doctor import CheckResult

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "Agent"


@app.command(rich_help_panel=PANEL)
def agent(
    runner: RunnerName = None, pod_template: PodTemplate = None, namespace: Namespace = None
) -> None:
    """Run the on-prem agent here, until Ctrl-C: in a cluster, or with a kubeconfig.

    Reads the variables that its pod has (RSSI_DATA_BUCKET, RSSI_QUEUE_URL, ...); without any, it
    looks everything up in the stack of RSSI_STAGE.
    """
    from ops.account.agent import RunnerOptions, run_agent

    run_agent(RunnerOptions(runner, pod_template, namespace), stage())


@app.command(rich_help_panel=PANEL)
def doctor(as_json: AsJson = False) -> None:
    """Check whether the on-prem agent has all that it needs, and say how to mend what it lacks."""
    from ops.account.doctor import CheckStatus, check_agent

    results = []
    for result in check_agent(stage()):
        results.append(result)
        _print_check(err if as_json else out, result)
    if as_json:
        print_json(results)
    missing = sum(result.health is CheckStatus.MISSING for result in results)
    if missing:
        raise OpsError(f"{missing} of {len(results)} things that the agent needs are missing.")


def _print_check(console: "Console", result: "CheckResult") -> None:
    """Print one check of the agent, and how to mend what is not good."""
    from ops.account.doctor import CheckStatus

    mark, style = {
        CheckStatus.GOOD: ("ok", "green"),
        CheckStatus.DOUBTFUL: ("but", "yellow"),
        CheckStatus.MISSING: ("no", "red"),
    }[result.health]
    console.print(f"[{style}]{mark:>3}[/] [bold]{result.what}[/]", end="  ")
    console.print(result.seen, markup=False, highlight=False)
    if result.mend:
        console.print(f"    to mend it: {result.mend}", markup=False, highlight=False)
