"""Commands that need no cloud account: up, demo."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ops.cli.options import AsJson, Port
from ops.cli.output import out, print_json
from ops.errors import OpsError

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
    """Show the whole way on this machine, in five acts, and check each.

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
