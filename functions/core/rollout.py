"""The status of a rollout, judged from the endpoint's present description.

SageMaker returns an endpoint whose update failed to ``InService`` on its previous configuration,
sends several events for one change, and may or may not fill ``FailureReason``. So only status and
configuration name together are evidence, and the container must still answer as the release does
(see `smoke`). Source: SageMaker's DescribeEndpoint reference and its deployment guardrails guide.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

SETTLING = timedelta(seconds=30)
"""For so long after the request, an endpoint that shows the previous configuration and no failure
reason counts as a late response of DescribeEndpoint, and not as a failed update."""

IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True)
class EndpointDescription:
    """The endpoint as SageMaker describes it."""

    status: str
    config_name: str | None
    pending_config_name: str | None = None
    failure_reason: str | None = None
    instances: int = 1


class RolloutStatus(Enum):
    """How far a rollout is."""

    IN_PROGRESS = auto()
    """The endpoint is still changing; another event will follow."""
    UNSETTLED = auto()
    """The description contradicts the recent request; look again."""
    ARRIVED = auto()
    """In service on the requested configuration. Not yet a success: see `smoke`."""
    FELL_BACK = auto()
    """In service on another configuration: the update failed."""
    DEAD = auto()
    """The endpoint serves nothing."""
    MIXED = auto()
    """SageMaker's own rollback failed as well. A person must look; nothing may be touched."""


def judge(
    endpoint: EndpointDescription | None, config_name: str, requested_at: datetime, now: datetime
) -> RolloutStatus:
    """Judge the rollout to ``config_name`` that was requested at ``requested_at``."""
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
    may_be_a_late_answer = endpoint.failure_reason is None and now - requested_at < SETTLING
    return RolloutStatus.UNSETTLED if may_be_a_late_answer else RolloutStatus.FELL_BACK


class EndpointAction(Enum):
    """The request to SageMaker that brings an endpoint to a configuration."""

    CREATE = auto()
    UPDATE = auto()
    REPLACE = auto()
    """Delete it first: an endpoint whose first creation failed can't be updated."""
    NOTHING = auto()
    """It is on the configuration, or on the way to it."""
    WAIT = auto()
    """It is busy with another change."""
    FREEZE = auto()
    """Its last rollback failed: a person must look."""


def next_action(endpoint: EndpointDescription | None, config_name: str) -> EndpointAction:
    """The request that brings the endpoint to ``config_name``."""
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
