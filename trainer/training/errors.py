"""What may stop a training, as one tree.

::

    TrainingError
    ├── BadSurvey         one survey is not usable: quarantine it, with this text as the reason
    ├── NotEnoughData     the surveys are fine, but too few to learn from: wait for more
    ├── BadSplit          a file of splits that does not fit its survey: correct it
    └── BundleMismatch   the packaged model does not answer as the trained one: page, no release
"""


class TrainingError(Exception):
    """Base of everything that stops a training; its text is for the person who can act on it."""


class BadSurvey(TrainingError):  # noqa: N818 - named for what was found
    """A survey that must be set aside whole; a part of it could be as wrong as the rest."""

    def __init__(self, reason: str, *, survey_index: int | None = None) -> None:
        """Say in ``reason`` what was found, where, and what would be right.

        ``survey_index`` is the survey's place among several that contradict each other.
        """
        super().__init__(reason)
        self.reason = reason
        self.survey_index = survey_index


class NotEnoughData(TrainingError):  # noqa: N818 - named for what was found
    """Too few labelled rows or cells for a model that means anything."""


class BadSplit(TrainingError):  # noqa: N818 - named for what was found
    """Splits or folds that the rows at hand can't be divided into."""


class BundleMismatch(TrainingError):  # noqa: N818 - named for what was found
    """The packaged model, served once, answered otherwise than MXNet does with its weights."""
