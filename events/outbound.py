"""Our own events: what happened to a survey, a run, a release or a deployment.

The detail-type on the bus is the class's name. Listeners get each at least once, for EventBridge
knows no idempotency: who says it may die between saying it and noting that it is said. Repeats are
told by what they name: `REPEATS` lists the fields of a detail that are the same in a repeat, and
never in another event of that kind; the cloud's events name their ``deployment`` or ``trigger``.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from events.base import Contract
from events.manifests import SurveyRef, Text
from events.metrics import Metrics
from events.names import Digest, RunId, Site
from events.triggers import Trigger


class EventSource(StrEnum):
    """Who says it."""

    AGENT = "rssi-mlops.agent"
    RELEASE = "rssi-mlops.release"
    OPERATOR = "rssi-mlops.operator"


class Cause(StrEnum):
    """Why a deployment is attempted."""

    ARTIFACT = "artifact"
    ROLLBACK = "rollback"
    REDEPLOY = "redeploy"


class Event(Contract):
    """What every event of ours says: about which site, and in which chain of causes."""

    site: Site
    correlation_id: Text


class SurveyQuarantined(Event):
    """A survey will not be used, and why."""

    survey: SurveyRef
    reason: Text
    run_id: RunId | None = None


class TrainingEvent(Event):
    """What events about a run share."""

    run_id: RunId
    start: Text | None = None
    """Which start of the run this is about: one that failed may be started again."""


class TrainingStarted(TrainingEvent):
    """A run began on the site's cluster."""

    snapshot: Digest
    surveys: int


class TrainingSucceeded(TrainingEvent):
    """A run ended with a release in the artifact bucket."""

    digest: Digest
    metrics: Metrics


class TrainingFailed(TrainingEvent):
    """A run ended without a release."""

    reason: Text
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()


class ModelCreated(Event):
    """A release passed the gate and is a SageMaker model: it may be rolled out."""

    release: RunId
    digest: Digest
    model_name: Text
    cause: Cause
    trigger: Trigger
    """What asked for this deployment: the same trigger never opens two."""
    created_at: AwareDatetime
    """When the release was made: among artifacts the newest wins, in whatever order they come."""
    reason: str = ""


class ReleaseFound(Event):
    """A release lies in the bucket and nobody has registered it: its arrival was not heard of."""

    release: RunId


class ReleaseRejected(Event):
    """A release did not pass the gate; nothing was changed."""

    release: RunId
    reason: Text


class DeploymentEvent(Event):
    """What events about one deployment share."""

    release: RunId
    digest: Digest
    deployment: Annotated[int, Field(ge=1)]
    cause: Cause


class RolloutStarted(DeploymentEvent):
    """The endpoint is moving to a release."""

    endpoint: Text
    endpoint_config: Text
    previous: RunId | None = None


class DeploymentSucceeded(DeploymentEvent):
    """The release is live and answered its smoke set rightly."""

    previous: RunId | None = None
    latency_ms: float


class SmokeTestFailed(DeploymentEvent):
    """The endpoint serves the release, and it does not answer as it should."""

    reason: Text


class DeploymentFailed(DeploymentEvent):
    """The deployment ended without its release being live."""

    reason: Text
    frozen: bool = False
    """True when the endpoint was left alone for a person to look at."""


class DeploymentSuperseded(DeploymentEvent):
    """The deployment was waiting and a later one took its place."""

    superseded_by: Annotated[int, Field(ge=1)]


class DeploymentStalled(DeploymentEvent):
    """The deployment has not moved for too long; whoever's turn it is should look again."""

    state: Text
    seconds: float


class RollbackRequested(Contract):
    """Someone wants an earlier release back; without ``to``, the one that was live before.

    The one event that people may put on the bus by hand, so it asks for as little as possible.
    """

    site: Site
    correlation_id: Text | None = None
    to: RunId | None = None
    requested_by: Text = "unknown"
    reason: str = ""


class RollbackRefused(Event):
    """A rollback that was asked for can't be done; nothing was changed."""

    to: RunId | None = None
    reason: Text


class RolledBack(DeploymentEvent):
    """An earlier release is live again and answered its smoke set rightly."""

    from_release: RunId | None
    automatic: bool
    reason: str
    latency_ms: float


OUTBOUND: tuple[type[Contract], ...] = (
    SurveyQuarantined,
    TrainingStarted,
    TrainingSucceeded,
    TrainingFailed,
    ReleaseFound,
    ModelCreated,
    ReleaseRejected,
    RolloutStarted,
    DeploymentSucceeded,
    SmokeTestFailed,
    DeploymentFailed,
    DeploymentSuperseded,
    DeploymentStalled,
    RollbackRequested,
    RollbackRefused,
    RolledBack,
)

REPEATS: Mapping[str, tuple[str, ...]] = {
    SurveyQuarantined.__name__: ("survey", "run_id"),
    TrainingStarted.__name__: ("run_id", "start"),
    TrainingSucceeded.__name__: ("run_id", "start"),
    TrainingFailed.__name__: ("run_id", "start"),
}
"""By detail-type: the fields whose values name an event of the agent's. Where one is missing, as
in what an older agent says, nothing is known to be a repeat."""
