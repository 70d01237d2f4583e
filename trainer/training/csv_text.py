"""From a file's bytes to a table of numbers, with the line that each row began on.

Two readers give the same table: the standard library's, which takes every CSV and can say what is
wrong with it, and Polars for large plain files, which hands over to the first at anything odd.
What may go wrong: encodings, ragged rows, one endless field, text among numbers.
"""

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import number_in
from trainer.training.errors import BadSurvey

DELIMITERS = ",;\t"
MAX_FIELD_CHARACTERS = 64 * 1024
MAX_HEADER_CHARACTERS = 4 * 1024 * 1024
POLARS_FROM_BYTES = 4 * 1024 * 1024
"""Below it the standard library is done before Polars would be imported (0.3 s)."""

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: the columns' names, stripped, and what stands between them."""

    names: tuple[str, ...]
    delimiter: str


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rows of a survey."""

    locations: list[str] | None
    """As written; None if no column was asked for."""
    numbers: Numbers
    """(rows, columns asked for), NaN where a field says that there is none."""
    lines: npt.NDArray[np.intp]
    """(rows,) the line of the file, from 1, that each row begins on."""


def decode(content: bytes) -> str:
    r"""The file's text with ``\n`` between lines.

    Raises:
        BadSurvey: it is empty or no text in a known encoding.
    """
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    try:
        text = content[len(mark) :].decode(_BYTE_ORDER_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        raise BadSurvey(
            f"The file is neither UTF-8 nor UTF-16 with a byte-order mark (byte {error.start} does "
            "not fit): save it as CSV in UTF-8."
        ) from error
    if not text.strip():
        raise BadSurvey("The file is empty: upload a CSV with a header line and labelled rows.")
    if "\0" in text:
        raise BadSurvey("The file holds NUL characters, so it is no text: export it as CSV again.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_header(text: str) -> Header:
    """The columns' names; the delimiter is the one that gives the most of them.

    Raises:
        BadSurvey: the first line can't be read.
    """
    # A copy of the whole file for every delimiter would cost more than reading it.
    beginning = text[:MAX_HEADER_CHARACTERS]
    delimiter = max(DELIMITERS, key=lambda candidate: len(_first_row(beginning, candidate)))
    names = tuple(name.strip() for name in _first_row(beginning, delimiter))
    return Header(names=names, delimiter=delimiter)


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return next(
            (row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)), []
        )
    except csv.Error as error:
        raise BadSurvey(f"The header line can't be read as CSV: {error}.") from error


def read_table(text: str, header: Header, location: int | None, numeric: Sequence[int]) -> Table:
    """The rows below the header.

    Args:
        text: from :func:`decode`.
        header: from :func:`read_header`.
        location: the place of the column that is read as text.
        numeric: the places of the columns that are read as numbers; the others are read over.

    Raises:
        BadSurvey: there are no rows, or one is ragged, endless or has text among its numbers.
    """
    table = None
    if len(text) >= POLARS_FROM_BYTES:
        from trainer.training.csv_polars import read_plain  # noqa: PLC0415 - a slow import

        table = read_plain(text, header, location, numeric)
    return table or read_any(text, header, location, numeric)


def read_any(text: str, header: Header, location: int | None, numeric: Sequence[int]) -> Table:
    """:func:`read_table` for every CSV, by the standard library."""
    rows, lines = _rows(text, header)
    if not rows:
        raise BadSurvey("The file has a header line and no rows below it.")
    fields = list(zip(*rows, strict=True))
    numbers = np.empty((len(rows), len(numeric)), dtype=np.float64)
    for place, column in enumerate(numeric):
        numbers[:, place] = _numbers(fields[column], header.names[column], lines)
    return Table(
        locations=None if location is None else list(fields[location]),
        numbers=numbers,
        lines=np.array(lines, dtype=np.intp),
    )


def _rows(text: str, header: Header) -> tuple[list[list[str]], list[int]]:
    """Every row that is not blank and the line that it begins on, without the header."""
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text), delimiter=header.delimiter)
    begun = 1
    try:
        for row in reader:
            if any(row) or len(row) > 1:
                _check_row(row, begun, len(header.names))
                rows.append(row)
                lines.append(begun)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise BadSurvey(f"Line {begun} can't be read as CSV: {error}.") from error
    return rows[1:], lines[1:]


def _check_row(row: Sequence[str], line: int, width: int) -> None:
    longest = max(map(len, row))
    if longest > MAX_FIELD_CHARACTERS:
        raise BadSurvey(
            f"Line {line} has a field of {longest} characters: is a quotation mark left open?"
        )
    if len(row) != width:
        raise BadSurvey(
            f"Line {line} has {len(row)} fields, and the header names {width} columns: a row was "
            "cut short, or a delimiter is missing or too many."
        )


def _numbers(fields: Sequence[str], column: str, lines: Sequence[int]) -> list[float]:
    # A column of dBm has few distinct words, so each is looked at once.
    values = {field: number_in(field) for field in set(fields)}
    if None in values.values():
        row = next(row for row, field in enumerate(fields) if values[field] is None)
        raise BadSurvey(
            f"Line {lines[row]}, column {column!r}: {fields[row][:40]!r} is no number. Every "
            "column but location, x, y and the time is taken for a beacon and has to hold dBm."
        )
    return [values[field] for field in fields]  # type: ignore[misc]  # None was refused above
