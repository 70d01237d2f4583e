"""A real cluster, from KUBECONFIG; needs a namespace of its own there and nothing else.

Who runs pods is up to the cluster, and told by ``RSSI_TEST_PODS``:

``play``
    these tests say how pods end, by their status (needs ``patch pods/status``); no image is pulled
``none``
    nobody does: the tests stop at what a Job is, and skip what comes of it

Without it, ``play`` is chosen where it is allowed. ``RSSI_TEST_ADMIN_KUBECONFIG`` may name another
kubeconfig for that, so that KUBECONFIG's identity needs no more than the shipped role.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aws.aws_world import fake_aws
from tests.cluster.cluster_world import Cluster, api_of, who_plays
from trainer.agent.runners.kubernetes.indexed import IndexedJobs
from trainer.agent.runners.kubernetes.runner import KubernetesRunner
from trainer.training.job.outcome import ExitCode


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these tests, and only these, reach a cluster that is not on this machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.enable_socket)
            # A test cluster's certificate may be nobody's.
            item.add_marker(
                pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
            )


@pytest.fixture(scope="session")
def _cluster() -> Cluster:
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.skip("KUBECONFIG is not set: there is no cluster to test against")
    api = api_of(kubeconfig)
    return Cluster(kubeconfig, api, who_plays(api))


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, without any Job of an agent before and after."""
    _cluster.clear()
    yield _cluster
    _cluster.clear()


@pytest.fixture
def runner_and_end(cluster: Cluster) -> tuple[KubernetesRunner, Callable[[str, ExitCode], None]]:
    """What the contract of all runners asks for."""
    return cluster.runner(), cluster.end


@pytest.fixture
def indexed_and_end(cluster: Cluster) -> tuple[IndexedJobs, Callable[[str, int, ExitCode], None]]:
    """What the contract of runners of numbered processes asks for."""
    return cluster.indexed(), cluster.end_number


@pytest.fixture(scope="session")
def aws():
    """A fake AWS on this machine: only the cluster is real."""
    with fake_aws() as started:
        yield started
