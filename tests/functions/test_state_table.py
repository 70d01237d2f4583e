"""The deployment state machine, pair by pair; its documentation comes from the same table."""

from datetime import UTC, datetime, timedelta

import pytest

from events.outbound import Cause, ModelCreated
from events.triggers import Trigger
from functions.core.deployments import (
    Deployment,
    DeploymentState,
    NewestArtifact,
    SitePause,
    SiteState,
)
from functions.core.state_table import (
    DOCUMENT,
    Situation,
    TransitionEvent,
    find_transition,
    render,
)
from functions.core.transitions import (
    failed,
    frozen,
    open_deployment,
    resumed,
    rollout_repeated,
    rollout_started,
    succeeded,
    verification_failed,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PAUSE = SitePause(by="on-call", at=NOW)
S, E = DeploymentState, TransitionEvent


def model_created(trigger, cause=Cause.ARTIFACT, release=2):
    return ModelCreated(
        site="lab",
        correlation_id="c",
        release=f"lab-{release:012x}",
        digest="0" * 64,
        model_name="m",
        cause=cause,
        trigger=trigger,
        created_at=NOW + timedelta(hours=release),
    )


def deployment(state: DeploymentState, number: int = 1, cause=Cause.ARTIFACT) -> Deployment:
    return Deployment(
        site="lab",
        number=number,
        candidate={"release": "lab-000000000001", "digest": "0" * 64, "model_name": "m"},
        cause=cause,
        trigger=Trigger.artifact(str(number)),
        state=state,
        correlation_id="c",
        opened_at=NOW,
        changed_at=NOW,
        live_before=None,
        endpoint_config="config",
    )


def site(**fields) -> SiteState:
    return SiteState(site="lab", next_number=3, **fields)


STEPS = {
    E.ROLLOUT_STARTED: lambda state: rollout_started(state, NOW, 1, "endpoint", "config"),
    E.VERIFIED: lambda state: succeeded(state, NOW, 1, 5.0),
    E.VERIFICATION_FAILED: lambda state: verification_failed(state, NOW, 1, "wrong"),
    E.FAILED: lambda state: failed(state, NOW, 1, "broken"),
    E.FROZEN: lambda state: frozen(state, NOW, 1, "mixed"),
    E.REPEATED: lambda state: rollout_repeated(state, NOW, 1, "capacity"),
    E.ROLLBACK_OPENED: lambda state: open_deployment(
        state, NOW, model_created(Trigger.automatic_rollback(1), Cause.ROLLBACK)
    ),
}
EXPECTED = {
    (S.PENDING, E.ROLLOUT_STARTED): (S.ROLLING, ["RolloutStarted"]),
    (S.ROLLING, E.VERIFIED): (S.LIVE, ["DeploymentSucceeded"]),
    (S.ROLLING, E.VERIFICATION_FAILED): (S.VERIFICATION_FAILED, ["SmokeTestFailed"]),
    (S.PENDING, E.FAILED): (S.FAILED, ["DeploymentFailed"]),
    (S.ROLLING, E.FAILED): (S.FAILED, ["DeploymentFailed"]),
    (S.VERIFICATION_FAILED, E.FAILED): (S.FAILED, ["DeploymentFailed"]),
    (S.PENDING, E.FROZEN): (S.FAILED, ["DeploymentFailed"]),
    (S.ROLLING, E.FROZEN): (S.FAILED, ["DeploymentFailed"]),
    (S.VERIFICATION_FAILED, E.FROZEN): (S.FAILED, ["DeploymentFailed"]),
    (S.VERIFICATION_FAILED, E.ROLLBACK_OPENED): (S.FAILED, []),
    (S.ROLLING, E.REPEATED): (S.PENDING, ["DeploymentDelayed"]),
}


@pytest.mark.parametrize("event", STEPS)
@pytest.mark.parametrize("state", DeploymentState)
def test_the_deployment_in_the_slot_moves_along_the_table_or_not_at_all(state, event):
    before = site(in_flight=deployment(state))

    change = STEPS[event](before)

    target, announced = EXPECTED.get((state, event), (None, []))
    moved = [record.state for record in change.deployments if record.number == 1]
    assert moved == ([target] if target else [])
    assert [entry.detail_type for entry in change.state.outbox] == announced
    if target is None:
        assert change.state == before
        assert change.trigger is None


@pytest.mark.parametrize("event", [*STEPS])
@pytest.mark.parametrize("state", DeploymentState)
def test_a_step_for_another_deployment_than_the_one_in_the_slot_changes_nothing(state, event):
    before = site(in_flight=deployment(state, number=2))

    assert STEPS[event](before).state == before


@pytest.mark.parametrize(
    ("event", "target"), [(E.REPLACED, S.SUPERSEDED), (E.SLOT_FREED, S.PENDING), (E.OPENED, None)]
)
@pytest.mark.parametrize("state", DeploymentState)
def test_only_a_deployment_that_waits_is_replaced_or_takes_a_free_slot(state, event, target):
    row = find_transition(state, event, Situation(site(), deployment(state)))

    assert (row.target if row else None) == (target if state is S.WAITING else None)


@pytest.mark.parametrize("state", [S.PENDING, S.ROLLING])
@pytest.mark.parametrize("restores", [{"automatic": True}, {"preempted": 7}])
def test_a_deployment_that_should_have_restored_the_site_keeps_the_slot_for_the_next(
    state, restores
):
    restoring = deployment(state).model_copy(update=restores)

    change = STEPS[E.FAILED](site(in_flight=restoring))

    assert change.state.in_flight.state is S.VERIFICATION_FAILED
    assert [entry.detail_type for entry in change.state.outbox] == ["SmokeTestFailed"]


def test_a_verified_rollback_is_announced_as_one():
    change = STEPS[E.VERIFIED](site(in_flight=deployment(S.ROLLING, cause=Cause.ROLLBACK)))

    assert [entry.detail_type for entry in change.state.outbox] == ["RolledBack"]


@pytest.mark.parametrize(
    ("before", "request_", "opened"),
    [
        (site(), model_created("artifact:a"), S.PENDING),
        (site(in_flight=deployment(S.ROLLING)), model_created("artifact:a"), S.WAITING),
        (site(frozen="mixed"), model_created("artifact:a"), S.WAITING),
        (site(paused=PAUSE), model_created("artifact:a"), S.WAITING),
        (site(paused=PAUSE), model_created("redeploy:a", Cause.REDEPLOY), S.WAITING),
        (site(paused=PAUSE), model_created("request:r", Cause.ROLLBACK), S.PENDING),
        (site(frozen="mixed"), model_created("request:r", Cause.ROLLBACK), S.PENDING),
        (
            site(in_flight=deployment(S.VERIFICATION_FAILED)),
            model_created("request:r", Cause.ROLLBACK),
            S.PENDING,
        ),
        (
            site(newest_artifact=NewestArtifact(created_at=NOW + timedelta(days=1), number=2)),
            model_created("artifact:a"),
            S.SUPERSEDED,
        ),
        (
            site(in_flight=deployment(S.VERIFICATION_FAILED)),
            model_created("return-from:1", Cause.ROLLBACK),
            S.PENDING,
        ),
    ],
)
def test_a_deployment_is_opened_by_what_holds_the_slot(before, request_, opened):
    change = open_deployment(before, NOW, request_)

    assert change.deployments[0].state is opened
    assert change.deployments[0].number == 3
    assert change.trigger == request_.trigger


@pytest.mark.parametrize("state", [S.PENDING, S.ROLLING, S.VERIFICATION_FAILED])
def test_a_requested_rollback_takes_the_slot_whatever_holds_it(state):
    before = site(in_flight=deployment(state))

    change = open_deployment(before, NOW, model_created("request:r", Cause.ROLLBACK))

    opened, ended = change.deployments
    assert (opened.state, opened.preempted, opened.restores) == (S.PENDING, 1, True)
    assert (ended.number, ended.state, ended.superseded_by) == (1, S.SUPERSEDED, 3)
    assert opened.rolled_back_from == ended.candidate.release
    assert [entry.detail_type for entry in change.state.outbox] == [
        "SitePaused",
        "DeploymentSuperseded",
    ]


def test_a_later_deployment_replaces_the_one_that_waits():
    before = site(in_flight=deployment(S.ROLLING), waiting=deployment(S.WAITING, number=2))

    change = open_deployment(before, NOW, model_created("artifact:a"))

    assert [(one.number, one.state) for one in change.deployments] == [
        (3, S.WAITING),
        (2, S.SUPERSEDED),
    ]
    assert [entry.detail_type for entry in change.state.outbox] == ["DeploymentSuperseded"]


@pytest.mark.parametrize("end", [E.FAILED, E.VERIFIED])
def test_what_waits_takes_the_slot_once_it_is_free(end):
    before = site(in_flight=deployment(S.ROLLING), waiting=deployment(S.WAITING, number=2))

    change = STEPS[end](before)

    assert change.state.waiting is None
    assert (change.state.in_flight.number, change.state.in_flight.state) == (2, S.PENDING)


def test_what_waits_at_a_frozen_site_goes_on_waiting():
    before = site(in_flight=deployment(S.ROLLING), waiting=deployment(S.WAITING, number=2))

    change = STEPS[E.FROZEN](before)

    assert change.state.in_flight is None
    assert change.state.waiting == before.waiting
    assert change.state.frozen == "mixed"


def test_what_waits_at_a_paused_site_waits_until_it_is_resumed():
    before = site(
        paused=PAUSE,
        in_flight=deployment(S.ROLLING, cause=Cause.ROLLBACK),
        waiting=deployment(S.WAITING, number=2),
    )

    ended = STEPS[E.VERIFIED](before).state
    assert (ended.in_flight, ended.waiting.number) == (None, 2)

    after = resumed(ended, NOW, by="on-call", reason="", correlation_id="c")
    assert (after.state.in_flight.number, after.state.in_flight.state) == (2, S.PENDING)
    assert after.state.waiting is None
    assert resumed(after.state, NOW, "on-call", "", "c").state == after.state


def test_a_rollback_that_waits_at_a_paused_site_takes_the_slot():
    before = site(
        paused=PAUSE,
        in_flight=deployment(S.ROLLING),
        waiting=deployment(S.WAITING, number=2, cause=Cause.ROLLBACK),
    )

    assert STEPS[E.FAILED](before).state.in_flight.number == 2


def test_the_documentation_is_as_the_table_is():
    assert DOCUMENT.read_text(encoding="utf-8") == render(), "run `make schemas`"
