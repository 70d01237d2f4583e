"""Pure functions from a site's state to the next, along the rows of `state_table`.

A deployment's number is the fence: a step for another number than the one in the slot changes
nothing. Events to announce go into the state's outbox, which is written with the state and
published afterwards, so a step that dies in between loses none.
"""

from datetime import datetime

from events.base import Contract
from events.outbound import (
    Cause,
    DeploymentDelayed,
    DeploymentEvent,
    ModelCreated,
    SitePaused,
    SiteResumed,
)
from events.triggers import Trigger, TriggerKind
from functions.core.deadlines import REPEAT_AFTER, ErrorKind, is_hopeless
from functions.core.deployments import (
    Announcement,
    Candidate,
    Change,
    Deployment,
    DeploymentState,
    NewestArtifact,
    SitePause,
    SiteState,
)
from functions.core.state_table import (
    HOLDS_SLOT,
    Situation,
    Transition,
    TransitionEvent,
    find_transition,
)


def open_deployment(state: SiteState, now: datetime, request: ModelCreated) -> Change:
    """Open the deployment that a created model asks for.

    It takes the slot, waits for it, or is superseded at once if a newer artifact overtook it.
    """
    opened = _opened(state, request, now)
    situation = Situation(state, opened, request.created_at)
    row = find_transition(None, TransitionEvent.OPENED, situation)
    if row is None or row.target is None:
        return Change(state)
    opened = _moved(opened, row, now)
    state = state.model_copy(update={"next_number": opened.number + 1})
    if opened.trigger == _trigger_of(state):
        state = state.model_copy(update={"rollback_request": None})
    if row.target is DeploymentState.SUPERSEDED:
        by = state.newest_artifact.number if state.newest_artifact else None
        opened = opened.model_copy(update={"superseded_by": by})
        return Change(_announce(state, row, opened), (opened,), opened.trigger)
    if request.cause is Cause.ARTIFACT and not _is_older(state, request):
        newest = NewestArtifact(created_at=request.created_at, number=opened.number)
        state = state.model_copy(update={"newest_artifact": newest})
    if request.trigger.kind is TriggerKind.ROLLBACK_REQUEST:
        state = _paused(state, request, now)
    return _wait(state, opened) if row.target is DeploymentState.WAITING else _enter(state, opened)


def rollout_started(
    state: SiteState,
    now: datetime,
    number: int,
    endpoint: str,
    endpoint_config: str,
    limit_s: int | None = None,
) -> Change:
    """SageMaker accepted the pending deployment's endpoint configuration."""
    moved = _advance_slot(
        state,
        now,
        number,
        TransitionEvent.ROLLOUT_STARTED,
        {"endpoint_config": endpoint_config, "rollout_limit_s": limit_s},
        endpoint=endpoint,
    )
    return _stay(state, moved)


def succeeded(state: SiteState, now: datetime, number: int, latency_ms: float) -> Change:
    """The rolling deployment's release passed the smoke test, so it is the champion."""
    moved = _advance_slot(state, now, number, TransitionEvent.VERIFIED, {"latency_ms": latency_ms})
    if moved is None:
        return Change(state)
    state, live = moved
    if state.champion is None or state.champion.release != live.candidate.release:
        update = {"champion_since": now, "previous_champion": state.champion}
        state = state.model_copy(update=update)
    served = {
        "champion": live.candidate,
        "champion_config": live.endpoint_config,
        "drift": None,
    }
    return _leave_slot(state.model_copy(update=served), live, now)


def verification_failed(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The rolling deployment's release failed the smoke test.

    It keeps the slot, so that only its rollback can come next.
    """
    event = TransitionEvent.VERIFICATION_FAILED
    return _stay(state, _advance_slot(state, now, number, event, {"reason": reason}))


def failed(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The deployment ended without its release being live.

    The slot is free again, unless it should have restored the site: then another release has to.
    """
    moved = _advance_slot(state, now, number, TransitionEvent.FAILED, {"reason": reason})
    if moved is None or moved[1].state is DeploymentState.VERIFICATION_FAILED:
        return _stay(state, moved)
    return _leave_slot(*moved, now)


def rollout_repeated(state: SiteState, now: datetime, number: int, error: str) -> Change:
    """SageMaker lacked the capacity for the rollout, so it is requested again later."""
    details: dict[str, object] = {
        "last_error": error,
        "attempts": 1,
        "failing_since": now,
        "endpoint_config": None,
        "not_before": now + REPEAT_AFTER,
    }
    return _stay(state, _advance_slot(state, now, number, TransitionEvent.REPEATED, details))


def error_met(state: SiteState, now: datetime, number: int, error: str, kind: ErrorKind) -> Change:
    """A step of the deployment in the slot met an error; it is noted, or ends the deployment."""
    deployment = state.in_flight
    if deployment is None or deployment.number != number:
        return Change(state)
    noted = deployment.model_copy(
        update={
            "last_error": error,
            "attempts": deployment.attempts + (kind is not ErrorKind.BUSY),
            "failing_since": deployment.failing_since or now,
        }
    )
    state = state.model_copy(update={"in_flight": noted})
    if is_hopeless(noted, kind, now):
        return gave_up(state, now, number, error)
    if deployment.last_error is None:
        state = _announced(state, DeploymentDelayed, noted, now)
    return Change(state, (noted,))


def gave_up(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The deployment's present step will not succeed: free the slot, or restore what was live."""
    deployment = state.in_flight
    if deployment is not None and deployment.state is DeploymentState.ROLLING:
        return verification_failed(state, now, number, reason)
    if deployment is not None and deployment.state is DeploymentState.VERIFICATION_FAILED:
        reason = f"{deployment.reason}; and nothing could be put back: {reason}"
        return frozen(state, now, number, reason)
    return failed(state, now, number, reason)


def frozen(state: SiteState, now: datetime, number: int, reason: str) -> Change:
    """The deployment failed in a way that only a person can judge: nothing more is deployed.

    What waits goes on waiting until a rollback is requested.
    """
    moved = _advance_slot(
        state, now, number, TransitionEvent.FROZEN, {"reason": reason}, frozen=True
    )
    if moved is None:
        return Change(state)
    state, ended = moved
    return _leave_slot(state.model_copy(update={"frozen": reason}), ended, now)


def resumed(state: SiteState, now: datetime, by: str, reason: str, correlation_id: str) -> Change:
    """A person ended the pause; what waits takes the slot."""
    if state.paused is None:
        return Change(state)
    state = state.model_copy(update={"paused": None})
    change = fill_slot(state, now)
    started = change.deployments
    event = SiteResumed(
        site=state.site,
        correlation_id=correlation_id,
        resumed_by=by,
        reason=reason,
        release=started[0].candidate.release if started else None,
    )
    return Change(_with_event(change.state, event, now), started)


def published(state: SiteState, _now: datetime, announcements: tuple[Announcement, ...]) -> Change:
    """These announcements are on the bus."""
    left = tuple(entry for entry in state.outbox if entry not in announcements)
    return Change(state.model_copy(update={"outbox": left}) if left != state.outbox else state)


def _opened(state: SiteState, request: ModelCreated, now: datetime) -> Deployment:
    """The deployment as opened; whether it may hold the slot is not decided yet."""
    live = state.champion.release if state.champion else None
    failing = state.in_flight
    is_automatic = failing is not None and request.trigger == Trigger.automatic_rollback(
        failing.number
    )
    is_requested = request.trigger.kind is TriggerKind.ROLLBACK_REQUEST
    preempts = failing is not None and is_requested
    replaced = failing.candidate.release if failing and (is_automatic or preempts) else live
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
        rolled_back_from=replaced if request.cause is Cause.ROLLBACK else None,
        automatic=is_automatic,
        approved_by=request.approved_by,
        preempted=failing.number if failing and preempts else None,
        reason=request.reason,
    )


def _trigger_of(state: SiteState) -> Trigger | None:
    """The trigger of the rollback that was requested, if one waits to be taken up."""
    request = state.rollback_request
    return Trigger.rollback_request(request.id) if request else None


def _wait(state: SiteState, opened: Deployment) -> Change:
    """Let the opened deployment wait, in the place of the one that waited, if any."""
    ended: tuple[Deployment, ...] = ()
    if state.waiting is not None:
        state, ended = _end(
            state, state.waiting, TransitionEvent.REPLACED, opened, superseded_by=opened.number
        )
    return Change(state.model_copy(update={"waiting": opened}), (opened, *ended), opened.trigger)


def _enter(state: SiteState, opened: Deployment) -> Change:
    """Give the opened deployment the slot, and end the one that it rolls back or preempts."""
    ended: tuple[Deployment, ...] = ()
    if state.in_flight is not None and opened.preempted is not None:
        event = TransitionEvent.PREEMPTED
        state, ended = _end(state, state.in_flight, event, opened, superseded_by=opened.number)
    elif state.in_flight is not None:
        state, ended = _end(state, state.in_flight, TransitionEvent.ROLLBACK_OPENED, opened)
    state = state.model_copy(update={"in_flight": opened, "frozen": None})
    return Change(state, (opened, *ended), opened.trigger)


def _end(
    state: SiteState,
    deployment: Deployment,
    event: TransitionEvent,
    successor: Deployment,
    **details: object,
) -> tuple[SiteState, tuple[Deployment, ...]]:
    moved = _advance(state, successor.changed_at, deployment, event, details)
    return (state, ()) if moved is None else (moved[0], (moved[1],))


def _advance_slot(
    state: SiteState,
    now: datetime,
    number: int,
    event: TransitionEvent,
    details: dict[str, object],
    **announced: object,
) -> tuple[SiteState, Deployment] | None:
    """Move the deployment in the slot; None if it is another one, or the event is not for it."""
    deployment = state.in_flight
    if deployment is None or deployment.number != number:
        return None
    return _advance(state, now, deployment, event, details, **announced)


def _advance(
    state: SiteState,
    now: datetime,
    deployment: Deployment,
    event: TransitionEvent,
    details: dict[str, object],
    **announced: object,
) -> tuple[SiteState, Deployment] | None:
    row = find_transition(deployment.state, event, Situation(state, deployment))
    if row is None:
        return None
    moved = _moved(deployment, row, now, **details)
    return _announce(state, row, moved, **announced), moved


def _stay(state: SiteState, moved: tuple[SiteState, Deployment] | None) -> Change:
    """Put the moved deployment back into the slot."""
    if moved is None:
        return Change(state)
    state, deployment = moved
    return Change(state.model_copy(update={"in_flight": deployment}), (deployment,))


def _leave_slot(state: SiteState, ended: Deployment, now: datetime) -> Change:
    """Take the ended deployment out of the slot; the one that waits, if any, takes it."""
    return fill_slot(state.model_copy(update={"in_flight": None}), now, (ended,))


def fill_slot(state: SiteState, now: datetime, ended: tuple[Deployment, ...] = ()) -> Change:
    """Let the deployment that waits, if any, take the free slot if it may."""
    if state.waiting is None or state.in_flight is not None:
        return Change(state, ended)
    live = state.champion.release if state.champion else None
    replaced = live if state.waiting.cause is Cause.ROLLBACK else None
    details: dict[str, object] = {"live_before": live, "rolled_back_from": replaced}
    moved = _advance(state, now, state.waiting, TransitionEvent.SLOT_FREED, details)
    if moved is None:
        return Change(state, ended)
    state, next_one = moved
    state = state.model_copy(update={"in_flight": next_one, "waiting": None})
    return Change(state, (*ended, next_one))


def _moved(deployment: Deployment, row: Transition, now: datetime, **details: object) -> Deployment:
    progress: dict[str, object] = {"state": row.target, "changed_at": now}
    if row.target in HOLDS_SLOT:
        progress |= {"last_error": None, "attempts": 0, "failing_since": None, "not_before": None}
    return deployment.model_copy(update={**progress, **details})


def _is_older(state: SiteState, request: ModelCreated) -> bool:
    newest = state.newest_artifact
    return newest is not None and request.created_at < newest.created_at


def _paused(state: SiteState, request: ModelCreated, now: datetime) -> SiteState:
    """Pause the site for a rollback by hand; one that is paused already keeps its pause."""
    if state.paused is not None:
        return state
    by = request.requested_by or "unknown"
    event = SitePaused(
        site=state.site, correlation_id=request.correlation_id, paused_by=by, reason=request.reason
    )
    pause = SitePause(by=by, at=now, reason=request.reason)
    return _with_event(state.model_copy(update={"paused": pause}), event, now)


def _with_event(state: SiteState, event: Contract, now: datetime) -> SiteState:
    return state.model_copy(update={"outbox": (*state.outbox, Announcement.of(event, now))})


def _announce(
    state: SiteState, row: Transition, deployment: Deployment, **details: object
) -> SiteState:
    """Put the row's event into the outbox."""
    if row.announces is None:
        return state
    return _announced(state, row.announces, deployment, deployment.changed_at, **details)


def _announced(
    state: SiteState,
    event_type: type[DeploymentEvent],
    deployment: Deployment,
    now: datetime,
    **details: object,
) -> SiteState:
    """Put an event into the outbox; it takes those of the values that it has fields for."""
    event = event_type.model_validate(
        {
            "site": deployment.site,
            "correlation_id": deployment.correlation_id,
            "release": deployment.candidate.release,
            "digest": deployment.candidate.digest,
            "deployment": deployment.number,
            "cause": deployment.cause,
            "previous": deployment.live_before,
            "from_release": deployment.rolled_back_from,
            "automatic": deployment.automatic,
            "reason": deployment.reason,
            "latency_ms": deployment.latency_ms,
            "superseded_by": deployment.superseded_by,
            "endpoint_config": deployment.endpoint_config,
            "state": deployment.state.value,
            "error": deployment.last_error,
            "attempts": deployment.attempts,
            **details,
        }
    )
    return _with_event(state, event, now)
