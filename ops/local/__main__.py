"""``python -m ops.local serve --assembly cdk.out``: an embedded cloud as a process of its own.

Once ready it writes one JSON line to standard output, with its address and the environment for its
clients. It runs until SIGTERM, SIGINT or the end of standard input, so it ends with its parent.

Exit status: 0 stopped on request; 1 the assembly was refused; 2 the arguments are wrong.
"""

import argparse
import json
import logging
import os
import select
import shlex
import signal
import sys
from pathlib import Path

from ops.local.cloud import EmbeddedCloud
from ops.local.errors import LocalCloudError
from ops.local.settings import CloudSettings


def main(arguments: list[str] | None = None) -> int:
    """Run the cloud; returns the exit status."""
    options = _options(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    stop_requested = _stop_requested()
    settings = CloudSettings(
        port=options.port,
        logs_directory=options.logs,
        default_serving_command=options.serving_command,
    )
    try:
        with EmbeddedCloud(settings) as cloud:
            outputs = dict(cloud.deploy(options.assembly).outputs) if options.assembly else {}
            ready = {
                "address": cloud.address,
                "environment": cloud.environment(),
                "outputs": outputs,
            }
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
            _wait(stop_requested, until_input_ends=options.until_input_ends)
    except LocalCloudError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run an embedded cloud until it is stopped")
    serve.add_argument("--assembly", type=Path, help="a cdk.out directory to deploy")
    serve.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0: a free one")
    serve.add_argument("--logs", type=Path, help="directory for the output of functions")
    serve.add_argument(
        "--serving-command",
        type=shlex.split,
        help="the command that stands for every container image, quoted as for a shell; {model} in "
        "it is the model's directory",
    )
    serve.add_argument(
        "--ignore-input",
        dest="until_input_ends",
        action="store_false",
        help="keep running when standard input ends",
    )
    return parser.parse_args(arguments)


def _stop_requested() -> int:
    """A file descriptor that becomes readable when a signal requests this process to stop."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reading


def _wait(stop_requested: int, *, until_input_ends: bool) -> None:
    sources = [stop_requested, sys.stdin.fileno()] if until_input_ends else [stop_requested]
    while True:
        readable, _, _ = select.select(sources, [], [])
        if stop_requested in readable or not os.read(readable[0], 4096):
            return


if __name__ == "__main__":
    sys.exit(main())
