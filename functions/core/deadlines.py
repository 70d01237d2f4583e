"""How long a deployment may stay in a state, and how often a step may fail, before it ends.

Time is a parameter. A site's slot is freed in the end, whatever happens: an error that no retry
mends ends the deployment at once, others after some attempts, a lack of capacity after hours.
"""

from datetime import datetime, timedelta
from enum import Enum, auto

from functions.core.deployments import Deployment, DeploymentState


class ErrorKind(Enum):
    """What may mend an error that a step met."""

    PERMANENT = auto()
    """Nothing but a person: a model or permission that is missing, for example."""
    CAPACITY = auto()
    """Time: a quota, a lack of instances, throttling. No fault of the release."""
    BUSY = auto()
    """The end of the endpoint's other change; this is waiting, not failing."""
    TRANSIENT = auto()
    """Perhaps a repetition."""


ATTEMPTS = 10
"""Of a step that meets transient errors; with Lambda's retries, about a quarter of an hour."""
CAPACITY_PATIENCE = timedelta(hours=4)
REPEAT_AFTER = timedelta(minutes=3)
"""A rollout that found no capacity is requested again after this."""
ROLLOUT_MARGIN = timedelta(minutes=30)
"""For SageMaker's own rollback after its time limit, and for the smoke test."""
DEADLINES = {
    DeploymentState.PENDING: timedelta(hours=6),
    DeploymentState.ROLLING: timedelta(hours=2),
    DeploymentState.VERIFICATION_FAILED: timedelta(hours=1),
}
"""By the states that hold the slot. A rollout whose own limit is known has that instead."""
_CAPACITY_WORDS = ("capacity", "resourcelimitexceeded", "throttl", "quota")


def is_capacity(text: str) -> bool:
    """Whether an error or failure reason of SageMaker's is about quota or capacity."""
    return any(word in text.lower() for word in _CAPACITY_WORDS)


def is_hopeless(deployment: Deployment, kind: ErrorKind, now: datetime) -> bool:
    """Whether the deployment ends because of the error that it has noted."""
    match kind:
        case ErrorKind.PERMANENT:
            return True
        case ErrorKind.CAPACITY:
            return now - (deployment.failing_since or now) >= CAPACITY_PATIENCE
        case ErrorKind.BUSY:
            return False
        case ErrorKind.TRANSIENT:
            return deployment.attempts >= ATTEMPTS


def may_repeat(deployment: Deployment, failure: str, now: datetime) -> bool:
    """Whether a rollout that SageMaker took back is requested again: capacity may return."""
    return is_capacity(failure) and now - deployment.opened_at < CAPACITY_PATIENCE


def deadline(deployment: Deployment) -> timedelta | None:
    """How long it may be in its state; None of a state in which it does not hold the slot."""
    if deployment.state is DeploymentState.ROLLING and deployment.rollout_limit_s is not None:
        return timedelta(seconds=2 * deployment.rollout_limit_s) + ROLLOUT_MARGIN
    return DEADLINES.get(deployment.state)


def is_overdue(deployment: Deployment, now: datetime) -> bool:
    """Whether the deployment has been in its state for longer than it may."""
    limit = deadline(deployment)
    return limit is not None and now - deployment.changed_at >= limit
