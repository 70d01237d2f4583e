"""Endpoints, models and configurations that someone changed by hand."""

from datetime import timedelta

import pytest

from tests.functions.conftest import ENDPOINT
from tests.functions.test_faults import live, served


@pytest.fixture
def settled(world):
    """A site with two releases behind it, the second live."""
    for number in (1, 2):
        world.settle(world.arrive(world.put_release(number)))
    return world


def delete_endpoint(world):
    world.sagemaker.endpoints.clear()


def move_endpoint(world):
    world.sagemaker.endpoints[ENDPOINT]["EndpointConfigName"] = world.sagemaker.updates[0]


def fail_endpoint(world):
    world.sagemaker.endpoints[ENDPOINT]["EndpointStatus"] = "Failed"


def delete_model(world):
    del world.sagemaker.models[world.state().champion.model_name]


def delete_configuration(world):
    del world.sagemaker.configs[world.state().champion_config]


@pytest.mark.parametrize(
    ("by_hand", "what"),
    [
        (delete_endpoint, "is gone"),
        (move_endpoint, "instead of"),
        (fail_endpoint, "is Failed"),
        (delete_model, "model"),
        (delete_configuration, "endpoint configuration"),
    ],
)
def test_what_was_changed_by_hand_is_announced_once_with_since_when(settled, by_hand, what):
    by_hand(settled)

    settled.settle(settled.tick())
    first_seen = settled.state().drift.since
    settled.settle(settled.tick())

    assert what in settled.bus.last("EndpointDrifted")["what"]
    assert settled.bus.kinds().count("EndpointDrifted") == 1
    assert settled.state().drift.since == first_seen


def test_an_endpoint_that_is_as_it_should_be_is_no_drift(settled):
    settled.settle(settled.tick())

    assert settled.state().drift is None
    assert "EndpointDrifted" not in settled.bus.kinds()


def test_a_rollback_puts_the_champion_back_and_ends_the_drift(settled):
    move_endpoint(settled)
    settled.settle(settled.tick())

    settled.settle(settled.ask())

    assert live(settled) == served(settled)
    assert settled.state().drift is None


@pytest.mark.parametrize("by_hand", [delete_model, delete_configuration])
def test_a_rollback_to_the_champion_makes_what_was_deleted_anew(settled, by_hand):
    champion, config = settled.state().champion, settled.state().champion_config
    by_hand(settled)

    settled.settle(settled.ask())

    assert live(settled) == served(settled) == champion.release
    assert champion.model_name in settled.sagemaker.models
    assert config in settled.sagemaker.configs
    settled.settle(settled.tick())
    assert settled.state().drift is None


def test_drift_that_someone_undid_is_forgotten(settled):
    kept = dict(settled.sagemaker.endpoints)
    delete_endpoint(settled)
    settled.settle(settled.tick())
    settled.sagemaker.endpoints.update(kept)

    settled.settle(settled.tick())

    assert settled.state().drift is None


def test_a_rollout_that_sagemaker_bakes_is_neither_stalled_nor_drift(settled):
    settled.sagemaker.is_stuck = True
    settled.settle(settled.arrive(settled.put_release(3)))
    settled.now += timedelta(minutes=20)

    settled.settle(settled.tick())

    assert "DeploymentStalled" not in settled.bus.kinds()
    assert "EndpointDrifted" not in settled.bus.kinds()
