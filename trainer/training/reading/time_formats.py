"""The formats in which loggers write times, and what a column of times can do."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
"""(rows,) since 1970 by the logger's own clock; NaN for a row without a time."""

TIME_FORMATS = (
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
"""The lowest and highest number of each, and the length of its unit in seconds."""


class TimeColumn(Protocol):
    """The times of some rows, as written."""

    def filter(self, kept: npt.NDArray[np.bool_]) -> "TimeColumn":
        """The same column with some of its rows."""

    def sample(self, most: int) -> list[str]:
        """Some of the values, from the first row to the last."""

    def seconds(self, time_format: str) -> Seconds:
        """All rows, parsed in one format; NaN where that fails."""
