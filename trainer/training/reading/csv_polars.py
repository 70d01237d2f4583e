"""The fast reader: blocks of plain lines through Polars.

It gives what :func:`trainer.training.reading.csv_text.read_carefully` gives, or nothing. Polars
fills ragged rows up in silence, so the delimiters of every line are counted first; and it takes
words for numbers (``inf``, ``Nan``) that are none here, so such blocks are left alone.
"""

import numpy as np
import polars as pl

from trainer.localization.readings import MISSING_WORDS
from trainer.training.reading.csv_blocks import Block
from trainer.training.reading.csv_text import (
    MAX_FIELD_CHARACTERS,
    Header,
    Numbers,
    Table,
    Wanted,
    Words,
)
from trainer.training.reading.times_polars import ManyTimes


def read_plain(block: Block, header: Header, wanted: Wanted) -> Table | None:
    """The block's table, or None if it is not plain enough to be sure of it.

    Args:
        block: lines below the header, none of them with a quotation mark.
        header: of the file.
        wanted: which columns to read, and as what.
    """
    content = block.content if block.content.endswith(b"\n") else block.content + b"\n"
    if not _is_even(content, header):
        return None
    # Whole numbers, as most surveys hold, are read twice as fast as others.
    frame = _frame(content, header, wanted, pl.Int16())
    if frame is None:
        frame = _frame(content, header, wanted, pl.Float64())
    if frame is None:
        return None
    numbers = _numbers(frame, wanted)
    if numbers is None:
        return None
    return Table(
        locations=None if wanted.location is None else _words(frame[str(wanted.location)]),
        numbers=numbers,
        lines=np.arange(block.line, block.line + len(frame), dtype=np.intp),
        times=None if wanted.time is None else ManyTimes(frame[str(wanted.time)]),
    )


def _frame(
    content: bytes, header: Header, wanted: Wanted, number: pl.DataType
) -> pl.DataFrame | None:
    """The wanted columns, named by their places; None if one holds another kind of number."""
    numeric = set(wanted.numeric)
    texts = {place for place in (wanted.location, wanted.time) if place is not None}
    try:
        frame = pl.read_csv(
            content,
            separator=header.delimiter,
            quote_char=None,
            # Names in the file may be odd; here columns go by their place.
            has_header=False,
            schema={
                str(place): number if place in numeric else pl.String()
                for place in range(len(header.names))
            },
            # To look for words costs a third of the time, and where there are any, Int16 fails.
            null_values=None if number.is_integer() else list(MISSING_WORDS),
            columns=sorted(numeric | texts),
        )
    except pl.exceptions.PolarsError:
        return None
    return frame.rechunk()


def _numbers(frame: pl.DataFrame, wanted: Wanted) -> Numbers | None:
    """(rows, columns), each column in one piece; None if some are no numbers to us."""
    columns = np.empty((len(wanted.numeric), len(frame)), dtype=np.float64)
    for place, column in enumerate(wanted.numeric):
        columns[place] = frame[str(column)].to_numpy()
    missing = sum(frame[str(column)].null_count() for column in wanted.numeric)
    if np.count_nonzero(np.isfinite(columns)) != columns.size - missing:
        return None
    return columns.T


def _words(column: pl.Series) -> Words:
    filled = column.fill_null("")
    distinct = filled.unique(maintain_order=True)
    codes = filled.replace_strict(distinct, np.arange(len(distinct), dtype=np.int32))
    return Words(tuple(distinct.to_list()), codes.to_numpy())


def _is_even(content: bytes, header: Header) -> bool:
    """Whether every line is as wide as the header, none is blank and none is endless."""
    characters = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    begins = np.concatenate([[0], ends[:-1] + 1])
    delimiters, wanted = characters == ord(header.delimiter), len(header.names) - 1
    # Single bytes are counted ten times as fast, and the sum of all tells where a count wrapped.
    kind = np.uint8 if wanted < 256 else np.uint32
    counts = np.add.reduceat(delimiters.view(np.uint8), begins, dtype=kind)
    return (
        bool((counts == wanted).all())
        and np.count_nonzero(delimiters) == wanted * len(ends)
        and int((ends - begins).max()) <= MAX_FIELD_CHARACTERS
    )
