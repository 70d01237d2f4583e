"""Fixtures of the agent's tests: a fake AWS and a fake cluster, both on loopback."""

import pytest

from tests.aws.aws_world import fake_aws


@pytest.fixture(scope="session")
def aws():
    """A fake AWS."""
    with fake_aws() as started:
        yield started


@pytest.fixture
def kubernetes(tmp_path):
    """A fake cluster on loopback."""
    from tests.agent.kubernetes_world import KubernetesWorld  # noqa: PLC0415 - its client takes half a second

    world = KubernetesWorld(tmp_path)
    yield world
    world.close()
