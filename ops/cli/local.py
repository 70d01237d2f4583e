"""Commands that need no cloud account: up, demo."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ops.cli.options import AsJson, OnlySite, Port
from ops.cli.output import out, print_json
from ops.cli.stack import open_stack
from ops.errors import OpsError, UsageError
from ops.local.faults.kinds import CONTAINER_FAULTS, FaultType

if TYPE_CHECKING:
    from ops.local_stack import LocalStack

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "On this machine"
POLL_S = 0.5


@app.command(rich_help_panel=PANEL)
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A CSV of labelled fingerprints; generated if not given.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--out", help="Where summary.json and report.html go.")
    ] = Path("out/demo"),
    as_json: AsJson = False,
) -> None:
    """Show the whole way on this machine, in six acts, and check each.

    Drop a survey and get a live endpoint; drop another and roll without a failed request; a broken
    survey is quarantined; a release that answers wrongly is rolled back; the first is put back.
    """
    from ops.demo.run import run_demo

    summary = run_demo(Console(stderr=True) if as_json else out, data, output)
    if as_json:
        print_json(summary)
    if not summary.ok:
        sys.exit(1)


@app.command(rich_help_panel=PANEL)
def up(
    port: Port = 0,
    agent: Annotated[bool, typer.Option(help="Also run an agent that trains surveys here.")] = True,
    folder: Annotated[
        Path | None, typer.Option(help="For logs and runs; a temporary folder if not given.")
    ] = None,
) -> None:
    """Start the embedded cloud with the stack in it, in the foreground until Ctrl-C.

    Everything listens on this machine only and is gone when it ends.
    """
    from ops.local_stack import LocalStack, end_on_signals

    end_on_signals()
    try:
        with LocalStack(port=port, with_agent=agent, folder=folder, report=out.print) as stack:
            _print_usage(stack)
            while (dead := stack.dead_part()) is None:
                time.sleep(POLL_S)
            raise OpsError(f"{dead}\nEverything else was stopped.")
    except KeyboardInterrupt:
        out.print("\nstopped")


@app.command(rich_help_panel=PANEL)
def fault(
    kind: Annotated[
        FaultType | None, typer.Argument(help="What goes wrong; without it, list the faults.")
    ] = None,
    site: OnlySite = None,
    live: Annotated[
        bool, typer.Option(help="In the release that serves now, not in the next one.")
    ] = False,
    operation: Annotated[
        list[str] | None,
        typer.Option(help="Call that is refused, such as UpdateEndpoint; may be repeated."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How much slower, for `slow`.", min=0.01)] = 3.0,
    times: Annotated[
        int | None, typer.Option(help="Over after so many refused calls or starts.", min=1)
    ] = None,
    clear: Annotated[bool, typer.Option(help="End the site's faults, or all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let something go wrong in the embedded cloud, to see what comes of it.

    `hang`, `slow`, `crash`, `no-start`, `wrong`, `wrong-half` and `wrong-tenth` (of the answers)
    hold for the site's next release, or with `--live` for the present one, also when that release
    is put back. `capacity` lets a rollout fail; `quota`, `throttling` and `access-denied` let calls
    fail. Each holds until `--clear`.
    """
    from ops.local.errors import LocalCloudError
    from ops.local.faults.active import FaultRequest
    from ops.local.faults.client import FaultClient

    if kind and clear:
        raise UsageError("Give a fault to set, or --clear, not both.")
    if kind and not site:
        raise UsageError(f"Say at which site: rssi fault --site SITE {kind}.")
    try:
        client = FaultClient(os.environ.get("AWS_ENDPOINT_URL"))
        endpoint = open_stack(site).endpoint_name(site) if site else None
        if kind:
            fields: dict[str, Any] = {"kind": kind, "endpoint_name": endpoint, "live": live}
            fields |= {"seconds": seconds, "times": times}
            fields |= {"operations": operation} if operation else {}
            client.set(FaultRequest.model_validate(fields))
        ended = client.clear(endpoint) if clear else None
        active = client.active()
    except LocalCloudError as error:
        raise OpsError(str(error)) from error
    if as_json:
        print_json({"cleared": ended, "faults": active})
    else:
        _print_faults(ended, active)


def _print_faults(ended: int | None, active: list[dict[str, Any]]) -> None:
    if ended is not None:
        out.print(f"{ended} fault(s) ended.")
    for each in active:
        of_containers = each["Kind"] in CONTAINER_FAULTS
        calls = "rollouts" if each["Kind"] == FaultType.CAPACITY else ", ".join(each["Operations"])
        release = each["EndpointConfigName"] or "the next release"
        out.print(
            f"{each['Kind']} at {each['EndpointName']}: {release if of_containers else calls}"
        )
    if not active:
        out.print("No fault holds.")


def _print_usage(stack: "LocalStack") -> None:
    out.print(f"\nThe embedded cloud listens on {stack.address}; in another terminal:\n")
    for name, value in stack.environment.items():
        # For pasting: no wrapping, no colours.
        out.print(f"export {name}={value}", soft_wrap=True, highlight=False, markup=False)
    out.print(
        "\nrssi drop --site lab FILE.csv --wait, rssi status, rssi events --follow, "
        f"rssi rollback --site lab.\nLogs are in {stack.folder}. Ctrl-C stops everything.\n",
        soft_wrap=True,
        highlight=False,
    )
