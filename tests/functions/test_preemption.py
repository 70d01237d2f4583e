"""A person's rollback goes first: whatever holds the slot, and whatever becomes of its event."""

from datetime import timedelta
from functools import partial

import pytest

from functions.core.deployments import DeploymentState, RollbackRequest
from functions.core.errors import RetryLaterError
from functions.core.rollbacks.requests import release_to_leave, rollback_requested
from tests.functions.conftest import SITE, World
from tests.functions.test_faults import live, reconcile_for, served


@pytest.fixture
def rolling(world):
    """A site with two good releases behind it, and a third that SageMaker is rolling out."""
    world.releases = [world.put_release(number) for number in (1, 2, 3)]
    for release in world.releases[:2]:
        world.settle(world.arrive(release))
    world.sagemaker.is_stuck = True
    world.settle(world.arrive(world.releases[2]))
    assert world.state().in_flight.state is DeploymentState.ROLLING
    return world


def settle(world: World, *events: dict[str, object]) -> None:
    """Settle, although steps wait for the endpoint."""
    world.bus.wire.extend(events)
    while True:
        try:
            world.settle()
        except RetryLaterError:
            continue
        return


def test_a_rollback_takes_the_slot_of_a_rollout_and_waits_for_the_endpoint(rolling):
    second, third = rolling.releases[1:]

    settle(rolling, rolling.ask())

    deployment = rolling.state().in_flight
    assert deployment.candidate.release == second.run_id
    assert deployment.state is DeploymentState.PENDING
    assert "in the middle of another change" in deployment.last_error
    assert rolling.bus.last("DeploymentSuperseded")["release"] == third.run_id

    rolling.sagemaker.is_stuck = False
    settle(rolling)

    assert live(rolling) == served(rolling) == second.run_id
    assert rolling.bus.last("RolledBack")["from_release"] == third.run_id
    assert rolling.state().rollback_request is None


def test_a_rollback_takes_the_slot_of_a_deployment_that_has_not_started(rolling):
    first = rolling.releases[0]
    settle(rolling, rolling.ask())

    settle(rolling, rolling.ask(to=first.run_id, event_id="request-2"))
    rolling.sagemaker.is_stuck = False
    settle(rolling)

    assert live(rolling) == served(rolling) == first.run_id


def test_a_rollback_takes_the_slot_of_a_failed_verification(rolling):
    first, _, third = rolling.releases
    rolling.sagemaker.liars.add(third.run_id)
    rolling.sagemaker.is_stuck = False
    rolling.sagemaker.advance()
    event = rolling.bus.wire.pop(0)
    rolling.deliver(event)
    rolling.bus.wire.clear()
    assert rolling.state().in_flight.state is DeploymentState.VERIFICATION_FAILED

    settle(rolling, rolling.ask(to=first.run_id))

    assert live(rolling) == served(rolling) == first.run_id


def test_a_preempting_rollback_that_fails_is_followed_by_the_champion(rolling):
    first, second, _ = rolling.releases
    rolling.sagemaker.liars.add(first.run_id)

    settle(rolling, rolling.ask(to=first.run_id))
    rolling.sagemaker.is_stuck = False
    settle(rolling)

    assert live(rolling) == served(rolling) == second.run_id


def test_a_second_request_for_the_same_way_back_is_refused(rolling):
    settle(rolling, rolling.ask())

    settle(rolling, rolling.ask(event_id="request-2"))

    assert "already" in rolling.bus.last("RollbackRefused")["reason"]


def test_of_two_operators_who_saw_the_same_the_second_is_refused(rolling):
    first, second, third = rolling.releases
    settle(rolling, rolling.ask(to=second.run_id, leaves=third.run_id))

    settle(rolling, rolling.ask(to=first.run_id, leaves=third.run_id, event_id="request-2"))

    assert rolling.state().in_flight.candidate.release == second.run_id
    assert "has taken its place" in rolling.bus.last("RollbackRefused")["reason"]


def test_a_request_that_lay_in_a_queue_for_a_week_is_refused(rolling):
    old = rolling.ask(to=rolling.releases[0].run_id)
    rolling.now += timedelta(days=7)

    settle(rolling, old)

    assert "168.0 h ago" in rolling.bus.last("RollbackRefused")["reason"]
    assert rolling.state().in_flight.candidate.release == rolling.releases[2].run_id


def test_a_repeated_request_rolls_back_once(rolling):
    request = rolling.ask()
    settle(rolling, request)
    number = rolling.state().in_flight.number

    settle(rolling, request)

    assert rolling.state().in_flight.number == number
    assert "RollbackRefused" not in rolling.bus.kinds()


def request_in_ledger(world: World, to: str) -> None:
    request = RollbackRequest(
        id="r", to=to, leaves=release_to_leave(world.state()), requested_by="p",
        requested_at=world.now,
    )  # fmt: skip
    world.services.ledger.change(SITE, partial(rollback_requested, request=request), world.now)


def test_a_request_whose_event_was_lost_is_found_in_the_ledger(rolling):
    first = rolling.releases[0]
    request_in_ledger(rolling, first.run_id)

    reconcile_for(rolling, timedelta(minutes=5))
    assert rolling.state().in_flight.candidate.release == first.run_id

    rolling.sagemaker.is_stuck = False
    reconcile_for(rolling, timedelta(minutes=10))
    assert live(rolling) == served(rolling) == first.run_id


def test_while_a_request_waits_another_person_hears_who_made_it(rolling):
    request_in_ledger(rolling, rolling.releases[0].run_id)

    settle(rolling, rolling.ask(to=rolling.releases[1].run_id))

    assert "p requested a rollback" in rolling.bus.last("RollbackRefused")["reason"]


def test_a_target_whose_manifest_is_gone_is_refused_before_anything_moves(rolling):
    first = rolling.releases[0]
    before = rolling.state().in_flight
    del rolling.artifacts.releases[first.run_id]

    settle(rolling, rolling.ask(to=first.run_id))

    assert "no longer in the bucket" in rolling.bus.last("RollbackRefused")["reason"]
    assert rolling.state().in_flight == before


def test_a_target_whose_model_is_gone_is_refused(aws_world):
    first, second = aws_world.put_release(1), aws_world.put_release(2)
    for release in (first, second):
        aws_world.settle(aws_world.arrive(release))
    aws_world.s3.delete_object(Bucket="artifacts", Key=first.model.key)

    aws_world.settle(aws_world.ask())

    assert "model artifact" in aws_world.bus.last("RollbackRefused")["reason"]
    assert live(aws_world) == second.run_id


def test_a_champion_that_the_endpoint_does_not_serve_can_be_put_back(world):
    first, second = world.put_release(1), world.put_release(2)
    for release in (first, second):
        world.settle(world.arrive(release))
    other = world.sagemaker.updates[0]
    world.sagemaker.endpoints["rssi-lab"]["EndpointConfigName"] = other
    assert served(world) == first.run_id

    world.settle(world.ask())

    assert live(world) == served(world) == second.run_id


def test_an_endpoint_that_was_deleted_is_made_again_by_a_rollback(world):
    first = world.put_release(1)
    world.settle(world.arrive(first))
    world.sagemaker.endpoints.clear()

    world.settle(world.ask(to=first.run_id))

    assert live(world) == served(world) == first.run_id
