"""Where commands print, and how: `out` for results, `err` for errors and progress."""

import json
import sys
from collections.abc import Sequence

from pydantic import BaseModel
from rich.console import Console

WIDE = 200
"""Columns without a terminal: a file or a pipe gets whole ids in one line."""
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True)


def print_json(value: object) -> None:
    """Print a value, models included, as JSON on standard output."""
    sys.stdout.write(json.dumps(_plain(value), indent=2) + "\n")


def print_error(sentence: str) -> None:
    """Print one sentence in red on standard error."""
    err.print(f"rssi: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
