"""Faults of a release's container, of SageMaker and of people, and what is live in the end."""

import pytest

from functions.core.errors import RetryLaterError
from tests.functions.conftest import ENDPOINT, World


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
