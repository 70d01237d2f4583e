"""The deployment state machine as a table; `transitions` runs from it.

``python -m functions.core.state_table`` writes docs/state-machine.md from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from events.outbound import (
    Cause,
    DeploymentDelayed,
    DeploymentEvent,
    DeploymentFailed,
    DeploymentSucceeded,
    DeploymentSuperseded,
    RolledBack,
    RolloutStarted,
    SmokeTestFailed,
)
from events.triggers import Trigger, TriggerKind
from functions.core.deployments import Deployment, DeploymentState, SiteState

DOCUMENT = Path(__file__).parents[2] / "docs" / "state-machine.md"


class TransitionEvent(StrEnum):
    """What moves a deployment; the values are for people."""

    OPENED = "a model was created for it"
    REPLACED = "a later deployment waits"
    SLOT_FREED = "the slot is free"
    ROLLOUT_STARTED = "the endpoint was updated"
    VERIFIED = "the smoke test passed"
    VERIFICATION_FAILED = "the smoke test failed"
    ROLLBACK_OPENED = "its automatic rollback takes the slot"
    PREEMPTED = "a requested rollback takes the slot"
    FAILED = "it can't become live"
    FROZEN = "only a person can go on"
    REPEATED = "SageMaker took the update back for a lack of capacity"


@dataclass(frozen=True)
class Situation:
    """What guards may look at: the site before the transition, and the deployment.

    Attributes:
        created_at: of a deployment that is being opened, when its release was made.
    """

    site: SiteState
    deployment: Deployment
    created_at: datetime | None = None


@dataclass(frozen=True)
class Guard:
    """A condition, and how the documentation puts it."""

    text: str
    holds: Callable[[Situation], bool]


@dataclass(frozen=True)
class Transition:
    """One row of the table; the first row whose guard holds applies.

    Attributes:
        source: None for a deployment that does not exist yet.
        target: None if no deployment is opened.
        announces: the event that goes into the site's outbox.
    """

    source: DeploymentState | None
    event: TransitionEvent
    target: DeploymentState | None
    guard: Guard | None = None
    announces: type[DeploymentEvent] | None = None


def _is_due_rollback(situation: Situation) -> bool:
    failing = situation.site.in_flight
    return (
        failing is not None
        and failing.state is DeploymentState.VERIFICATION_FAILED
        and situation.deployment.trigger == Trigger.automatic_rollback(failing.number)
    )


def _is_undue_rollback(situation: Situation) -> bool:
    is_automatic = situation.deployment.trigger.kind is TriggerKind.AUTOMATIC_ROLLBACK
    return is_automatic and not _is_due_rollback(situation)


def _is_overtaken(situation: Situation) -> bool:
    newest = situation.site.newest_artifact
    return (
        situation.deployment.cause is Cause.ARTIFACT
        and situation.deployment.approved_by is None
        and newest is not None
        and situation.created_at is not None
        and situation.created_at < newest.created_at
    )


def _is_running(situation: Situation) -> bool:
    return situation.site.frozen is None and situation.site.paused is None


def _preempts(situation: Situation) -> bool:
    is_requested = situation.deployment.trigger.kind is TriggerKind.ROLLBACK_REQUEST
    return is_requested and situation.site.in_flight is not None


def _can_take_slot(situation: Situation) -> bool:
    may_start = _is_running(situation) or situation.deployment.cause is Cause.ROLLBACK
    return situation.site.in_flight is None and may_start


def _can_take_freed_slot(situation: Situation) -> bool:
    is_rollback = situation.deployment.cause is Cause.ROLLBACK
    return situation.site.frozen is None and (situation.site.paused is None or is_rollback)


ROLLBACK_DUE = Guard("it is the automatic rollback of the deployment in the slot", _is_due_rollback)
ROLLBACK_NOT_DUE = Guard(
    "it is the automatic rollback of a deployment that no longer needs one", _is_undue_rollback
)
OVERTAKEN = Guard("a newer artifact was opened before it, and nobody approved it", _is_overtaken)
PREEMPTS = Guard("it is a requested rollback; another deployment is in the slot", _preempts)
SLOT_FREE = Guard(
    "the slot is free, and the site neither frozen nor paused or this a requested rollback",
    _can_take_slot,
)
NOT_STOPPED = Guard(
    "the site is not frozen, and not paused or this a rollback", _can_take_freed_slot
)
ROLLS_BACK = Guard(
    "its cause is a rollback", lambda situation: situation.deployment.cause is Cause.ROLLBACK
)
RESTORES = Guard(
    "it restores a site, so another release has to be put back",
    lambda situation: situation.deployment.restores,
)

_State, _Event = DeploymentState, TransitionEvent
HOLDS_SLOT = (_State.PENDING, _State.ROLLING, _State.VERIFICATION_FAILED)

TRANSITIONS: tuple[Transition, ...] = (
    Transition(None, _Event.OPENED, None, ROLLBACK_NOT_DUE),
    Transition(None, _Event.OPENED, _State.SUPERSEDED, OVERTAKEN, DeploymentSuperseded),
    Transition(None, _Event.OPENED, _State.PENDING, ROLLBACK_DUE),
    Transition(None, _Event.OPENED, _State.PENDING, PREEMPTS),
    Transition(None, _Event.OPENED, _State.PENDING, SLOT_FREE),
    Transition(None, _Event.OPENED, _State.WAITING),
    Transition(_State.WAITING, _Event.REPLACED, _State.SUPERSEDED, announces=DeploymentSuperseded),
    Transition(_State.WAITING, _Event.SLOT_FREED, _State.PENDING, NOT_STOPPED),
    Transition(_State.PENDING, _Event.ROLLOUT_STARTED, _State.ROLLING, announces=RolloutStarted),
    Transition(_State.ROLLING, _Event.VERIFIED, _State.LIVE, ROLLS_BACK, RolledBack),
    Transition(_State.ROLLING, _Event.VERIFIED, _State.LIVE, announces=DeploymentSucceeded),
    Transition(
        _State.ROLLING,
        _Event.VERIFICATION_FAILED,
        _State.VERIFICATION_FAILED,
        announces=SmokeTestFailed,
    ),
    Transition(_State.VERIFICATION_FAILED, _Event.ROLLBACK_OPENED, _State.FAILED),
    *(
        Transition(state, _Event.PREEMPTED, _State.SUPERSEDED, announces=DeploymentSuperseded)
        for state in HOLDS_SLOT
    ),
    Transition(_State.ROLLING, _Event.REPEATED, _State.PENDING, announces=DeploymentDelayed),
    *(
        Transition(state, _Event.FAILED, _State.VERIFICATION_FAILED, RESTORES, SmokeTestFailed)
        for state in (_State.PENDING, _State.ROLLING)
    ),
    *(
        Transition(state, event, _State.FAILED, announces=DeploymentFailed)
        for state in HOLDS_SLOT
        for event in (_Event.FAILED, _Event.FROZEN)
    ),
)
"""What is not in the table changes nothing: every step may come twice, late or out of order."""


def find_transition(
    source: DeploymentState | None, event: TransitionEvent, situation: Situation
) -> Transition | None:
    """The row that applies; None if the event changes nothing in this state."""
    return next(
        (
            row
            for row in TRANSITIONS
            if (row.source, row.event) == (source, event)
            and (row.guard is None or row.guard.holds(situation))
        ),
        None,
    )


def render() -> str:
    """The documentation of the table, in Markdown."""
    rows = (
        f"| {row.source.name if row.source else '-'} | {row.event.value} "
        f"| {row.guard.text if row.guard else ''} | {row.target.name if row.target else '-'} "
        f"| {row.announces.__name__ if row.announces else ''} |"
        for row in TRANSITIONS
    )
    return "\n".join(
        [
            "# The state of a deployment",
            "",
            "Generated from `functions/core/state_table.py` by `make schemas`; do not edit.",
            "",
            "A site has one slot. The deployment that is PENDING, ROLLING or VERIFICATION_FAILED",
            "holds it, and at most one is WAITING for it. For a state and an event, the first row",
            "whose condition holds applies; any other pair changes nothing.",
            "",
            "| from | event | if | to | announced |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
