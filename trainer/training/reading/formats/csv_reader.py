"""CSV: comma, semicolon, tab, bar or blanks; UTF-8, or UTF-16 with a mark; a header line.

Two parsers give the same rows. The standard library's accepts every CSV and can say what is wrong
with it; Polars reads large plain files some ten times as fast. A block with anything unusual goes
to the first, and so does everything after a quotation mark, since a quoted field may span any
number of lines.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from trainer.training.errors import BadSurvey, ForeignColumns
from trainer.training.reading.formats.csv_blocks import BLOCK_BYTES, LineBlock, read_blocks
from trainer.training.reading.formats.csv_text import (
    BATCH_ROWS,
    CsvHeader,
    parse_any,
    read_header,
)
from trainer.training.reading.formats.long_form import pivot
from trainer.training.reading.formats.port import (
    FOUND_BY_LOOKING,
    ColumnSelection,
    FileFormat,
    FileLayout,
    NonNumericColumns,
    RowBatch,
)

LARGE_BYTES = 4 * 1024 * 1024
"""Below it the standard library finishes before Polars would be imported (0.3 s)."""

_PARALLEL_BLOCKS = 2
"""NumPy and Polars release the interpreter's lock, so blocks are parsed side by side."""


@dataclass(frozen=True, slots=True)
class CsvReader:
    """Reads CSV."""

    block_bytes: int = BLOCK_BYTES
    large_bytes: int = LARGE_BYTES
    """Files of at least this size are parsed by Polars where possible."""

    def recognizes(self, name: str, beginning: bytes) -> bool:  # noqa: ARG002 - of the port
        """Any file may be an attempt at CSV."""
        return True

    def open(self, source: Path | bytes, layout: FileLayout = FOUND_BY_LOOKING) -> "CsvFile":
        """Read the header.

        Raises:
            BadSurvey: the file is empty, or neither UTF-8 nor UTF-16; or the header is unreadable.
            OSError: the file can't be read.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        decoded = read_blocks(source, self.block_bytes)
        first = next((block for block in decoded.blocks if block.content.strip()), None)
        if first is None:
            raise BadSurvey("The file is empty: upload a CSV with a header line and labelled rows.")
        return CsvFile(
            encoding=decoded.encoding,
            header=read_header(first.content.decode(), layout.delimiter, layout.decimal),
            blocks=chain([first], decoded.blocks),
            is_large=size >= self.large_bytes,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CsvFile:
    """An open CSV file."""

    encoding: str
    header: CsvHeader
    blocks: Iterator[LineBlock]
    """The whole file, including its header."""
    is_large: bool

    @property
    def column_names(self) -> tuple[str, ...]:
        """The header's names."""
        return self.header.names

    @property
    def file_format(self) -> FileFormat:
        """Encoding and delimiter."""
        return FileFormat(encoding=self.encoding, delimiter=self.header.delimiter)

    def pivoted(self, beacon: int, rssi: int, time: int | None) -> "CsvFile":
        """The file with one fingerprint per row, where it has one reading per row.

        Raises:
            BadSurvey: a row is broken, or there are too many beacons.
        """
        header, content = pivot(self.blocks, self.header, beacon, rssi, time)
        # The header is line 0, so that a fingerprint's number is its line.
        return CsvFile(self.encoding, header, iter([LineBlock(0, content)]), is_large=False)

    def batches(self, selection: ColumnSelection) -> Iterator[RowBatch]:
        """Parse the rows below the header, some at a time.

        Raises:
            BadSurvey: there are no rows, a row has no end, or a column holds no number at all.
        """
        rows = 0
        non_numeric: NonNumericColumns | None = None
        parse = self._parse_large if self.is_large else self._parse_small
        for batch in parse(selection):
            rows += len(batch.lines) + len(batch.faults)
            if len(batch.lines) or batch.non_numeric:
                non_numeric = _common(non_numeric, batch.non_numeric)
            if rows > BATCH_ROWS:
                # Certain enough; a fault for each row of a large file would fill the memory.
                _refuse(non_numeric, self.column_names)
            yield batch
        if not rows:
            raise BadSurvey("The file has a header line and no rows below it.")
        if rows > 1:
            _refuse(non_numeric, self.column_names)

    def _parse_small(self, selection: ColumnSelection) -> Iterator[RowBatch]:
        return parse_any(self.blocks, self.header, selection)

    def _parse_large(self, selection: ColumnSelection) -> Iterator[RowBatch]:
        """By Polars, block by block, until something is quoted."""
        first = next(self.blocks)
        is_plain = self.header.delimiter != " " and self.header.decimal == "."
        if not is_plain or first.content.startswith((b"\n", b"#")) or b'"' in first.content:
            yield from parse_any(chain([first], self.blocks), self.header, selection)
            return
        _, _, below = first.content.partition(b"\n")
        blocks = chain([LineBlock(first.line + 1, below)], self.blocks)
        yield from _parse_plain_first(blocks, self.header, selection)


def _common(before: NonNumericColumns | None, now: NonNumericColumns) -> NonNumericColumns:
    if before is None:
        return now
    return {column: reason for column, reason in before.items() if column in now}


def _refuse(non_numeric: NonNumericColumns | None, names: Sequence[str]) -> None:
    if non_numeric:
        raise ForeignColumns({names[column]: held for column, held in non_numeric.items()})


def _parse_plain_first(
    blocks: Iterator[LineBlock], header: CsvHeader, selection: ColumnSelection
) -> Iterator[RowBatch]:
    from trainer.training.reading.formats.csv_polars import (  # noqa: PLC0415 - a slow import
        parse_plain,
    )

    ahead: deque[tuple[LineBlock, Future[RowBatch | None]]] = deque()
    with ThreadPoolExecutor(_PARALLEL_BLOCKS) as pool:
        for block in blocks:
            if b'"' in block.content:
                blocks = chain([block], blocks)
                break
            ahead.append((block, pool.submit(parse_plain, block, header, selection)))
            if len(ahead) > _PARALLEL_BLOCKS:
                yield from _batches_of(*ahead.popleft(), header, selection)
        while ahead:
            yield from _batches_of(*ahead.popleft(), header, selection)
    yield from parse_any(blocks, header, selection, has_header=False)


def _batches_of(
    block: LineBlock,
    plain: Future[RowBatch | None],
    header: CsvHeader,
    selection: ColumnSelection,
) -> Iterator[RowBatch]:
    batch = plain.result()
    if batch is None:
        yield from parse_any(iter([block]), header, selection, has_header=False)
    else:
        yield batch
