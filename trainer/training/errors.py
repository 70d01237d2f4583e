"""Errors that stop a training, as one tree.

::

    TrainingError
    ├── BadSurvey         one survey is not usable: quarantine it, with the message as the reason
    │   └── ForeignColumns  columns are read as beacons and hold something else
    ├── NotEnoughData     the surveys are valid, but too few to learn from: wait for more
    ├── BadSplit          splits or folds that do not fit the rows: correct them
    ├── StaleSnapshot     the snapshot lists what is no longer in the bucket: seal a new one
    ├── Misconfigured     the run or its site is described wrongly: a person has to correct it
    └── BundleMismatch    the packaged and the trained model answer differently: page, no release
"""

import json
import re
from collections.abc import Mapping

_WITH_UNIT = re.compile(r"[0-9]\s*(dBm|db)\b", re.IGNORECASE)


class TrainingError(Exception):
    """Base of all errors that stop a training; the message is for the person who can act on it."""


class BadSurvey(TrainingError):  # noqa: N818 - named after the cause
    """A survey to quarantine as a whole: what is not known to be wrong may be wrong, too."""

    def __init__(
        self,
        reason: str,
        *,
        survey_index: int | None = None,
        advice: Mapping[str, object] | None = None,
    ) -> None:
        """Create the error.

        Args:
            reason: what was found, where, and what would be right.
            survey_index: the survey's index among several that are joined.
            advice: keys of ``site.json`` with which the survey might be taken.
        """
        super().__init__(reason)
        self.reason = reason
        self.survey_index = survey_index
        self.advice = advice or {}


class ForeignColumns(BadSurvey):
    """Columns of a survey that hold no dBm and are read as beacons; all of them are named."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """Say what each column holds, and what to write so that it is ignored.

        Args:
            columns: an example of what each holds, by the column's name.
        """
        taken: dict[str, object] = {}
        held = ", ".join(f"{name!r} ({example})" for name, example in columns.items())
        if any(_WITH_UNIT.search(example) for example in columns.values()):
            advice = "write the readings without their unit"
        elif any(example.startswith("'[") for example in columns.values()):
            advice = "give each beacon a column of its own"
        else:
            taken = {"ignored_columns": list(columns)}
            ignored = ", ".join(json.dumps(name) for name in columns)
            advice = f'if these are no beacons, write "ignored_columns": [{ignored}] in site.json'
        super().__init__(f"Columns that hold no dBm: {held}: {advice}.", advice=taken)
        self.columns = columns


class NotEnoughData(TrainingError):  # noqa: N818 - named after the cause
    """Too few labelled rows or cells for a model that means anything."""


class BadSplit(TrainingError):  # noqa: N818 - named after the cause
    """Splits or folds into which the given rows can't be divided."""


class StaleSnapshot(TrainingError):  # noqa: N818 - named for what was found
    """The snapshot lists an object that the bucket no longer holds as it was sealed."""


class Misconfigured(TrainingError):  # noqa: N818 - named for what was found
    """The run or its site is described wrongly; a person has to correct the description."""


class BundleMismatch(TrainingError):  # noqa: N818 - named after the cause
    """The packaged model, served once, answered differently from MXNet with its weights."""
