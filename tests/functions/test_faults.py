"""Faults of a release's container, of SageMaker and of people, and what is live in the end."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from functions.core.deadlines import ATTEMPTS
from functions.core.errors import RetryLaterError
from tests.functions.conftest import ENDPOINT, World
from tests.functions.fakes import refusal


def live(world: World) -> str:
    champion = world.state().champion
    assert champion is not None
    return champion.release


def served(world: World) -> str:
    return world.sagemaker.served(ENDPOINT)


CONTAINER_FAULTS = [
    ("hanging", 1, "does not answer within 3 s"),
    ("crashing", 1, "requests failed"),
    ("lenient", 1, "malformed"),
    ("liars", 1, "answers differ"),
    ("liars", 2, "answers differ"),
    ("liars", 10, "answers differ"),
]


@pytest.mark.parametrize(("fault", "every", "reason"), CONTAINER_FAULTS)
def test_a_faulty_update_goes_back_and_says_why(world, fault, every, reason):
    good, faulty = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(good))
    getattr(world.sagemaker, fault).add(faulty.run_id)
    world.sagemaker.wrong_every = every

    world.settle(world.arrive(faulty))

    assert live(world) == served(world) == good.run_id
    assert world.state().in_flight is None
    assert reason in world.bus.last("SmokeTestFailed")["reason"]
    assert world.bus.last("RolledBack")["from_release"] == faulty.run_id


@pytest.mark.parametrize(("fault", "every", "reason"), CONTAINER_FAULTS)
def test_a_faulty_first_release_is_taken_off_the_endpoint(world, fault, every, reason):
    faulty = world.put_release(1)
    getattr(world.sagemaker, fault).add(faulty.run_id)
    world.sagemaker.wrong_every = every

    world.settle(world.arrive(faulty))

    assert ENDPOINT not in world.sagemaker.endpoints
    assert world.state().in_flight is None
    assert reason in world.bus.last("DeploymentFailed")["reason"]


def test_a_slow_release_goes_back(world, monkeypatch):
    good, slow = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(good))
    world.sagemaker.slow.add(slow.run_id)
    settings = world.services.settings.model_copy(update={"smoke_latency_ms": 10.0})
    monkeypatch.setitem(vars(world.services), "settings", settings)

    world.settle(world.arrive(slow))

    assert live(world) == good.run_id
    assert "(p95), more than the 10 ms" in world.bus.last("SmokeTestFailed")["reason"]


def test_a_smoke_test_that_reaches_no_container_is_neither_success_nor_failure(world):
    good, next_one = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(good))
    world.sagemaker.unreachable = "ThrottlingException"

    with pytest.raises(RetryLaterError, match="inconclusive"):
        world.settle(world.arrive(next_one))
    assert live(world) == good.run_id
    assert world.state().in_flight.candidate.release == next_one.run_id

    world.sagemaker.unreachable = ""
    world.settle(world.tick())

    assert live(world) == next_one.run_id


def aws_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"{code} it is"}}, "UpdateEndpoint")


def reconcile_for(world: World, span: timedelta) -> None:
    """Let reconcile run every five minutes, with every step that it starts.

    After a step's error all events are lost, those of the endpoint too.
    """
    end = world.now + span
    while world.now < end:
        try:
            world.settle(world.tick())
        except (RetryLaterError, ClientError, EndpointConnectionError):
            world.sagemaker.advance()
            world.bus.wire.clear()


@pytest.fixture
def updating(world):
    """A world with a good release live, and another that has arrived but is not announced yet."""
    world.settle(world.arrive(world.put_release(1)))
    world.next_one = world.put_release(2)
    return world


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("update_endpoint", aws_error("AccessDeniedException")),
        ("create_endpoint_config", aws_error("AccessDeniedException")),
        ("update_endpoint", refusal("Could not find image serving:1")),
    ],
)
def test_an_error_that_no_retry_mends_ends_the_deployment_at_once(updating, operation, error):
    before = live(updating)
    updating.sagemaker.refusing[operation] = error

    updating.settle(updating.arrive(updating.next_one))

    assert updating.state().in_flight is None
    assert live(updating) == served(updating) == before
    assert error.response["Error"]["Message"] in updating.bus.last("DeploymentFailed")["reason"]
    updating.sagemaker.refusing.clear()
    third = updating.put_release(3)
    updating.settle(updating.arrive(third))
    assert live(updating) == third.run_id


def test_a_live_configuration_that_was_deleted_ends_the_deployment_with_the_reason(updating):
    updating.sagemaker.configs.clear()

    updating.settle(updating.arrive(updating.next_one))

    assert updating.state().in_flight is None
    assert "Could not find endpoint config" in updating.bus.last("DeploymentFailed")["reason"]


def test_a_manifest_that_is_gone_when_it_is_to_be_tested_goes_back(updating):
    before = live(updating)
    arrival = updating.arrive(updating.next_one)
    updating.deliver(arrival)
    del updating.artifacts.releases[updating.next_one.run_id]

    updating.settle()

    assert live(updating) == served(updating) == before
    assert updating.next_one.run_id in updating.bus.last("SmokeTestFailed")["reason"]


def test_an_error_that_a_retry_may_mend_is_shown_and_ends_after_some_attempts(updating):
    updating.sagemaker.refusing["update_endpoint"] = EndpointConnectionError(endpoint_url="u")
    with pytest.raises(EndpointConnectionError):
        updating.settle(updating.arrive(updating.next_one))

    deployment = updating.state().in_flight
    assert "Could not connect" in deployment.last_error
    assert deployment.attempts == 1
    assert deployment.failing_since is not None
    assert updating.bus.last("DeploymentDelayed")["attempts"] == 1

    reconcile_for(updating, timedelta(minutes=5 * ATTEMPTS))

    assert updating.state().in_flight is None
    assert "Could not connect" in updating.bus.last("DeploymentFailed")["reason"]


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "ThrottlingException"])
def test_quota_and_throttling_wait_for_hours_and_then_fail(updating, code):
    updating.sagemaker.refusing["update_endpoint"] = aws_error(code)
    with pytest.raises(ClientError):
        updating.settle(updating.arrive(updating.next_one))

    reconcile_for(updating, timedelta(hours=3))
    assert code in updating.state().in_flight.last_error

    reconcile_for(updating, timedelta(hours=2))
    assert updating.state().in_flight is None
    assert code in updating.bus.last("DeploymentFailed")["reason"]


def test_a_rollout_that_found_no_instances_is_repeated_until_there_are_some(updating):
    updating.sagemaker.capacity = False
    updating.settle(updating.arrive(updating.next_one))

    assert "InsufficientInstanceCapacity" in updating.state().in_flight.last_error

    updating.sagemaker.capacity = True
    reconcile_for(updating, timedelta(minutes=10))

    assert live(updating) == served(updating) == updating.next_one.run_id


def test_a_rollout_that_never_finds_instances_fails_in_the_end(updating):
    before = live(updating)
    updating.sagemaker.capacity = False
    updating.settle(updating.arrive(updating.next_one))

    reconcile_for(updating, timedelta(hours=5))

    assert updating.state().in_flight is None
    assert live(updating) == served(updating) == before


def test_a_smoke_test_that_never_reaches_a_container_fails_in_the_end(updating):
    before = live(updating)
    updating.sagemaker.unreachable = "InternalFailure"
    with pytest.raises(RetryLaterError):
        updating.settle(updating.arrive(updating.next_one))

    reconcile_for(updating, timedelta(minutes=5 * (ATTEMPTS - 1)))
    assert "inconclusive" in updating.bus.last("SmokeTestFailed")["reason"]

    updating.sagemaker.unreachable = ""
    reconcile_for(updating, timedelta(minutes=10))
    assert live(updating) == served(updating) == before


def test_an_update_that_never_ends_gives_the_site_back(updating):
    before = live(updating)
    updating.deliver(updating.arrive(updating.next_one))
    updating.sagemaker.is_stuck = True

    reconcile_for(updating, timedelta(hours=2))
    assert "did not get beyond rolling" in updating.bus.last("SmokeTestFailed")["reason"]

    updating.sagemaker.is_stuck = False
    reconcile_for(updating, timedelta(minutes=10))
    assert live(updating) == served(updating) == before


def test_a_champion_that_can_not_be_restored_leaves_the_place_to_the_one_before(updating):
    first = live(updating)
    second, third = updating.next_one, updating.put_release(3)
    updating.settle(updating.arrive(second))
    updating.sagemaker.liars |= {second.run_id, third.run_id}

    updating.settle(updating.arrive(third))

    assert live(updating) == served(updating) == first
    assert updating.state().frozen is None


@pytest.mark.parametrize("fault", ["liars", "broken_models", "hanging"])
def test_when_two_restorations_fail_the_site_freezes(updating, fault):
    first = live(updating)
    second, third = updating.next_one, updating.put_release(3)
    updating.settle(updating.arrive(second))
    getattr(updating.sagemaker, fault).update({first, second.run_id})
    updating.sagemaker.liars.add(third.run_id)

    updating.settle(updating.arrive(third))

    assert updating.state().in_flight is None
    assert "no other release to put back" in updating.state().frozen
    assert updating.bus.kinds().count("RolloutStarted") == 5


def test_a_champion_whose_manifest_is_gone_is_not_tried(updating):
    first = live(updating)
    second, third = updating.next_one, updating.put_release(3)
    updating.settle(updating.arrive(second))
    updating.sagemaker.liars.add(third.run_id)
    arrival = updating.arrive(third)
    del updating.artifacts.releases[second.run_id]

    updating.settle(arrival)

    assert live(updating) == served(updating) == first
