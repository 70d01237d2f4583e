"""Parses any CSV with the standard library, and says what is wrong with a row that is not usable.

Hazards: rows of the wrong length, one endless field, text among numbers.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np

from trainer.localization.readings import number_in
from trainer.training.errors import BadSurvey
from trainer.training.reading.formats.csv_blocks import LineBlock
from trainer.training.reading.formats.port import (
    CategoricalColumn,
    ColumnSelection,
    NonNumericColumns,
    RowBatch,
)
from trainer.training.reading.row_faults import FaultKind, RowFault
from trainer.training.reading.times import time_column

DELIMITERS = ",;\t|"
COMMENT = "#"
"""How a line begins that is none of the table."""
MAX_FIELD_CHARACTERS = 64 * 1024
MAX_HEADER_CHARACTERS = 4 * 1024 * 1024
BATCH_ROWS = 50_000

_SAMPLE_ROWS = 50
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+", re.ASCII)
_DECIMAL_POINT = re.compile(r"[+-]?[0-9]+\.[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The first line: the columns' names, without surrounding blanks, and the delimiter."""

    names: tuple[str, ...]
    delimiter: str
    decimal: str = "."
    """The decimal mark of the rows."""
    merges_blanks: bool = False
    """Whether a run of blanks is one delimiter."""


def read_header(text: str, delimiter: str | None = None, decimal: str | None = None) -> CsvHeader:
    """Read the columns' names; the delimiter is the one that yields most of them.

    Blanks are one only where no other yields a second name. The decimal mark is a comma if there
    are numbers with one and none with a point among the first rows, and it is no delimiter.

    Args:
        text: the file, or a beginning that includes its first row.
        delimiter: between the columns, if it is known.
        decimal: the decimal mark, if it is known.

    Raises:
        BadSurvey: the first line can't be read.
    """
    # Copying a whole block for every delimiter would cost more than reading it.
    beginning = text[:MAX_HEADER_CHARACTERS]
    if delimiter is None:
        columns = {mark: len(_first_row(beginning, CsvHeader((), mark))) for mark in DELIMITERS}
        delimiter = max(DELIMITERS, key=columns.__getitem__)
        if columns[delimiter] == 1:
            delimiter = " "
    merges_blanks = delimiter == " " and not _is_even(beginning)
    header = CsvHeader((), delimiter, decimal or ".", merges_blanks)
    names = tuple(name.strip() for name in _first_row(beginning, header))
    header = replace(header, names=names)
    return header if decimal else replace(header, decimal=_decimal_mark(beginning, header))


def _is_even(text: str) -> bool:
    """Whether single blanks give all of the first rows the same number of fields."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(COMMENT)]
    return len({line.count(" ") for line in lines[:_SAMPLE_ROWS]}) == 1


def _decimal_mark(text: str, header: CsvHeader) -> str:
    if header.delimiter == ",":
        return "."
    try:
        rows = list(islice(_rows_of(io.StringIO(text), header), 1, 1 + _SAMPLE_ROWS))
    except csv.Error:  # the parser of the rows says where
        return "."
    fields = [field.strip() for row in rows for field in row]
    with_comma = any(_DECIMAL_COMMA.fullmatch(field) for field in fields)
    with_point = any(_DECIMAL_POINT.fullmatch(field) for field in fields)
    return "," if with_comma and not with_point else "."


def _first_row(text: str, header: CsvHeader) -> list[str]:
    try:
        return next((row for row in _rows_of(io.StringIO(text), header) if any(row)), [])
    except csv.Error as error:
        raise BadSurvey(f"The header line can't be read as CSV: {error}.") from error


def _rows_of(lines: Iterable[str], header: CsvHeader) -> Any:
    """The standard library's reader, which has no public type; comment lines are blank."""
    text = ("\n" if line.startswith(COMMENT) else line for line in lines)
    if header.merges_blanks:
        text = (line.strip(" ") for line in text)
    return csv.reader(text, delimiter=header.delimiter, skipinitialspace=header.merges_blanks)


def parse_any(
    blocks: Iterator[LineBlock],
    header: CsvHeader,
    selection: ColumnSelection,
    *,
    has_header: bool = True,
) -> Iterator[RowBatch]:
    """Parse the rows of any CSV.

    Args:
        blocks: consecutive blocks of one file.
        header: of the file.
        selection: the columns to read.
        has_header: whether the first row is the header, which is skipped.

    Raises:
        BadSurvey: a row has no end.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: list[RowFault] = []
    for row, line, line_count in text_rows(blocks, header, has_header=has_header):
        if len(row) != len(header.names):
            ragged.append(_ragged(row, line, line_count, header))
        else:
            rows.append(row)
            lines.append(line)
        if len(rows) + len(ragged) >= BATCH_ROWS:
            yield _batch(rows, lines, ragged, header, selection)
            rows, lines, ragged = [], [], []
    if rows or ragged:
        yield _batch(rows, lines, ragged, header, selection)


def text_rows(
    blocks: Iterator[LineBlock], header: CsvHeader, *, has_header: bool = True
) -> Iterator[tuple[list[str], int, int]]:
    """Every row that is not blank, the line on which it begins and its number of lines."""
    first = next(blocks, None)
    if first is None:
        return
    reader = _rows_of(_lines(chain([first], blocks)), header)
    line, lines_before = first.line, first.line - 1
    try:
        for row in reader:
            if any(row) or len(row) > 1:
                _check_lengths(row, line)
                if not has_header:
                    yield row, line, lines_before + reader.line_num - line + 1
                has_header = False
            line = lines_before + reader.line_num + 1
    except csv.Error as error:
        raise BadSurvey(f"Line {line} can't be read as CSV: {error}.") from error


def _lines(blocks: Iterable[LineBlock]) -> Iterator[str]:
    for block in blocks:
        yield from io.StringIO(block.content.decode())


def _check_lengths(row: Sequence[str], line: int) -> None:
    longest = max(map(len, row))
    if longest > MAX_FIELD_CHARACTERS:
        raise BadSurvey(
            f"Line {line} has a field of {longest} characters: is a quotation mark left open?"
        )


def _ragged(row: Sequence[str], line: int, line_count: int, header: CsvHeader) -> RowFault:
    return RowFault(
        line,
        FaultKind.RAGGED,
        f"Line {line} has {len(row)} fields, and the header names {len(header.names)} columns: a "
        "row was cut short, or a delimiter is missing or too many.",
        line_count,
    )


def _batch(
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
    ragged: Sequence[RowFault],
    header: CsvHeader,
    selection: ColumnSelection,
) -> RowBatch:
    fields = list(zip(*rows, strict=True)) or [()] * len(header.names)
    numbers = np.empty((len(rows), len(selection.numeric)), dtype=np.float64)
    faults: dict[int, RowFault] = {}
    non_numeric: NonNumericColumns = {}
    for index, column in enumerate(selection.numeric):
        values, words = _numbers(fields[column], header.decimal)
        numbers[:, index] = values
        if words:
            _add_faults(words, fields[column], header.names[column], lines, faults)
        if words and np.isnan(values).all():
            word = next(field for field in fields[column] if field in words)
            non_numeric[column] = repr(word.strip()[:40])
    batch = RowBatch(
        locations=None if selection.location is None else _categorical(fields[selection.location]),
        numbers=numbers,
        lines=np.array(lines, dtype=np.intp),
        times=None if selection.time is None else time_column(list(fields[selection.time])),
        texts=tuple(_categorical(fields[column]) for column in selection.texts),
        faults=tuple(ragged),
        non_numeric=non_numeric,
    )
    return batch.without([faults[line] for line in sorted(faults)])


def _categorical(fields: Sequence[str]) -> CategoricalColumn:
    codes = {word: code for code, word in enumerate(dict.fromkeys(fields))}
    return CategoricalColumn(
        tuple(codes), np.array([codes[word] for word in fields], dtype=np.int32)
    )


def _numbers(fields: Sequence[str], decimal: str) -> tuple[list[float], set[str]]:
    """The numbers of a column, NaN for missing values, and the words that are no number."""
    # A column of dBm has few distinct values, so each is parsed once.
    values = {written: number_in(written.replace(decimal, ".")) for written in set(fields)}
    known = {written: np.nan if value is None else value for written, value in values.items()}
    words = {written for written, value in values.items() if value is None}
    return [known[written] for written in fields], words


def _add_faults(
    words: set[str],
    fields: Sequence[str],
    column: str,
    lines: Sequence[int],
    faults: dict[int, RowFault],
) -> None:
    """Add one fault for each row with such a word, unless the row has one already."""
    for written, line in zip(fields, lines, strict=True):
        if written in words:
            faults.setdefault(line, _no_number_fault(written, column, line))


def _no_number_fault(written: str, column: str, line: int) -> RowFault:
    return RowFault(
        line,
        FaultKind.NO_NUMBER,
        f"Line {line}, column {column!r}: {written[:40]!r} is no number. Every column but "
        "location, x, y and the time is read as a beacon and has to hold dBm.",
    )
