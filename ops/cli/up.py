"""`rssi up`: the embedded cloud in the foreground, until Ctrl-C or SIGTERM."""

import time
from pathlib import Path

from rich.console import Console

from ops.errors import OpsError
from ops.local_stack import LocalStack, end_on_signals

LOOK_EVERY_S = 0.5


def run(console: Console, *, port: int, with_agent: bool, folder: Path | None) -> None:
    """Start everything, say how to use it, and wait.

    Raises:
        OpsError: a part did not start, or ended by itself.
    """
    end_on_signals()
    try:
        with LocalStack(
            port=port, with_agent=with_agent, folder=folder, say=console.print
        ) as stack:
            _say_how_to_use(console, stack)
            while (dead := stack.dead_part()) is None:
                time.sleep(LOOK_EVERY_S)
            raise OpsError(f"{dead}\nEverything else was stopped.")
    except KeyboardInterrupt:
        console.print("\nstopped")


def _say_how_to_use(console: Console, stack: LocalStack) -> None:
    console.print(f"\nThe embedded cloud listens on {stack.address}; in another terminal:\n")
    for name, value in stack.environment.items():
        # For pasting: no wrapping, no colours.
        console.print(f"export {name}={value}", soft_wrap=True, highlight=False, markup=False)
    console.print(
        "\nrssi drop --site lab FILE.csv --wait, rssi status, rssi events --follow, "
        f"rssi rollback --site lab.\nLogs are in {stack.folder}. Ctrl-C stops everything.\n",
        soft_wrap=True,
        highlight=False,
    )
