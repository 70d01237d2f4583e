"""When rows were taken, in whatever form a logger wrote it.

Only the audit uses it, to tell visits apart; time is never a feature, as the row nearest in time
would give the label away. What may go wrong: a form that is ambiguous (4-5-2016). The first form of
:data:`FORMS` that fits every sampled row is taken, and that it was is said in the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

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

_SAMPLE = 200
_MOST_WORDS = 20_000
"""Above it parsing would take longer than reading; visits are then told by labels alone."""
_EPOCH = {EPOCH_SECONDS: (1e8, 1e10, 1.0), EPOCH_MILLISECONDS: (1e11, 1e13, 1e-3)}


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """The times of rows and how they were written."""

    seconds: npt.NDArray[np.float64]
    """(rows,) since 1970 by the logger's own clock; NaN where a row tells none."""
    form: str


def read_times(words: Sequence[str]) -> Times | None:
    """Read times in the one form that fits them, or None if none does."""
    distinct = list(dict.fromkeys(words))
    told = [word.strip() for word in distinct if word.strip()]
    if not told or len(distinct) > _MOST_WORDS:
        return None
    sample = told[:: max(1, len(told) // _SAMPLE)]
    for form in (*FORMS, *_EPOCH):
        if all(_seconds(word, form) is not None for word in sample):
            known = {word: _seconds(word.strip(), form) for word in distinct}
            values = [known[word] for word in words]
            return Times(np.array([np.nan if v is None else v for v in values]), form)
    return None


def _seconds(word: str, form: str) -> float | None:
    if form in _EPOCH:
        lowest, highest, scale = _EPOCH[form]
        number = float(word) if word.replace(".", "", 1).isdecimal() else 0.0
        return number * scale if lowest <= number < highest else None
    try:
        moment = datetime.strptime(word, form)  # noqa: DTZ007 - the form may carry no zone
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
