"""The fast reader: large plain files through Polars, about a million rows a second.

It gives what :func:`trainer.training.csv_text.read_any` gives or nothing at all. What may go wrong:
Polars fills ragged rows up in silence, so the delimiters of every line are counted first.
"""

import numpy as np
import polars as pl

from trainer.localization.readings import MISSING_WORDS
from trainer.training.csv_text import MAX_FIELD_CHARACTERS, Header, Table, Wanted

_PART_BYTES = 8 * 1024 * 1024


def read_plain(text: str, header: Header, wanted: Wanted) -> Table | None:
    """The table, or None if the file is not plain enough to be sure of it."""
    numeric = wanted.numeric
    content = text.rstrip("\n").encode()
    if not _is_plain(content, header):
        return None
    typed = set(numeric)
    try:
        frame = pl.read_csv(
            content,
            separator=header.delimiter,
            quote_char=None,
            # Names in the file may be odd; here columns go by their place.
            has_header=False,
            skip_lines=1,
            schema={
                str(place): pl.Float64() if place in typed else pl.String()
                for place in range(len(header.names))
            },
            null_values=list(MISSING_WORDS),
            columns=[*numeric, *_maybe(wanted.location), *_maybe(wanted.time)],
        )
    except (pl.exceptions.PolarsError, OSError):
        return None
    del content
    rows = len(frame)
    numbers = np.empty((rows, len(numeric)), dtype=np.float64)
    for column, place in enumerate(numeric):
        # Each column leaves the frame as it is copied, so that both never hold all of them.
        numbers[:, column] = frame.drop_in_place(str(place)).fill_null(np.nan).to_numpy()
    return Table(
        locations=_words(frame, wanted.location),
        numbers=numbers,
        lines=np.arange(2, rows + 2, dtype=np.intp),
        times=_words(frame, wanted.time),
    )


def _words(frame: pl.DataFrame, place: int | None) -> list[str] | None:
    return None if place is None else frame[str(place)].fill_null("").to_list()


def _is_plain(content: bytes, header: Header) -> bool:
    """No quotes, no blank lines, every line as wide as the header, no endless field."""
    if b'"' in content or b"\n\n" in content or content.startswith(b"\n") or b"\n" not in content:
        return False
    start = 0
    while start < len(content):
        # Whole lines at a time: places of all delimiters of a large file would fill the memory.
        end = content.rfind(b"\n", start, start + _PART_BYTES)
        end = len(content) if end < 0 or start + _PART_BYTES >= len(content) else end
        if end - start > _PART_BYTES or not _is_even(content[start:end] + b"\n", header):
            return False
        start = end + 1
    return True


def _is_even(lines: bytes, header: Header) -> bool:
    characters = np.frombuffer(lines, dtype=np.uint8)
    cuts = np.flatnonzero((characters == ord(header.delimiter)) | (characters == ord("\n")))
    width = len(header.names)
    ends = characters[cuts] == ord("\n")
    even = len(cuts) % width == 0 and bool(ends[width - 1 :: width].all())
    if not even or np.count_nonzero(ends) != len(cuts) // width:
        return False
    return int(np.diff(cuts, prepend=-1).max()) - 1 <= MAX_FIELD_CHARACTERS


def _maybe(place: int | None) -> tuple[int, ...]:
    return () if place is None else (place,)
