"""Reads a file as blocks of whole lines, so that a large file is never in memory at once.

Unknown encodings, bytes that are no text and endless lines are refused, with their position.
"""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from trainer.training.errors import BadSurvey

BLOCK_BYTES = 4 * 1024 * 1024
"""About 50,000 rows of 13 beacons: enough for Polars to be fast, and small in memory."""
MAX_LINE_BYTES = 64 * 1024 * 1024

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


@dataclass(frozen=True, slots=True)
class LineBlock:
    r"""Some lines of a file in UTF-8; each ends with ``\n``, except perhaps the file's last."""

    line: int
    """The number in the file, from 1, of the block's first line."""
    content: bytes


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """A text file, to be read once."""

    encoding: str
    blocks: Iterator[LineBlock]


def read_blocks(source: Path | bytes, size: int = BLOCK_BYTES) -> DecodedFile:
    """Open a file; its blocks are read on demand.

    Args:
        source: the file, or its content.
        size: bytes to read at once.

    Raises:
        BadSurvey: the file is no text in a known encoding; often raised only by its blocks.
        OSError: the file can't be read.
    """
    pieces = _pieces(source, size)
    first = next(pieces, b"")
    mark = next((mark for mark in _BYTE_ORDER_MARKS if first.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS.get(mark, "utf-8")
    pieces = chain([first[len(mark) :]], pieces)
    if encoding != "utf-8":
        pieces = _pieces(_as_utf8(b"".join(pieces), encoding), size)
    return DecodedFile(encoding, _checked(_whole_lines(pieces)))


def _pieces(source: Path | bytes, size: int) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), size):
            yield source[start : start + size]
        return
    with source.open("rb") as file:
        while piece := file.read(size):
            yield piece


def _as_utf8(content: bytes, encoding: str) -> bytes:
    try:
        return content.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise _not_text(error.start) from error


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        buffered = rest + piece
        end = _last_line_end(buffered)
        if end:
            yield buffered[:end]
        rest = buffered[end:]
        if len(rest) > MAX_LINE_BYTES:
            raise BadSurvey(
                f"A line has more than {MAX_LINE_BYTES} bytes, so this is no table of "
                "fingerprints: export it as CSV again."
            )
    if rest:
        yield rest


def _last_line_end(buffered: bytes) -> int:
    r"""Where the last whole line ends; a final ``\r`` may be half of a ``\r\n``."""
    return buffered.rfind(b"\n") + 1 or buffered.rfind(b"\r", 0, -1) + 1


def _checked(blocks: Iterable[bytes]) -> Iterator[LineBlock]:
    line, offset = 1, 0
    for raw in blocks:
        _check_text(raw, offset)
        offset += len(raw)
        content = raw
        if b"\r" in raw:
            content = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield LineBlock(line, content)
        # Faster than bytes.count.
        line += int(np.count_nonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n")))


def _check_text(content: bytes, offset: int) -> None:
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise _not_text(offset + error.start) from error
    if b"\0" in content:
        raise BadSurvey("The file holds NUL characters, so it is no text: export it as CSV again.")


def _not_text(byte: int) -> BadSurvey:
    return BadSurvey(
        f"The file is neither UTF-8 nor UTF-16 with a byte-order mark (byte {byte} does not fit): "
        "save it as CSV in UTF-8."
    )
