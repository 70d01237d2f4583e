"""How a training process ends: its exit codes and the note that it leaves for its runner.

Both are a contract with the agent's runners and a Job's ``podFailurePolicy``: a code that means
"another attempt can't help" must not be retried, any other may be.
"""

from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from events.metrics import Metrics

MAX_NOTE_BYTES = 4096
"""Kubernetes cuts a termination message off here, which would leave half a JSON document."""

_MAX_REASON = 1000


class ExitCode(IntEnum):
    """What a training process's exit code means."""

    DONE = 0
    """The run has a release, ours or one that another attempt claimed first."""
    CRASHED = 1
    """A defect or an unforeseen error. Another attempt may help."""
    BAD_DATA = 42
    """Surveys were quarantined and nothing was trained: seal a new snapshot without them."""
    NOT_ENOUGH_DATA = 43
    """Every survey could be read, but together they are too little: wait for more."""
    STALE_SNAPSHOT = 44
    """A survey of the snapshot is gone or was overwritten: seal a new snapshot."""
    TRY_AGAIN = 75
    """The network or a store failed (``EX_TEMPFAIL``). Another attempt may help."""
    MISCONFIGURED = 78
    """The Job or the site is described wrongly (``EX_CONFIG``): a person has to correct it."""


FINAL_FAILURES = (
    ExitCode.BAD_DATA,
    ExitCode.NOT_ENOUGH_DATA,
    ExitCode.STALE_SNAPSHOT,
    ExitCode.MISCONFIGURED,
)
"""Failures that another attempt at the same run can't change."""


def worth_retrying(exit_code: int) -> bool:
    """Whether another attempt at the same run may succeed.

    This holds for a killed process too (128 and more), as its node may have been drained.
    """
    return exit_code != ExitCode.DONE and exit_code not in FINAL_FAILURES


class OutcomeKind(StrEnum):
    """How a training process ended."""

    SUCCEEDED = "succeeded"
    ALREADY_RELEASED = "already_released"
    BAD_DATA = "bad_data"
    NOT_ENOUGH_DATA = "not_enough_data"
    STALE_SNAPSHOT = "stale_snapshot"
    TRY_AGAIN = "try_again"
    MISCONFIGURED = "misconfigured"
    FAILED = "failed"


_EXIT_CODES = {
    OutcomeKind.SUCCEEDED: ExitCode.DONE,
    OutcomeKind.ALREADY_RELEASED: ExitCode.DONE,
    OutcomeKind.BAD_DATA: ExitCode.BAD_DATA,
    OutcomeKind.NOT_ENOUGH_DATA: ExitCode.NOT_ENOUGH_DATA,
    OutcomeKind.STALE_SNAPSHOT: ExitCode.STALE_SNAPSHOT,
    OutcomeKind.TRY_AGAIN: ExitCode.TRY_AGAIN,
    OutcomeKind.MISCONFIGURED: ExitCode.MISCONFIGURED,
    OutcomeKind.FAILED: ExitCode.CRASHED,
}


class RunOutcome(BaseModel):
    """The note: what came out, or a sentence on why nothing did."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1

    kind: OutcomeKind
    reason: str = ""
    digest: str | None = None
    metrics: Metrics | None = None
    quarantined: tuple[str, ...] = ()
    """Ids of bad surveys; the list may be cut short, the bucket's quarantine is complete."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of this outcome."""
        return _EXIT_CODES[self.kind]

    def note(self) -> bytes:
        """The note as JSON in at most `MAX_NOTE_BYTES`, shortened until it fits."""
        return next(note for note in self._notes() if len(note) <= MAX_NOTE_BYTES)

    def _notes(self) -> Iterator[bytes]:
        shorter = self.model_copy(update={"reason": self.reason[:_MAX_REASON]})
        for kept in (len(self.quarantined), 50, 0):
            yield _json(self.model_copy(update={"quarantined": self.quarantined[:kept]}))
            yield _json(shorter.model_copy(update={"quarantined": self.quarantined[:kept]}))
        # A reason of a thousand characters can still be 6 kB of JSON escapes.
        yield _json(shorter.model_copy(update={"reason": shorter.reason[:400], "quarantined": ()}))


def _json(outcome: RunOutcome) -> bytes:
    return outcome.model_dump_json().encode()
