"""What became of a rollout, judged from the endpoint as it is described now.

SageMaker takes an endpoint whose update failed back to ``InService`` on its former
configuration, sends several events for one change and may or may not fill ``FailureReason``.
So only status and configuration name together say anything, and even then the container has
the last word: it must say that it is the release (see `smoke`).
Source: SageMaker's DescribeEndpoint reference and its deployment guardrails guide.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

SETTLING = timedelta(seconds=30)
"""How long after the request an endpoint that still shows the former configuration, without a
reason for a failure, is taken for a late answer of DescribeEndpoint and not for a failed update."""

IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True)
class EndpointDescription:
    """The endpoint as SageMaker describes it."""

    status: str
    config_name: str | None
    pending_config_name: str | None = None
    failure_reason: str | None = None


class RolloutStatus(Enum):
    """What became of a rollout."""

    IN_PROGRESS = auto()
    """The endpoint is still changing: its next event will tell."""
    UNSETTLED = auto()
    """What is described contradicts what was just asked for: look again."""
    ARRIVED = auto()
    """In service on our configuration. Not yet a success: the container must say so too."""
    FELL_BACK = auto()
    """In service, on another configuration than ours: the update failed."""
    DEAD = auto()
    """The endpoint serves nothing."""
    MIXED = auto()
    """The way back failed as well. A person must look; nothing may be touched."""


def judge(
    endpoint: EndpointDescription | None, config_name: str, asked_at: datetime, now: datetime
) -> RolloutStatus:
    """Judge the rollout that asked for ``config_name`` at ``asked_at``."""
    if endpoint is None:
        return RolloutStatus.DEAD
    if endpoint.status in IN_PROGRESS:
        return RolloutStatus.IN_PROGRESS
    if endpoint.status == "UpdateRollbackFailed":
        return RolloutStatus.MIXED
    if endpoint.status != "InService":
        return RolloutStatus.DEAD
    if endpoint.config_name == config_name:
        return RolloutStatus.ARRIVED
    may_be_a_late_answer = endpoint.failure_reason is None and now - asked_at < SETTLING
    return RolloutStatus.UNSETTLED if may_be_a_late_answer else RolloutStatus.FELL_BACK


class EndpointAction(Enum):
    """What to ask SageMaker for, to get the endpoint onto a configuration."""

    CREATE = auto()
    UPDATE = auto()
    REPLACE = auto()
    """Delete it first: an endpoint whose first creation failed can't be updated."""
    NOTHING = auto()
    """It is there already, or on its way."""
    WAIT = auto()
    """It is busy with another change."""
    FREEZE = auto()
    """Its last way back failed: a person must look."""


def next_action(endpoint: EndpointDescription | None, config_name: str) -> EndpointAction:
    """What gets the endpoint onto ``config_name`` from where it is now."""
    if endpoint is None:
        return EndpointAction.CREATE
    if endpoint.status == "UpdateRollbackFailed":
        return EndpointAction.FREEZE
    if endpoint.status == "Failed":
        return EndpointAction.REPLACE
    if endpoint.status in IN_PROGRESS:
        heading_for = endpoint.pending_config_name or (
            endpoint.config_name if endpoint.status == "Creating" else None
        )
        return EndpointAction.NOTHING if heading_for == config_name else EndpointAction.WAIT
    return EndpointAction.NOTHING if endpoint.config_name == config_name else EndpointAction.UPDATE
