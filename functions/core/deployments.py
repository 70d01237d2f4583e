"""The deployment state machine of one site: what may be live, and what happens next.

    WAITING ──► PENDING ──► ROLLING ──► LIVE
       │           │           │  └───► VERIFICATION_FAILED ──► FAILED (its rollback takes the slot)
       ▼           ▼           ▼
    SUPERSEDED   FAILED      FAILED

One deployment holds the slot (``in_flight``), at most one waits, the latest wins. The deployment's
number is the fence: a step that speaks of another number than the one in the slot changes nothing,
so every step may come twice, late or out of order. Each transition is a pure function of the
state; what it wants announced goes into the state's outbox, is written with it in one transaction
and published afterwards, so a step that dies in between loses no event.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import AwareDatetime, Field

from events.base import Contract
from events.manifests import Text
from events.names import Digest, RunId, Site
from events.outbound import (
    Cause,
    DeploymentEvent,
    DeploymentFailed,
    DeploymentSucceeded,
    DeploymentSuperseded,
    ModelCreated,
    RolledBack,
    RolloutStarted,
    SmokeTestFailed,
)
from events.triggers import Trigger, TriggerKind

E = TypeVar("E", bound=DeploymentEvent)


class DeploymentState(StrEnum):
    """Where a deployment stands."""

    WAITING = "waiting"
    """Another one holds the slot."""
    PENDING = "pending"
    """It holds the slot; the endpoint was not asked yet."""
    ROLLING = "rolling"
    """The endpoint was asked to move to it."""
    VERIFICATION_FAILED = "unfit"
    """The endpoint serves it and it answers wrongly; the way back is being prepared."""
    LIVE = "live"
    FAILED = "failed"
    SUPERSEDED = "superseded"


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
    endpoint_config: str | None = None
    superseded_by: int | None = None
    reason: str = ""
    latency_ms: float | None = None


class NewestArtifact(Contract):
    """The newest release that arrived by itself, and the deployment that it asked for."""

    created_at: AwareDatetime
    number: int


class Announcement(Contract):
    """An event in the outbox: its detail-type, its detail as JSON, and when it was written."""

    detail_type: Text
    detail: Text
    written_at: AwareDatetime

    @classmethod
    def of(cls, event: Contract, now: datetime) -> Self:
        """Put an event into the form in which it waits."""
        return cls(detail_type=type(event).__name__, detail=event.model_dump_json(), written_at=now)


class SiteState(Contract):
    """All that decides what happens next at a site."""

    site: Site
    version: int = 0
    next_number: int = 1
    champion: Candidate | None = None
    champion_since: AwareDatetime | None = None
    """When it became live; None in states from before this was kept."""
    previous_champion: Annotated[Candidate | None, Field(alias="former")] = None
    """What was live before the champion: where a rollback without a target goes."""
    in_flight: Deployment | None = None
    waiting: Deployment | None = None
    newest_artifact: NewestArtifact | None = None
    frozen: str | None = None
    """Why the endpoint is left alone until a person asks for a rollback."""
    outbox: tuple[Announcement, ...] = ()


@dataclass(frozen=True)
class Change:
    """A transition's result: the new state and the deployments whose records changed with it."""

    state: SiteState
    deployments: tuple[Deployment, ...] = field(default=())
    trigger: Trigger | None = None
    """Set when a deployment was opened: the ledger refuses the same trigger twice."""


Transition = Callable[[SiteState, datetime], Change]
"""From a site's state and the time to a change of it."""


def open_deployment(state: SiteState, now: datetime, request: ModelCreated) -> Change:
    """Open the deployment that a created model asks for.

    It takes the slot if that is free, or if it is the way back from the failing deployment that
    holds it; otherwise it waits and supersedes what waited before. An artifact that is older
    than one that was asked for already only overtook it on the way: it is superseded at once.
    """
    failing = state.in_flight if _failed_verification(state.in_flight) else None
    is_return = request.trigger.kind is TriggerKind.AUTOMATIC_ROLLBACK
    if is_return and (
        failing is None or request.trigger != Trigger.automatic_rollback(failing.number)
    ):
        return Change(state)

    opened = _opened(state, request, rolled_back_from=failing if is_return else None, now=now)
    state = state.model_copy(update={"next_number": state.next_number + 1})
    if request.cause is Cause.ARTIFACT:
        newest = state.newest_artifact
        if newest is not None and request.created_at < newest.created_at:
            return _change(state, _superseded(opened, newest.number, now), trigger=True)
        newest = NewestArtifact(created_at=request.created_at, number=opened.number)
        state = state.model_copy(update={"newest_artifact": newest})

    by_hand = request.cause is Cause.ROLLBACK and not is_return
    if is_return and failing is not None:
        ended = _moved(failing, DeploymentState.FAILED, now)
        return _change(_in_slot(state, opened), opened, ended, trigger=True)
    if state.in_flight is None and (state.frozen is None or by_hand):
        thawed = state.model_copy(update={"frozen": None})
        return _change(_in_slot(thawed, opened), opened, trigger=True)

    waits = _moved(opened, DeploymentState.WAITING, now)
    replaced = () if state.waiting is None else (_superseded(state.waiting, waits.number, now),)
    state = state.model_copy(update={"waiting": waits})
    return _change(state, waits, *replaced, trigger=True)


def rollout_started(
    state: SiteState, now: datetime, number: int, endpoint: str, endpoint_config: str
) -> Change:
    """The endpoint was asked to move to the pending deployment's release."""
    deployment = _in_state(state, number, DeploymentState.PENDING)
    if deployment is None:
        return Change(state)
    rolling = _moved(deployment, DeploymentState.ROLLING, now, endpoint_config=endpoint_config)
    event = _event(
        RolloutStarted,
        rolling,
        endpoint=endpoint,
        endpoint_config=endpoint_config,
        previous=rolling.live_before,
    )
    return _change(_announce(_in_slot(state, rolling), event, now), rolling)


def succeeded(state: SiteState, now: datetime, number: int, latency_ms: float) -> Change:
    """The rolling deployment's release is live and answers rightly."""
    deployment = _in_state(state, number, DeploymentState.ROLLING)
    if deployment is None:
        return Change(state)
    live = _moved(deployment, DeploymentState.LIVE, now, latency_ms=latency_ms)
    changes_release = state.champion is None or state.champion.release != live.candidate.release
    state = state.model_copy(
        update={
            "champion": live.candidate,
            "champion_since": now if changes_release else state.champion_since,
            "previous_champion": state.champion if changes_release else state.previous_champion,
        }
    )
    event: DeploymentEvent
    if live.cause is Cause.ROLLBACK:
        event = _event(
            RolledBack,
            live,
            from_release=live.rolled_back_from,
            automatic=live.automatic,
            reason=live.reason,
            latency_ms=latency_ms,
        )
    else:
        event = _event(DeploymentSucceeded, live, previous=live.live_before, latency_ms=latency_ms)
    return _free_slot(_announce(state, event, now), live, now)


def verification_failed(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The endpoint serves the release, and it does not answer as it should.

    It keeps the slot, so that nothing but the way back can come next.
    """
    deployment = _in_state(state, number, DeploymentState.ROLLING)
    if deployment is None:
        return Change(state)
    marked = _moved(deployment, DeploymentState.VERIFICATION_FAILED, now, reason=reason)
    event = _event(SmokeTestFailed, marked, reason=reason)
    return _change(_announce(_in_slot(state, marked), event, now), marked)


def failed(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The deployment ended without its release being live; the slot is free again."""
    deployment = state.in_flight
    if deployment is None or deployment.number != number:
        return Change(state)
    ended = _moved(deployment, DeploymentState.FAILED, now, reason=reason)
    event = _event(DeploymentFailed, ended, reason=reason)
    return _free_slot(_announce(state, event, now), ended, now)


def frozen(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The deployment failed in a way that only a person can judge: touch nothing more.

    What waits goes on waiting until a rollback is asked for by hand.
    """
    deployment = state.in_flight
    if deployment is None or deployment.number != number:
        return Change(state)
    ended = _moved(deployment, DeploymentState.FAILED, now, reason=reason)
    event = _event(DeploymentFailed, ended, reason=reason, frozen=True)
    state = state.model_copy(update={"in_flight": None, "frozen": reason})
    return _change(_announce(state, event, now), ended)


def published(state: SiteState, _now: datetime, announcements: tuple[Announcement, ...]) -> Change:
    """These announcements are on the bus."""
    left = tuple(entry for entry in state.outbox if entry not in announcements)
    return Change(state.model_copy(update={"outbox": left}) if left != state.outbox else state)


def automatic_rollback_target(state: SiteState, number: int) -> Candidate | None:
    """Where to return from a failing deployment: the champion, unless that is the failing one."""
    deployment = _in_state(state, number, DeploymentState.VERIFICATION_FAILED)
    if deployment is None or state.champion is None:
        return None
    is_itself = state.champion.release == deployment.candidate.release
    return None if is_itself else state.champion


def _opened(
    state: SiteState, request: ModelCreated, rolled_back_from: Deployment | None, now: datetime
) -> Deployment:
    live = state.champion.release if state.champion else None
    rolls_back = request.cause is Cause.ROLLBACK
    return Deployment(
        site=request.site,
        number=state.next_number,
        candidate=Candidate(
            release=request.release, digest=request.digest, model_name=request.model_name
        ),
        cause=request.cause,
        trigger=request.trigger,
        state=DeploymentState.PENDING,
        correlation_id=request.correlation_id,
        opened_at=now,
        changed_at=now,
        live_before=live,
        rolled_back_from=(rolled_back_from.candidate.release if rolled_back_from else live)
        if rolls_back
        else None,
        automatic=rolled_back_from is not None,
        reason=request.reason,
    )


def _failed_verification(deployment: Deployment | None) -> bool:
    return deployment is not None and deployment.state is DeploymentState.VERIFICATION_FAILED


def _in_state(state: SiteState, number: int, expected: DeploymentState) -> Deployment | None:
    deployment = state.in_flight
    fits = deployment and deployment.number == number and deployment.state is expected
    return deployment if fits else None


def _moved(
    deployment: Deployment, to: DeploymentState, now: datetime, **details: object
) -> Deployment:
    return deployment.model_copy(update={"state": to, "changed_at": now, **details})


def _in_slot(state: SiteState, deployment: Deployment) -> SiteState:
    return state.model_copy(update={"in_flight": deployment})


def _superseded(deployment: Deployment, by: int, now: datetime) -> Deployment:
    return _moved(deployment, DeploymentState.SUPERSEDED, now, superseded_by=by)


def _free_slot(state: SiteState, ended: Deployment, now: datetime) -> Change:
    """Take the ended deployment out of the slot; what waits, if anything, is next."""
    if state.waiting is None or state.frozen is not None:
        return _change(state.model_copy(update={"in_flight": None}), ended)
    live = state.champion.release if state.champion else None
    promoted = _moved(
        state.waiting,
        DeploymentState.PENDING,
        now,
        live_before=live,
        rolled_back_from=live if state.waiting.cause is Cause.ROLLBACK else None,
    )
    state = state.model_copy(update={"in_flight": promoted, "waiting": None})
    return _change(state, ended, promoted)


def _change(state: SiteState, *deployments: Deployment, trigger: bool = False) -> Change:
    for deployment in deployments:
        if deployment.state is DeploymentState.SUPERSEDED:
            by = deployment.superseded_by
            event = _event(DeploymentSuperseded, deployment, superseded_by=by)
            state = _announce(state, event, deployment.changed_at)
    opened = deployments[0].trigger if trigger else None
    return Change(state, deployments, opened)


def _event(kind: type[E], deployment: Deployment, **details: object) -> E:
    about = {
        "site": deployment.site,
        "correlation_id": deployment.correlation_id,
        "release": deployment.candidate.release,
        "digest": deployment.candidate.digest,
        "deployment": deployment.number,
        "cause": deployment.cause,
    }
    return kind.model_validate(about | details)


def _announce(state: SiteState, event: Contract, now: datetime) -> SiteState:
    return state.model_copy(update={"outbox": (*state.outbox, Announcement.of(event, now))})
