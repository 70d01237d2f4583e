"""The command `rssi`: all groups of commands in one application, and the edge where errors end.

An error becomes a sentence on standard error and an exit code (see `ops.errors`), no traceback.
"""

import os
import sys

import typer
from typer.core import TyperGroup

from ops.cli import agent, data, decide, local, model, release, tune
from ops.cli.output import err, print_error
from ops.errors import OpsError


class CommandGroup(TyperGroup):
    """Commands of one level; still takes `tune --site`, which has become `tune-site`."""

    def resolve_command(self, ctx: typer.Context, args: list[str]):  # type: ignore[no-untyped-def,override]
        """Find the command that the arguments name."""
        if args[:1] == ["tune"] and any(word.split("=")[0] == "--site" for word in args):
            err.print("rssi tune --site is now called rssi tune-site.", style="dim")
            args = ["tune-site", *args[1:]]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="rssi",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Keeps an indoor-localization model in production fresh.

    On this machine, without any cloud: `rssi demo` shows the whole way; `rssi up` starts the
    embedded cloud and an agent. Then, in another terminal, with the exports that `rssi up` printed:

    `rssi drop --site lab survey.csv --wait`, `rssi status`, `rssi rollback --site lab`,
    `rssi predict --site lab --rssi b3001=-70`.

    Without AWS_ENDPOINT_URL the same commands talk to the AWS account of your credentials.""",
)
for group in (local, data, release, decide, model, tune, agent):
    app.add_typer(group.app)


def main() -> None:
    """Run the command line; the process's outermost edge."""
    try:
        app(standalone_mode=True)
    except OpsError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("RSSI_DEBUG"):
            raise
        print_error(
            f"{type(error).__name__}: {error}. This is a bug; set RSSI_DEBUG=1 and repeat the "
            "command to see where it comes from."
        )
        sys.exit(1)
