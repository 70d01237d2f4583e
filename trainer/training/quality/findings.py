"""What an audit reports: single findings, each a note or a warning."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Whether a person should act; a finding that nobody can act on is a note."""

    NOTE = "note"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found; the fields' names are keys of ``metrics.json``."""

    topic: str
    weight: Severity
    seen: str
    """The observation."""
    means: str
    """What it means."""
    done: str
    """What was done about it, and what a person can do."""
