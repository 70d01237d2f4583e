"""The outcomes of an invocation: a bounded set, since each value becomes a metric's dimension."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class StepOutcome(StrEnum):
    """The outcome of one event; dashboards and alarms use the values."""

    NOT_FOR_THIS_FUNCTION = "not for this function"
    UNREADABLE = "unreadable"
    """The event went to the dead-letter queue."""

    # create_model
    NOT_OUR_BUCKET = "not our bucket"
    NOT_A_RELEASE = "not a release"
    GONE = "gone"
    """The manifest was deleted since the event."""
    REJECTED = "rejected"
    MODEL_CREATED = "model created"
    HELD = "held"
    UNCHANGED = "unchanged"
    """A copy of a known manifest that asks for nothing."""

    # decide
    APPROVED = "approved"
    DECLINED = "declined"
    RESUMED = "resumed"
    NOT_PAUSED = "not paused"
    DECISION_REFUSED = "decision refused"

    # roll_endpoint and smoke_test
    NOT_OUR_ENDPOINT = "not our endpoint"
    NOTHING_TO_START = "nothing to start"
    STARTED = "started"
    NOT_DEPLOYABLE = "not deployable"
    """The ledger knows no such release that may go live."""
    FROZEN = "frozen"
    NOTHING_IN_FLIGHT = "nothing in flight"
    STILL_CHANGING = "still changing"
    FAILED = "failed"
    FAILED_SMOKE_TEST = "failed the smoke test"
    GAVE_UP = "gave up"
    """The deployment ended because of an error that no retry will mend."""
    REPEATED = "repeated"
    """The rollout failed for a lack of capacity, and is requested again."""
    PASSED_SMOKE_TEST = "passed the smoke test"

    # roll_back
    NO_ROLLBACK_DUE = "no way back is due"
    ROLLBACK_STARTED = "going back"
    ROLLBACK_REFUSED = "refused"
    ENDPOINT_DELETED = "deleted"

    # reconcile and clean_up
    RECONCILED = "reconciled"
    CLEANED_UP = "cleaned up"
    DRY_RUN = "dry run"


@dataclass(frozen=True)
class Summary:
    """An outcome with the text that the invoker gets and the numbers that belong to it.

    Attributes:
        counts: by the name of the metric that each is published as.
    """

    outcome: StepOutcome
    text: str
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, result: "StepOutcome | Summary") -> "Summary":
        """A summary as it is; an outcome with its own value as the text."""
        return result if isinstance(result, Summary) else cls(result, result.value)
