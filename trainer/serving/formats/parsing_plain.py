"""From a JSON body of nothing but lists of numbers to a matrix, without an object for each number.

Most large bodies are such. Any other body is left to the general parser, which explains errors.
"""

import threading
from codecs import BOM_UTF8
from collections.abc import Sequence

import numpy as np
import simdjson

from trainer.localization.readings import FloatMatrix, all_plain

_WORTH_BYTES = 1024
"""Below, the general parser takes no longer."""
_MOST_BYTES = 128 * 1024
"""A parser keeps memory of some ten times the largest body it ever read."""

_MARKS = b'",[]'
_ALL_BUT_MARKS = bytes(set(range(256)).difference(_MARKS))


class _ThreadLocalParser(threading.local):
    """One for each thread: a parser can't start before its last document is released."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_own = _ThreadLocalParser()


def parse_plain(body: bytes, beacons: Sequence[str]) -> FloatMatrix | None:
    """Read ``{"instances": [[...], ...]}`` of plain readings.

    Args:
        body: the request's.
        beacons: the model's, in order.

    Returns:
        (rows, beacons) dBm from -200 to below 0; None if the body is too short, too large, or
        anything but that.
    """
    # simdjson skips a byte order mark, which RFC 8259, 8.1 forbids and orjson refuses.
    if not _WORTH_BYTES < len(body) <= _MOST_BYTES or body.startswith(BOM_UTF8):
        return None
    rows = _rows(body, len(beacons))
    if not rows:
        return None
    try:
        document = _own.parser.parse(body)
        instances = document["instances"] if isinstance(document, simdjson.Object) else None
        if not isinstance(instances, simdjson.Array):
            return None
        numbers = np.frombuffer(instances.as_buffer(of_type="d"), dtype=np.float64)
    except (ValueError, KeyError, TypeError, RuntimeError):
        return None
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    if len(values) != rows * len(beacons) or not all_plain(values):
        return None
    return values.reshape(rows, len(beacons))


def _rows(body: bytes, width: int) -> int:
    """How many lists of ``width`` the body has, if it is one list of them under one key; else 0."""
    skeleton = body.translate(None, _ALL_BUT_MARKS)
    rows = skeleton.count(b"]") - 1
    row = b"[" + b"," * (width - 1) + b"]"
    return rows if skeleton == b'""[' + (row + b",") * (rows - 1) + row + b"]" else 0
