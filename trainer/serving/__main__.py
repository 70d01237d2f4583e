"""``python -m trainer.serving serve``: what the container runs.

Exit codes: 0 after a graceful shutdown, 1 if the address can't be listened on, 2 for wrong
arguments or settings. A model that can't be served is no reason to exit: ``/ping`` answers 503 and
says why.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from trainer.serving.settings import ServingSettings, read_settings


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    try:
        settings = read_settings(os.environ)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options = _parser(settings).parse_args(arguments)
    # numpy reads it at import; products this small are fastest on one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from trainer.serving.http.server import run  # noqa: PLC0415 - after the line above

    settings = replace(
        settings,
        model=options.model,
        host=options.host,
        port=options.port,
        workers=options.workers,
    )
    try:
        return run(settings)
    except OSError as error:
        sys.stderr.write(f"Can't listen on {options.host} port {options.port}: {error.strerror}.\n")
        return 1


def _parser(settings: ServingSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.serving")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="answer /ping and /invocations")
    serve.add_argument("--model", type=Path, default=settings.model)
    serve.add_argument("--host", default=settings.host)
    serve.add_argument("--port", type=int, default=settings.port)
    serve.add_argument("--workers", type=_at_least_one, default=settings.workers)
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one worker is needed")
    return number


if __name__ == "__main__":
    sys.exit(main())
