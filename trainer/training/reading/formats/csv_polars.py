"""Parses blocks of plain CSV lines with Polars.

The result equals that of :func:`trainer.training.reading.formats.csv_text.parse_any`, or is None.
Polars pads short rows silently, so the delimiters of every line are counted first; and it accepts
words as numbers (``inf``, ``Nan``) that are none here, so the other parser gets such blocks.
"""

import numpy as np
import polars as pl

from trainer.localization.readings import MISSING_WORDS
from trainer.training.reading.formats.csv_blocks import LineBlock
from trainer.training.reading.formats.csv_text import MAX_FIELD_CHARACTERS, CsvHeader
from trainer.training.reading.formats.port import (
    CategoricalColumn,
    ColumnSelection,
    Numbers,
    RowBatch,
)
from trainer.training.reading.times_polars import PolarsTimeColumn


def parse_plain(block: LineBlock, header: CsvHeader, selection: ColumnSelection) -> RowBatch | None:
    """Parse a block, or return None if it is not plain enough to be sure of the result.

    Args:
        block: lines below the header, without a quotation mark.
        header: of the file.
        selection: the columns to read.
    """
    content = block.content if block.content.endswith(b"\n") else block.content + b"\n"
    if not _is_even(content, header):
        return None
    # Most surveys hold whole numbers, which are read twice as fast as others.
    frame = _frame(content, header, selection, pl.Int16())
    if frame is None:
        frame = _frame(content, header, selection, pl.Float64())
    if frame is None:
        return None
    numbers = _numbers(frame, selection)
    if numbers is None:
        return None
    return RowBatch(
        locations=None
        if selection.location is None
        else _categorical(frame[str(selection.location)]),
        numbers=numbers,
        lines=np.arange(block.line, block.line + len(frame), dtype=np.intp),
        times=None if selection.time is None else PolarsTimeColumn(frame[str(selection.time)]),
        texts=tuple(_categorical(frame[str(column)]) for column in selection.texts),
    )


def _frame(
    content: bytes, header: CsvHeader, selection: ColumnSelection, number: pl.DataType
) -> pl.DataFrame | None:
    """The selected columns, named by index; None if one holds another kind of number."""
    numeric = set(selection.numeric)
    texts = {index for index in (selection.location, selection.time) if index is not None}
    texts |= set(selection.texts)
    try:
        frame = pl.read_csv(
            content,
            separator=header.delimiter,
            quote_char=None,
            # The file's own names may be anything, so columns are named by index.
            has_header=False,
            schema={
                str(index): number if index in numeric else pl.String()
                for index in range(len(header.names))
            },
            # Searching for words takes a third of the time, and with any word, Int16 fails anyway.
            null_values=None if number.is_integer() else list(MISSING_WORDS),
            columns=sorted(numeric | texts),
        )
    except pl.exceptions.PolarsError:
        return None
    return frame.rechunk()


def _numbers(frame: pl.DataFrame, selection: ColumnSelection) -> Numbers | None:
    """(rows, columns), each column contiguous; None if a value is not finite."""
    columns = np.empty((len(selection.numeric), len(frame)), dtype=np.float64)
    for index, column in enumerate(selection.numeric):
        columns[index] = frame[str(column)].to_numpy()
    missing = sum(frame[str(column)].null_count() for column in selection.numeric)
    if np.count_nonzero(np.isfinite(columns)) != columns.size - missing:
        return None
    return columns.T


def _categorical(column: pl.Series) -> CategoricalColumn:
    filled = column.fill_null("")
    categories = filled.unique(maintain_order=True)
    codes = filled.replace_strict(categories, np.arange(len(categories), dtype=np.int32))
    return CategoricalColumn(tuple(categories.to_list()), codes.to_numpy())


def _is_even(content: bytes, header: CsvHeader) -> bool:
    """Whether every line has as many fields as the header, and none is blank or endless."""
    characters = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    begins = np.concatenate([[0], ends[:-1] + 1])
    delimiters, expected = characters == ord(header.delimiter), len(header.names) - 1
    # Counting in single bytes is ten times as fast; the total shows if a count overflowed.
    kind = np.uint8 if expected < 256 else np.uint32
    counts = np.add.reduceat(delimiters.view(np.uint8), begins, dtype=kind)
    return (
        bool((counts == expected).all())
        and np.count_nonzero(delimiters) == expected * len(ends)
        and int((ends - begins).max()) <= MAX_FIELD_CHARACTERS
    )
