"""From a file's bytes to a table of numbers, with the line that each row began on.

Two readers give the same table: the standard library's, which takes every CSV and can say what is
wrong with it, and Polars for large plain files, which hands over to the first at anything odd.
What may go wrong: encodings, ragged rows, one endless field, text among numbers.
"""

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import number_in
from trainer.training.errors import BadSurvey
from trainer.training.faults import FaultKind, RowFault

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
    times: list[str] | None = None
    """As written; None if no column was asked for."""
    faults: tuple[RowFault, ...] = ()
    """Rows that can't be read; they are not among the others."""

    def without(self, faults: Sequence[RowFault]) -> "Table":
        """The same table without the rows of more faults."""
        if not faults:
            return self
        kept = ~np.isin(self.lines, [fault.line for fault in faults])
        return Table(
            locations=_kept(self.locations, kept),
            numbers=self.numbers[kept],
            lines=self.lines[kept],
            times=_kept(self.times, kept),
            faults=(*self.faults, *faults),
        )


def _kept(words: list[str] | None, kept: npt.NDArray[np.bool_]) -> list[str] | None:
    return None if words is None else list(compress(words, kept.tolist()))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The places of the columns that are read; the others are read over."""

    location: int | None
    numeric: tuple[int, ...]
    time: int | None = None


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


def encoding_of(content: bytes) -> str:
    """What :func:`decode` takes the file for."""
    return next(
        (name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8"
    )


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


def read_table(text: str, header: Header, wanted: Wanted) -> Table:
    """The rows below the header.

    Args:
        text: from :func:`decode`.
        header: from :func:`read_header`.
        wanted: which columns to read, and as what.

    Raises:
        BadSurvey: there are no rows, or one has no end.
    """
    table = None
    if len(text) >= POLARS_FROM_BYTES:
        from trainer.training.csv_polars import read_plain  # noqa: PLC0415 - a slow import

        # So many distinct times are not told apart anyway (trainer.training.times).
        table = read_plain(text, header, replace(wanted, time=None))
    return table or read_any(text, header, wanted)


def read_any(text: str, header: Header, wanted: Wanted) -> Table:
    """:func:`read_table` for every CSV, by the standard library."""
    rows, lines, ragged = _rows(text, header)
    if not rows and not ragged:
        raise BadSurvey("The file has a header line and no rows below it.")
    fields = list(zip(*rows, strict=True)) or [()] * len(header.names)
    numbers = np.empty((len(rows), len(wanted.numeric)), dtype=np.float64)
    faults: dict[int, RowFault] = {}
    for place, column in enumerate(wanted.numeric):
        numbers[:, place] = _numbers(fields[column], header.names[column], lines, faults)
    table = Table(
        locations=None if wanted.location is None else list(fields[wanted.location]),
        numbers=numbers,
        lines=np.array(lines, dtype=np.intp),
        times=None if wanted.time is None else list(fields[wanted.time]),
        faults=tuple(ragged),
    )
    return table.without([faults[line] for line in sorted(faults)])


def _rows(text: str, header: Header) -> tuple[list[list[str]], list[int], list[RowFault]]:
    """Every whole row that is not blank, the line that it begins on, and the ragged rows."""
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: list[RowFault] = []
    reader = csv.reader(io.StringIO(text), delimiter=header.delimiter)
    begun, headed = 1, False
    try:
        for row in reader:
            if any(row) or len(row) > 1:
                _check_ends(row, begun)
                if headed and len(row) != len(header.names):
                    ragged.append(_ragged(row, begun, reader.line_num - begun + 1, header))
                elif headed:
                    rows.append(row)
                    lines.append(begun)
                headed = True
            begun = reader.line_num + 1
    except csv.Error as error:
        raise BadSurvey(f"Line {begun} can't be read as CSV: {error}.") from error
    return rows, lines, ragged


def _check_ends(row: Sequence[str], line: int) -> None:
    longest = max(map(len, row))
    if longest > MAX_FIELD_CHARACTERS:
        raise BadSurvey(
            f"Line {line} has a field of {longest} characters: is a quotation mark left open?"
        )


def _ragged(row: Sequence[str], line: int, lines: int, header: Header) -> RowFault:
    return RowFault(
        line,
        FaultKind.RAGGED,
        f"Line {line} has {len(row)} fields, and the header names {len(header.names)} columns: a "
        "row was cut short, or a delimiter is missing or too many.",
        lines,
    )


def _numbers(
    fields: Sequence[str], column: str, lines: Sequence[int], faults: dict[int, RowFault]
) -> list[float]:
    """The numbers of a column; NaN where there is none, with a fault if there is text instead."""
    # A column of dBm has few distinct words, so each is looked at once.
    values = {field: number_in(field) for field in set(fields)}
    words = {field for field, value in values.items() if value is None}
    if not words:
        return [values[field] for field in fields]  # type: ignore[misc]  # None was ruled out
    if len(fields) > 1 and len(words) == len(values):
        raise BadSurvey(
            f"Line {lines[0]}, column {column!r}: {fields[0][:40]!r} is no number, nor is anything "
            "else in this column. If it holds no dBm, remove it or name it under ignored_columns "
            "in site.json."
        )
    for field, line in zip(fields, lines, strict=True):
        if field in words:
            faults.setdefault(line, _no_number(field, column, line))
    return [np.nan if values[field] is None else values[field] for field in fields]  # type: ignore[misc]  # as above


def _no_number(field: str, column: str, line: int) -> RowFault:
    return RowFault(
        line,
        FaultKind.NO_NUMBER,
        f"Line {line}, column {column!r}: {field[:40]!r} is no number. Every column but location, "
        "x, y and the time is taken for a beacon and has to hold dBm.",
    )
