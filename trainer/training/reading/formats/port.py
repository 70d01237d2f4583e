"""The port that a file format implements, and the typed rows that pass through it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainer.training.reading.row_faults import RowFault
from trainer.training.reading.time_formats import TimeColumn

Numbers = npt.NDArray[np.float64]
NonNumericColumns = dict[int, str]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is written; for the report, nothing depends on it."""

    encoding: str = "utf-8"
    delimiter: str = ","
    """Empty for a format without one."""
    columns: str = ""
    """Which columns were taken by common names, and which ignored, in words."""
    time_format: str | None = None
    """As for ``strptime``; None without times, or if no known format fits."""
    not_heard: tuple[tuple[str, int], ...] = ()
    """Each way in which "not heard" is written, with its number of readings."""


@dataclass(frozen=True, slots=True, eq=False)
class CategoricalColumn:
    """Text with few distinct values, as codes."""

    categories: tuple[str, ...]
    codes: npt.NDArray[np.int32]
    """(rows,) the index of each row's category."""

    def filter(self, kept: npt.NDArray[np.bool_]) -> "CategoricalColumn":
        """The same column with some of its rows."""
        return replace(self, codes=self.codes[kept])


@dataclass(frozen=True, slots=True)
class ColumnSelection:
    """The columns to read, by their index in the header; the others are skipped."""

    location: int | None
    numeric: tuple[int, ...]
    time: int | None = None
    texts: tuple[int, ...] = ()
    """Further columns of text with few distinct values."""


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Some consecutive rows of a survey."""

    locations: CategoricalColumn | None
    """As written, except that a word for "missing" may be blank; None if not selected."""
    numbers: Numbers
    """(rows, selected numeric columns), NaN for a missing value."""
    lines: npt.NDArray[np.intp]
    """(rows,) the line of the file, from 1, on which each row begins."""
    times: TimeColumn | None = None
    """None if not selected."""
    texts: tuple[CategoricalColumn, ...] = ()
    """The further columns of text, in the order of the selection."""
    faults: tuple[RowFault, ...] = ()
    """Unreadable rows; they are not among the others."""
    non_numeric: NonNumericColumns = field(default_factory=dict)
    """Selected columns without a single number, with a word of each."""

    def without(self, faults: Sequence[RowFault]) -> "RowBatch":
        """The same batch without the rows of further faults."""
        if not faults:
            return self
        kept = ~np.isin(self.lines, [fault.line for fault in faults])
        return replace(
            self,
            locations=None if self.locations is None else self.locations.filter(kept),
            numbers=self.numbers[kept],
            lines=self.lines[kept],
            times=None if self.times is None else self.times.filter(kept),
            texts=tuple(column.filter(kept) for column in self.texts),
            faults=(*self.faults, *faults),
        )


class SurveyFile(Protocol):
    """An open survey, to be read once."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, without surrounding blanks."""

    @property
    def file_format(self) -> FileFormat:
        """What is known of the format before the rows are read."""

    def pivoted(self, beacon: int, rssi: int, time: int | None) -> "SurveyFile":
        """The file with one fingerprint per row, where it has one reading per row.

        Args:
            beacon: the index of the column that names the beacon.
            rssi: that of its reading.
            time: that of the time, if there is one.

        Raises:
            BadSurvey: a row is broken, or there are too many beacons.
        """

    def batches(self, selection: ColumnSelection) -> Iterator[RowBatch]:
        """Read the rows, some at a time.

        Raises:
            BadSurvey: there are no rows, or the file is damaged beyond single rows.
        """


@dataclass(frozen=True, slots=True)
class FileLayout:
    """What a site says of its files; None where it is found by looking."""

    delimiter: str | None = None
    decimal: str | None = None


FOUND_BY_LOOKING = FileLayout()


class SurveyReader(Protocol):
    """Reads one file format."""

    def recognizes(self, name: str, beginning: bytes) -> bool:
        """Whether a file is in this format, judged by its name and its first bytes."""

    def open(self, source: Path | bytes, layout: FileLayout) -> SurveyFile:
        """Open a file, or its content.

        Raises:
            BadSurvey: it can't be read in this format.
            OSError: the file can't be read.
        """
