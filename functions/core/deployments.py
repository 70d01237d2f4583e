"""What is remembered of a site's deployments: the states, and the documents in the ledger.

The ledger holds documents from earlier versions, so a field that was renamed keeps its stored key
as an alias. How one state follows from another is in `state_table` and `transitions`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Field

from events.base import Contract
from events.manifests import Text
from events.names import Digest, RunId, Site
from events.outbound import Cause
from events.triggers import Trigger


class DeploymentState(StrEnum):
    """The state of one deployment. The values are stored in ledgers and must not change."""

    WAITING = "waiting"
    """Another deployment holds the site's slot."""
    PENDING = "pending"
    """It holds the slot; its rollout has not started."""
    ROLLING = "rolling"
    """The endpoint is moving to its release, or has moved and is not verified yet."""
    VERIFICATION_FAILED = "unfit"
    """The endpoint serves its release, which failed the smoke test; a rollback is due."""
    LIVE = "live"
    """Its release passed the smoke test. A final state: another may have replaced it since."""
    FAILED = "failed"
    """It ended without its release being live."""
    SUPERSEDED = "superseded"
    """A later deployment replaced it while it waited, or a requested rollback preempted it."""


class Candidate(Contract):
    """A release that can be live: its id, its digest and its model in SageMaker."""

    release: RunId
    digest: Digest
    model_name: Text


class Deployment(Contract):
    """One attempt to make a release live."""

    site: Site
    number: Annotated[int, Field(ge=1)]
    candidate: Candidate
    cause: Cause
    trigger: Trigger
    state: DeploymentState
    correlation_id: Text
    opened_at: AwareDatetime
    changed_at: AwareDatetime
    live_before: Annotated[RunId | None, Field(alias="previous")]
    """The release that was live when this deployment was opened or, if it waited, took the slot."""
    rolled_back_from: Annotated[RunId | None, Field(alias="leaves")] = None
    """In a rollback: the release that it replaces."""
    automatic: bool = False
    approved_by: Text | None = None
    """Who let its release through although the gate had held it."""
    endpoint_config: str | None = None
    superseded_by: int | None = None
    reason: str = ""
    latency_ms: float | None = None
    last_error: str | None = None
    """What its present step met last, or what it waits for."""
    attempts: int = 0
    """How often its present step failed."""
    failing_since: AwareDatetime | None = None
    """When its present step first failed."""
    not_before: AwareDatetime | None = None
    """When its rollout may be requested again."""
    rollout_limit_s: int | None = None
    """How many seconds SageMaker was given for the rollout."""
    preempted: int | None = None
    """In a requested rollback: the deployment whose slot it took."""

    @property
    def restores(self) -> bool:
        """Whether the endpoint serves something unverified until this deployment has ended."""
        return self.automatic or self.preempted is not None


class NewestArtifact(Contract):
    """The newest release that arrived as an artifact, and the deployment opened for it."""

    created_at: AwareDatetime
    number: int


class Announcement(Contract):
    """An event in the outbox: its detail-type, its detail as JSON, and when it was written."""

    detail_type: Text
    detail: Text
    written_at: AwareDatetime

    @classmethod
    def of(cls, event: Contract, now: datetime) -> Self:
        """The event in its stored form."""
        return cls(detail_type=type(event).__name__, detail=event.model_dump_json(), written_at=now)


class SitePause(Contract):
    """A person's stop: nothing but a rollback is deployed until a person resumes the site."""

    by: Text
    at: AwareDatetime
    reason: str = ""


class RollbackRequest(Contract):
    """A person's rollback that no step has taken up yet."""

    id: Text
    to: RunId
    leaves: RunId | None = None
    requested_by: Text
    requested_at: AwareDatetime
    reason: str = ""


class EndpointDrift(Contract):
    """How the endpoint differs from the ledger, and since when that has been known."""

    what: Text
    since: AwareDatetime


class SiteState(Contract):
    """The site's state: at most one deployment holds the slot, at most one waits for it."""

    site: Site
    version: int = 0
    next_number: int = 1
    champion: Candidate | None = None
    champion_since: AwareDatetime | None = None
    """When it became live; None in states from before this was kept."""
    previous_champion: Annotated[Candidate | None, Field(alias="former")] = None
    """The release that was live before the champion: the default target of a rollback."""
    champion_config: str | None = None
    """The endpoint configuration on which the champion was verified."""
    rollback_request: RollbackRequest | None = None
    drift: EndpointDrift | None = None
    in_flight: Deployment | None = None
    waiting: Deployment | None = None
    newest_artifact: NewestArtifact | None = None
    paused: SitePause | None = None
    """Set by a rollback by hand; what arrives meanwhile waits."""
    frozen: str | None = None
    """Why the system stopped all deployments here until a person requests a rollback; None while
    it has not. A person's stop would be "paused", and a release that the gate keeps back "held"."""
    outbox: tuple[Announcement, ...] = ()


@dataclass(frozen=True)
class Change:
    """The new state of a site, and the deployments whose records changed with it."""

    state: SiteState
    deployments: tuple[Deployment, ...] = field(default=())
    trigger: Trigger | None = None
    """Set when a deployment was opened: the ledger refuses the same trigger twice."""


StateChange = Callable[[SiteState, datetime], Change]
"""From a site's state and the time to the change; pure, since the ledger may call it again."""
