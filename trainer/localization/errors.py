"""The errors of this package, as one tree.

::

    LocalizationError
    ├── BadBundle          the packaged model is damaged, incomplete or not ours
    └── BadReadings        readings that cannot be answered, with the place of each problem
"""

from collections.abc import Sequence
from dataclasses import dataclass


class LocalizationError(Exception):
    """Base of everything that this package raises."""


class BadBundle(LocalizationError):  # noqa: N818 - named for what was found
    """A bundle that must not be served. Page: it was damaged or swapped after it was packed."""


@dataclass(frozen=True, slots=True)
class ReadingProblem:
    """One reading that cannot be used: its row (from 0), its beacon or column, and why."""

    row: int | None
    column: str | None
    problem: str


class BadReadings(LocalizationError):  # noqa: N818 - named for what was found
    """Readings that the caller has to correct; nothing of the request was answered."""

    def __init__(self, message: str, problems: Sequence[ReadingProblem] = ()) -> None:
        """State what happened in ``message``, and where in ``problems``."""
        super().__init__(message)
        self.problems = tuple(problems)
