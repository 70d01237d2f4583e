"""When rows were taken, in whatever form a logger wrote it.

Only the audit uses it, to tell visits apart; time is never a feature, as the row nearest in time
would give the label away. What may go wrong: a form that is ambiguous (4-5-2016). The first form of
:data:`FORMS` that fits every sampled row is taken, and that it was is said in the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress
from typing import Protocol

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
"""(rows,) since 1970 by the logger's own clock; NaN where a row tells none."""

FORMS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y-%m-%d %H:%M",
    "%m-%d-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%H:%M:%S",
    "%H:%M",
)
EPOCH_SECONDS = "seconds since 1970"
EPOCH_MILLISECONDS = "milliseconds since 1970"

EPOCHS = {EPOCH_SECONDS: (1e8, 1e10, 1.0), EPOCH_MILLISECONDS: (1e11, 1e13, 1e-3)}
"""From which number to which each may be, and what one of it is in seconds."""

_SAMPLE = 200
_FEW_ROWS = 20_000
"""Above it Polars is worth its import."""


class TimeColumn(Protocol):
    """The times of some rows as they were written."""

    def only(self, kept: npt.NDArray[np.bool_]) -> "TimeColumn":
        """The same column with some of its rows."""

    def sample(self, most: int) -> list[str]:
        """Some of the words, from the first row to the last."""

    def seconds(self, form: str) -> Seconds:
        """All of it, read in one form."""


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """The times of rows and how they were written."""

    seconds: Seconds
    form: str


def time_column(words: list[str]) -> TimeColumn:
    """A column of times as it was written, blank where there is none."""
    if len(words) <= _FEW_ROWS:
        return _FewTimes(words)
    from trainer.training.reading.times_polars import ManyTimes  # noqa: PLC0415 - a slow import

    return ManyTimes.of(words)


def read_times(parts: Sequence[TimeColumn]) -> Times | None:
    """Read times in the one form that fits them, or None if none does."""
    share = max(2, _SAMPLE // max(1, len(parts)))
    told = [word.strip() for part in parts for word in part.sample(share)]
    sample = set(filter(None, told))
    if not sample:
        return None
    for form in (*FORMS, *EPOCHS):
        if all(_seconds(word, form) is not None for word in sample):
            return Times(np.concatenate([part.seconds(form) for part in parts]), form)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _FewTimes:
    words: list[str]

    def only(self, kept: npt.NDArray[np.bool_]) -> "_FewTimes":
        return _FewTimes([*compress(self.words, kept.tolist())])

    def sample(self, most: int) -> list[str]:
        told = [*dict.fromkeys(filter(str.strip, self.words))]
        return told[:: max(1, len(told) // most)]

    def seconds(self, form: str) -> Seconds:
        known = {word: _seconds(word.strip(), form) for word in set(self.words)}
        values = [known[word] for word in self.words]
        return np.array([np.nan if value is None else value for value in values])


def _seconds(word: str, form: str) -> float | None:
    if form in EPOCHS:
        lowest, highest, scale = EPOCHS[form]
        number = float(word) if word.replace(".", "", 1).isdecimal() else 0.0
        return number * scale if lowest <= number < highest else None
    try:
        moment = datetime.strptime(word, form)  # noqa: DTZ007 - the form may carry no zone
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
