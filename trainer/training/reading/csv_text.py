"""From blocks of lines to tables of numbers, with the line that each row began on.

Two readers give the same tables: the standard library's, which takes every CSV and can say what is
wrong with it, and Polars for large plain files. A block that has anything odd goes to the first,
and so does all that follows a quotation mark, which may reach over any number of lines. What may go
wrong: ragged rows, one endless field, text among numbers.
"""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import number_in
from trainer.training.errors import BadSurvey
from trainer.training.reading.csv_blocks import Block
from trainer.training.reading.row_faults import FaultKind, RowFault
from trainer.training.reading.times import TimeColumn, time_column

DELIMITERS = ",;\t"
MAX_FIELD_CHARACTERS = 64 * 1024
MAX_HEADER_CHARACTERS = 4 * 1024 * 1024

_AT_ONCE = 2
"""Blocks that are read side by side; NumPy and Polars let go of the interpreter meanwhile."""
_ROWS_AT_ONCE = 50_000

Numbers = npt.NDArray[np.float64]
Numberless = dict[int, str]


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: the columns' names, stripped, and what stands between them."""

    names: tuple[str, ...]
    delimiter: str


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A column of text that says few things many times."""

    distinct: tuple[str, ...]
    codes: npt.NDArray[np.int32]
    """(rows,) which of them each row says."""

    def only(self, kept: npt.NDArray[np.bool_]) -> "Words":
        """The same column with some of its rows."""
        return replace(self, codes=self.codes[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Some rows of a survey."""

    locations: Words | None
    """As written, but that a word for "missing" may be blank; None if no column was asked for."""
    numbers: Numbers
    """(rows, columns asked for), NaN where a field says that there is none."""
    lines: npt.NDArray[np.intp]
    """(rows,) the line of the file, from 1, that each row begins on."""
    times: TimeColumn | None = None
    """None if no column was asked for."""
    faults: tuple[RowFault, ...] = ()
    """Rows that can't be read; they are not among the others."""
    numberless: Numberless = field(default_factory=dict)
    """Columns that were asked for and hold not one number, each with a sentence that says so."""

    def without(self, faults: Sequence[RowFault]) -> "Table":
        """The same table without the rows of more faults."""
        if not faults:
            return self
        kept = ~np.isin(self.lines, [fault.line for fault in faults])
        return replace(
            self,
            locations=None if self.locations is None else self.locations.only(kept),
            numbers=self.numbers[kept],
            lines=self.lines[kept],
            times=None if self.times is None else self.times.only(kept),
            faults=(*self.faults, *faults),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The places of the columns that are read; the others are read over."""

    location: int | None
    numeric: tuple[int, ...]
    time: int | None = None


def read_header(text: str) -> Header:
    """The columns' names; the delimiter is the one that gives the most of them.

    Args:
        text: the file, or as much of it as holds its first row.

    Raises:
        BadSurvey: the first line can't be read.
    """
    # A copy of a whole block for every delimiter would cost more than reading it.
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


def read_tables(
    blocks: Iterator[Block], header: Header, wanted: Wanted, *, large: bool
) -> Iterator[Table]:
    """The rows below the header, some at a time.

    Args:
        blocks: the whole file, its header included.
        header: from :func:`read_header`.
        wanted: which columns to read, and as what.
        large: whether Polars is worth its import.

    Raises:
        BadSurvey: there are no rows, one has no end, or a column holds no number at all.
    """
    rows = 0
    numberless: Numberless | None = None
    reader = _read_fast if large else read_carefully
    for table in reader(blocks, header, wanted):
        rows += len(table.lines) + len(table.faults)
        if len(table.lines) or table.numberless:
            numberless = _in_both(numberless, table.numberless)
        if rows > _ROWS_AT_ONCE:
            # Sure enough, and a fault for each row of a large file would fill the memory.
            _check_numbers(numberless)
        yield table
    if not rows:
        raise BadSurvey("The file has a header line and no rows below it.")
    if rows > 1:
        _check_numbers(numberless)


def _check_numbers(numberless: Numberless | None) -> None:
    for reason in (numberless or {}).values():
        raise BadSurvey(reason)


def _in_both(before: Numberless | None, now: Numberless) -> Numberless:
    if before is None:
        return now
    return {column: reason for column, reason in before.items() if column in now}


def _read_fast(blocks: Iterator[Block], header: Header, wanted: Wanted) -> Iterator[Table]:
    """By Polars, block by block, as long as nothing is quoted."""
    first = next(blocks)
    if not _begins_plainly(first):
        yield from read_carefully(chain([first], blocks), header, wanted)
        return
    _, _, below = first.content.partition(b"\n")
    yield from _read_plain_first(chain([Block(first.line + 1, below)], blocks), header, wanted)


def _begins_plainly(block: Block) -> bool:
    return not block.content.startswith(b"\n") and b'"' not in block.content


def _read_plain_first(blocks: Iterator[Block], header: Header, wanted: Wanted) -> Iterator[Table]:
    from trainer.training.reading.csv_polars import read_plain  # noqa: PLC0415 - a slow import

    ahead: deque[tuple[Block, Future[Table | None]]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for block in blocks:
            if b'"' in block.content:
                blocks = chain([block], blocks)
                break
            ahead.append((block, pool.submit(read_plain, block, header, wanted)))
            if len(ahead) > _AT_ONCE:
                yield from _table_of(*ahead.popleft(), header, wanted)
        while ahead:
            yield from _table_of(*ahead.popleft(), header, wanted)
    yield from read_carefully(blocks, header, wanted, headed=True)


def _table_of(
    block: Block, plain: Future[Table | None], header: Header, wanted: Wanted
) -> Iterator[Table]:
    table = plain.result()
    if table is None:
        yield from read_carefully(iter([block]), header, wanted, headed=True)
    else:
        yield table


def read_carefully(
    blocks: Iterator[Block], header: Header, wanted: Wanted, *, headed: bool = False
) -> Iterator[Table]:
    """The rows of every CSV, by the standard library.

    Args:
        blocks: without a gap.
        header: of the file.
        wanted: which columns to read, and as what.
        headed: whether the header has been read already.

    Raises:
        BadSurvey: a row has no end.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: list[RowFault] = []
    for row, begun, taken in _rows(blocks, header, headed=headed):
        if len(row) != len(header.names):
            ragged.append(_ragged(row, begun, taken, header))
        else:
            rows.append(row)
            lines.append(begun)
        if len(rows) + len(ragged) >= _ROWS_AT_ONCE:
            yield _table(rows, lines, ragged, header, wanted)
            rows, lines, ragged = [], [], []
    if rows or ragged:
        yield _table(rows, lines, ragged, header, wanted)


def _rows(
    blocks: Iterator[Block], header: Header, *, headed: bool
) -> Iterator[tuple[list[str], int, int]]:
    """Every row below the header that is not blank, the line it begins on and how many it takes."""
    first = next(blocks, None)
    if first is None:
        return
    reader = csv.reader(_lines(chain([first], blocks)), delimiter=header.delimiter)
    begun, before = first.line, first.line - 1
    try:
        for row in reader:
            if any(row) or len(row) > 1:
                _check_ends(row, begun)
                if headed:
                    yield row, begun, before + reader.line_num - begun + 1
                headed = True
            begun = before + reader.line_num + 1
    except csv.Error as error:
        raise BadSurvey(f"Line {begun} can't be read as CSV: {error}.") from error


def _lines(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        yield from io.StringIO(block.content.decode())


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


def _table(
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
    ragged: Sequence[RowFault],
    header: Header,
    wanted: Wanted,
) -> Table:
    fields = list(zip(*rows, strict=True)) or [()] * len(header.names)
    numbers = np.empty((len(rows), len(wanted.numeric)), dtype=np.float64)
    faults: dict[int, RowFault] = {}
    numberless: Numberless = {}
    for place, column in enumerate(wanted.numeric):
        values, words = _numbers(fields[column])
        numbers[:, place] = values
        if words:
            _find(words, fields[column], header.names[column], lines, faults)
        if rows and words == set(fields[column]):
            numberless[column] = _no_number_in(header.names[column], lines[0], fields[column][0])
    table = Table(
        locations=None if wanted.location is None else _words(fields[wanted.location]),
        numbers=numbers,
        lines=np.array(lines, dtype=np.intp),
        times=None if wanted.time is None else time_column(list(fields[wanted.time])),
        faults=tuple(ragged),
        numberless=numberless,
    )
    return table.without([faults[line] for line in sorted(faults)])


def _words(fields: Sequence[str]) -> Words:
    codes = {word: code for code, word in enumerate(dict.fromkeys(fields))}
    return Words(tuple(codes), np.array([codes[word] for word in fields], dtype=np.int32))


def _numbers(fields: Sequence[str]) -> tuple[list[float], set[str]]:
    """The numbers of a column, NaN where there is none, and the words that stand for none."""
    # A column of dBm has few distinct words, so each is looked at once.
    values = {written: number_in(written) for written in set(fields)}
    known = {written: np.nan if value is None else value for written, value in values.items()}
    words = {written for written, value in values.items() if value is None}
    return [known[written] for written in fields], words


def _no_number_in(column: str, line: int, written: str) -> str:
    return (
        f"Line {line}, column {column!r}: {written[:40]!r} is no number, nor is anything else in "
        "this column. If it holds no dBm, remove it or name it under ignored_columns in site.json."
    )


def _find(
    words: set[str],
    fields: Sequence[str],
    column: str,
    lines: Sequence[int],
    faults: dict[int, RowFault],
) -> None:
    """One fault for each row that says such a word, the row's first."""
    for written, line in zip(fields, lines, strict=True):
        if written in words:
            faults.setdefault(line, _no_number(written, column, line))


def _no_number(written: str, column: str, line: int) -> RowFault:
    return RowFault(
        line,
        FaultKind.NO_NUMBER,
        f"Line {line}, column {column!r}: {written[:40]!r} is no number. Every column but "
        "location, x, y and the time is taken for a beacon and has to hold dBm.",
    )
