"""Our own events: what happened to a survey, a run, a release or a deployment.

The detail-type on the bus is the class's name. Delivery is at least once: EventBridge repeats, and
a publisher that dies before it notes that an event is out publishes it again. `REPEATS` lists the
fields that identify an event among those of its kind; the cloud's events are identified by their
``deployment`` or ``trigger``.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from events.base import Contract
from events.judgement import GateJudgement
from events.manifests import SurveyRef, Text
from events.metrics import Metrics
from events.names import Digest, RunId, Site
from events.requests import ApprovalRequested, RejectionRequested, ResumeRequested
from events.triggers import Trigger


class EventSource(StrEnum):
    """Who publishes an event; IAM holds each identity to its own."""

    AGENT = "rssi-mlops.agent"
    RELEASE = "rssi-mlops.release"
    OPERATOR = "rssi-mlops.operator"


class Cause(StrEnum):
    """Why a deployment is attempted."""

    ARTIFACT = "artifact"
    ROLLBACK = "rollback"
    REDEPLOY = "redeploy"


class Event(Contract):
    """What all of our events have."""

    site: Site
    """The site that it is about."""
    correlation_id: Text
    """The id of the first cause; all that follows from one upload shares it."""


class SurveyQuarantined(Event):
    """A survey will not be used."""

    survey: SurveyRef
    """The upload that is not used."""
    reason: Text
    """What is wrong with it, for the person who uploaded it."""
    run_id: RunId | None = None
    """The run that found it; None if it was refused before any run."""


class TrainingEvent(Event):
    """What events about a run share."""

    run_id: RunId
    """The run, and its release once there is one."""
    start: Text | None = None
    """Which start of the run this is about: a failed run may be started again."""


class TrainingStarted(TrainingEvent):
    """A run began on the site's cluster."""

    snapshot: Digest
    """Digest of the sealed list of surveys."""
    surveys: int
    """How many surveys are in the snapshot."""


class TrainingSucceeded(TrainingEvent):
    """A run ended with a release in the artifact bucket."""

    digest: Digest
    """SHA-256 (hex) of the release's ``bundle.json``."""
    metrics: Metrics
    """How good the release is on held-out rows."""


class TrainingFailed(TrainingEvent):
    """A run ended without a release."""

    reason: Text
    """What happened and what to do, for people."""
    exit_code: int | None = None
    """Exit code of the training process; None if there was none."""
    log_tail: tuple[str, ...] = ()
    """The last lines of its log."""


class ModelCreated(Event):
    """A release passed the gate and is a SageMaker model: it may be rolled out."""

    release: RunId
    """The release to deploy."""
    digest: Digest
    """SHA-256 (hex) of the release's ``bundle.json``; its answers carry it."""
    model_name: Text
    """The model's name in SageMaker."""
    cause: Cause
    """Why it is to be deployed."""
    trigger: Trigger
    """What caused this deployment: the same trigger never opens two."""
    created_at: AwareDatetime
    """When the release was made: of several artifacts the newest wins, whatever their order."""
    reason: str = ""
    """For a rollback: why."""
    judgement: GateJudgement | None = None
    """Of a new release: what the champion gate found."""
    approved_by: Text | None = None
    """Who let it through although the gate had held it; None if nobody had to."""
    requested_by: Text | None = None
    """Who requested it, for a rollback by hand; None for everything automatic."""


class ReleaseFound(Event):
    """A release is in the bucket and not registered: the event of its arrival was lost."""

    release: RunId
    """The release that was found."""


class ReleaseRejected(Event):
    """A release did not pass the gate; nothing was changed."""

    release: RunId
    """The release that stays what it is."""
    reason: Text
    """All that the gate found wrong."""


class ReleaseHeld(Event):
    """A release is sound but does not go live by itself: a person decides."""

    release: RunId
    """The release that is held."""
    digest: Digest
    """SHA-256 (hex) of the release's ``bundle.json``."""
    awaits_approval: bool
    """Whether the site wants every release approved; False if the champion gate held this one."""
    reason: Text
    """By how much it is worse and on what rows, or that the site wants an approval."""
    next_step: Text
    """What to do."""
    judgement: GateJudgement
    """The figures behind the reason."""


class ReleaseApproved(Event):
    """A person let a held release through: it is deployed now."""

    release: RunId
    """The release."""
    digest: Digest
    """SHA-256 (hex) of the release's ``bundle.json``."""
    approved_by: Text
    """Who approved it."""
    reason: str
    """Why."""
    judgement: GateJudgement
    """What the gate found when it was approved, beside the champion of that moment."""


class ReleaseDeclined(Event):
    """A person decided that a held release never goes live."""

    release: RunId
    """The release."""
    declined_by: Text
    """Who decided."""
    reason: str
    """Why."""


class SitePaused(Event):
    """A person rolled the site back: nothing is deployed there by itself until it is resumed."""

    paused_by: Text
    """Who rolled back."""
    reason: str
    """Why."""


class SiteResumed(Event):
    """A person resumed the site: what waits is deployed."""

    resumed_by: Text
    """Who resumed it."""
    reason: str = ""
    """Why."""
    release: RunId | None = None
    """The release that waited and is deployed now; None if none did."""


class DeploymentEvent(Event):
    """What events about one deployment share."""

    release: RunId
    """The release that is deployed."""
    digest: Digest
    """SHA-256 (hex) of the release's ``bundle.json``."""
    deployment: Annotated[int, Field(ge=1)]
    """The deployment's number; each site counts its own."""
    cause: Cause
    """Why the deployment was opened."""


class RolloutStarted(DeploymentEvent):
    """The endpoint is moving to a release."""

    endpoint: Text
    """The endpoint's name in SageMaker."""
    endpoint_config: Text
    """The endpoint configuration that it is moving to."""
    previous: RunId | None = None
    """The release that is live until then."""


class DeploymentSucceeded(DeploymentEvent):
    """The release is live and passed its smoke test."""

    previous: RunId | None = None
    """The release that was live before."""
    latency_ms: float
    """Latency of one row in the smoke test, in milliseconds: its 95th percentile."""


class SmokeTestFailed(DeploymentEvent):
    """The release must not stay live: its answers are wrong, late or missing, or, if it was to
    restore the site, it did not come up. Its rollback begins.
    """

    reason: Text
    """Each check that failed."""


class DeploymentFailed(DeploymentEvent):
    """The deployment ended without its release being live."""

    reason: Text
    """What kept it from becoming live."""
    frozen: bool = False
    """True if the site is frozen: nothing is deployed there until a person requests a rollback."""


class DeploymentSuperseded(DeploymentEvent):
    """A later deployment took its place: it waited, or a requested rollback preempted it."""

    superseded_by: Annotated[int, Field(ge=1)]
    """The number of the later deployment."""


class DeploymentDelayed(DeploymentEvent):
    """A step of the deployment met an error, or waits for the endpoint; it is repeated."""

    state: Text
    """The deployment's state."""
    error: Text
    """What the step met."""
    attempts: int
    """How often the step failed; 0 if it only waits."""


class DeploymentStalled(DeploymentEvent):
    """The deployment has not changed for too long; the function that is due looks again."""

    state: Text
    """The deployment's state."""
    seconds: float
    """How long it has been in it."""
    last_error: str | None = None
    """What its present step met last, if anything."""
    attempts: int = 0
    """How often its present step failed."""


class EndpointDrifted(Event):
    """The endpoint is not what the ledger says, although nothing is on its way there."""

    release: RunId
    """The release that should be served."""
    endpoint: Text
    """The endpoint's name in SageMaker."""
    what: Text
    """How it differs."""
    since: AwareDatetime
    """When reconcile first saw it."""


class RollbackRequested(Contract):
    """A request to put an earlier release back.

    The one event that people may publish by hand, so it requires as little as possible.
    """

    site: Site
    """The site to roll back."""
    correlation_id: Text | None = None
    """None takes the event's own id."""
    to: RunId | None = None
    """The release to put back; None for the one that was live before."""
    requested_by: Text = "unknown"
    """Who asks, for the record."""
    reason: str = ""
    """Why, for the record."""
    request: Text | None = None
    """The request's own id, for whoever repeats it; None takes the event's."""
    leaves: RunId | None = None
    """The release to leave: if another is in its place by now, the request is refused."""
    requested_at: AwareDatetime | None = None
    """When; None takes the event's time. A request of more than an hour ago is refused."""


class DecisionRefused(Event):
    """An approval, a rejection or a resumption can't be done; nothing was changed."""

    request: Text
    """The detail-type of the request."""
    release: RunId | None = None
    """The release that it was about."""
    reason: Text
    """Why not, and what would work."""


class RollbackRefused(Event):
    """A requested rollback can't be done; nothing was changed."""

    to: RunId | None = None
    """The requested release."""
    reason: Text
    """Why not, and what would work."""


class RolledBack(DeploymentEvent):
    """An earlier release is live again and passed its smoke test."""

    from_release: RunId | None
    """The release that was replaced."""
    automatic: bool
    """Whether a failed smoke test caused it, and not a request."""
    reason: str
    """Why it was rolled back."""
    latency_ms: float
    """Latency of one row in the smoke test, in milliseconds: its 95th percentile."""


OUTBOUND: tuple[type[Contract], ...] = (
    SurveyQuarantined,
    TrainingStarted,
    TrainingSucceeded,
    TrainingFailed,
    ReleaseFound,
    ModelCreated,
    ReleaseRejected,
    ReleaseHeld,
    ReleaseApproved,
    ReleaseDeclined,
    SitePaused,
    SiteResumed,
    RolloutStarted,
    DeploymentSucceeded,
    SmokeTestFailed,
    DeploymentFailed,
    DeploymentSuperseded,
    DeploymentDelayed,
    DeploymentStalled,
    EndpointDrifted,
    RollbackRequested,
    RollbackRefused,
    ApprovalRequested,
    RejectionRequested,
    ResumeRequested,
    DecisionRefused,
    RolledBack,
)

REPEATS: Mapping[str, tuple[str, ...]] = {
    SurveyQuarantined.__name__: ("survey", "run_id"),
    TrainingStarted.__name__: ("run_id", "start"),
    TrainingSucceeded.__name__: ("run_id", "start"),
    TrainingFailed.__name__: ("run_id", "start"),
}
"""By detail-type: the fields that identify an event of the agent's. Where one is missing, as in an
older agent's events, no event counts as a repeat."""
