"""From an npy body to fingerprints.

numpy's own reader allocates what the header claims before it reads the data, and the header comes
from an untrusted client: here the shape has to fit the body's size first. Pickles are never opened.
"""

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np

from trainer.localization.errors import BadReadings
from trainer.localization.readings import Floats

_MAX_HEADER = 10_000
_VERSION = 6
"""Its offset, after the magic bytes; the length of the rest of the header follows it."""

# numpy's own module for its format has no types.
_format: Any = np.lib.format


def parse_npy(body: bytes, width: int) -> Floats:
    """Read a matrix of dBm in the model's order of beacons; a vector is one row.

    Args:
        body: the request's.
        width: how many beacons the model has.

    Returns:
        (rows, width) as sent; whether they are RSSI is not checked yet.

    Raises:
        BadReadings: it is no such array; the message says why.
    """
    head = body[: _head_bytes(body)]
    try:
        shape, by_columns, dtype = _parsed_header(head)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise BadReadings(f"The body is no npy file of version 1 or 2: {error}.") from error
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise BadReadings(f"The array holds {dtype}: send numbers of up to 64 bits, dBm.")
    if len(shape) not in {1, 2} or shape[-1] != width or 0 in shape:
        raise BadReadings(
            f"The array has the shape {shape}: send (rows, {width}), one column for each of the "
            "model's beacons in its order, and one row at least."
        )
    received, expected = len(body) - len(head), math.prod(shape) * dtype.itemsize
    if received != expected:
        raise BadReadings(
            f"The header promises {expected} bytes and {received} came: the body was cut short or "
            "is no single array."
        )
    flat = np.frombuffer(body, dtype=dtype, offset=len(head))
    matrix = flat.reshape(shape, order="F" if by_columns else "C").reshape(-1, width)
    return matrix if dtype == np.float32 and matrix.flags.aligned else matrix.astype(np.float64)


def _head_bytes(body: bytes) -> int:
    """The length of the header as it states it, up to a limit."""
    length = 4 if body[_VERSION : _VERSION + 1] == b"\x02" else 2
    start = _VERSION + 2 + length
    return min(start + int.from_bytes(body[start - length : start], "little"), _MAX_HEADER)


# numpy parses a header as Python, which takes longer than reading the rows of most requests; those
# of one client are mostly equal.
@lru_cache(maxsize=64)
def _parsed_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(head)
    read_header = {
        (1, 0): _format.read_array_header_1_0,
        (2, 0): _format.read_array_header_2_0,
    }[_format.read_magic(stream)]
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read_header(
        stream, max_header_size=_MAX_HEADER
    )
    return header
