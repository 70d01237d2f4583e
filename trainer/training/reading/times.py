"""Parses the times of rows, in whatever format a logger wrote them.

Only the audit and the grouping into visits use them; time is never a feature, as the row nearest in
time would give the label away. Some formats are ambiguous (4-5-2016): the first of
:data:`~trainer.training.reading.time_formats.TIME_FORMATS` that fits every sampled row is used, and
the report names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress

import numpy as np
import numpy.typing as npt

from trainer.training.reading.time_formats import EPOCHS, TIME_FORMATS, Seconds, TimeColumn

_SAMPLE = 200
_MAX_LIST_ROWS = 20_000
"""Above it Polars is worth the time to import it."""


@dataclass(frozen=True, slots=True, eq=False)
class ParsedTimes:
    """The times of rows and their format."""

    seconds: Seconds
    time_format: str


def time_column(words: list[str]) -> TimeColumn:
    """A column of times as written, blank for a row without one."""
    if len(words) <= _MAX_LIST_ROWS:
        return _ListTimeColumn(words)
    from trainer.training.reading.times_polars import PolarsTimeColumn  # noqa: PLC0415 - a slow import

    return PolarsTimeColumn.of(words)


def read_times(parts: Sequence[TimeColumn]) -> ParsedTimes | None:
    """Parse times in the one format that fits them; None if none does."""
    share = max(2, _SAMPLE // max(1, len(parts)))
    sampled = [word.strip() for part in parts for word in part.sample(share)]
    sample = set(filter(None, sampled))
    if not sample:
        return None
    for time_format in (*TIME_FORMATS, *EPOCHS):
        if all(_seconds(word, time_format) is not None for word in sample):
            return ParsedTimes(
                np.concatenate([part.seconds(time_format) for part in parts]), time_format
            )
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _ListTimeColumn:
    words: list[str]

    def filter(self, kept: npt.NDArray[np.bool_]) -> "_ListTimeColumn":
        return _ListTimeColumn([*compress(self.words, kept.tolist())])

    def sample(self, most: int) -> list[str]:
        written = [*dict.fromkeys(filter(str.strip, self.words))]
        return written[:: max(1, len(written) // most)]

    def seconds(self, time_format: str) -> Seconds:
        known = {word: _seconds(word.strip(), time_format) for word in set(self.words)}
        values = [known[word] for word in self.words]
        return np.array([np.nan if value is None else value for value in values])


def _seconds(word: str, time_format: str) -> float | None:
    if time_format in EPOCHS:
        lowest, highest, scale = EPOCHS[time_format]
        number = float(word) if word.replace(".", "", 1).isdecimal() else 0.0
        return number * scale if lowest <= number < highest else None
    try:
        moment = datetime.strptime(word, time_format)  # noqa: DTZ007 - it may have no zone
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
