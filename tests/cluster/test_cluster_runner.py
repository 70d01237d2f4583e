"""The contract of all runners, and what only a real API server can say about ours."""

import os
import subprocess
import threading
from threading import Event

import pytest
import structlog

from tests.agent.runner_contract import OTHER, RUN, IndexedContract, RunnerContract, eventually, now
from trainer.agent.core.runs import Announced
from trainer.agent.errors import ClusterError
from trainer.agent.runners.kubernetes.lease import COORDINATION, LeaderLease, LeaseTimes
from trainer.agent.runners.kubernetes.manifest import RUN_ANNOTATION
from trainer.agent.runners.kubernetes.permissions import (
    NEEDED,
    NEEDED_TO_LEAD,
    Needed,
    is_allowed,
)
from trainer.agent.runners.kubernetes.runner import BATCH, CORE
from trainer.agent.runners.kubernetes.shapes import Lease, Pod
from trainer.agent.runners.kubernetes.watch import JobWatch

LEASE = "rssi-agent"


class TestTheKubernetesRunner(RunnerContract):
    """The same tests as for every runner, on a real cluster."""


class TestIndexedJobs(IndexedContract):
    """The same for numbered processes."""


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_many_who_start_a_run_at_once_make_one_job(cluster):
    runners = [cluster.runner() for _ in range(8)]
    threads = [threading.Thread(target=runner.start, args=(RUN,)) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (job,) = cluster.jobs()
    assert job.metadata.name == RUN.id
    assert RUN_ANNOTATION in job.metadata.annotations


def test_the_server_takes_the_job_as_it_is_or_says_what_it_dropped(cluster, capsys):
    cluster.runner().start(RUN)

    said = capsys.readouterr().out
    known = ("podFailurePolicy", "podReplacementPolicy", "ttlSecondsAfterFinished", "suspend")
    assert not said or any(name in said for name in known)


def test_marks_are_kept_and_need_no_more_than_a_patch(cluster):
    runner = cluster.runner()
    runner.start(RUN)
    for announced in (Announced.START, Announced.END):
        runner.mark_announced(RUN.id, announced)

        (status,) = cluster.runner().runs()
        assert status.announced is announced


def test_a_failure_carries_its_code_even_if_its_log_is_gone(cluster):
    runner = cluster.runner()
    runner.start(RUN)
    cluster.end(RUN.id, 42)
    eventually(lambda: not runner.runs()[0].active, 60)

    assert runner.runs()[0].exit_code == 42
    assert cluster.runner().runs() == runner.runs()


def test_the_pods_are_restricted_enough_to_be_created(cluster):
    if cluster.player is None:
        pytest.skip("nobody tells whether there are pods: no Job controller, or no one who plays")
    cluster.runner().start(RUN)

    path = cluster.api.path(CORE, "pods")
    eventually(lambda: bool(cluster.api.list(Pod, path)[0]), 20)


def test_a_watch_from_a_place_that_is_too_old_is_told_so_in_kubernetes_own_way(cluster):
    watch = JobWatch(cluster.api, lambda: None, Event(), structlog.get_logger())
    path = cluster.api.path(BATCH, "jobs")

    try:
        for line in cluster.api.watch(path, timeout_s=2, grace_s=5, resourceVersion="1"):
            watch._handle(line)
    except ClusterError as error:
        assert error.status == 410, error  # noqa: PT017 - whether it is raised is the server's
    else:
        pytest.skip("this API server is too young to have forgotten anything")


def test_a_watch_calls_out_when_a_job_is_made(cluster):
    changes, stop = [], Event()
    watch = JobWatch(cluster.api, lambda: changes.append(1), stop, None, lasts_s=5)
    thread = threading.Thread(target=watch._follow)
    thread.start()
    eventually(lambda: bool(changes))
    before = len(changes)

    cluster.runner().start(OTHER)

    eventually(lambda: len(changes) > before)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_all_that_the_shipped_role_grants_is_granted(cluster):
    for needed in NEEDED:
        assert is_allowed(cluster.api, needed), f"may not {needed}"


def test_what_is_forbidden_is_an_error_with_its_status(cluster):
    if is_allowed(cluster.api, Needed("list", "", "secrets")):
        pytest.skip("this identity may do everything")
    with pytest.raises(ClusterError) as caught:
        cluster.api.text(cluster.api.path(CORE, "secrets"))

    assert caught.value.status == 403


@pytest.fixture
def lease(cluster):
    """Makes replicas that share the Lease; hands it back in the end."""
    missing = [
        str(needed) for needed in NEEDED_TO_LEAD if not is_allowed(cluster.api, needed, LEASE)
    ]
    if missing:
        pytest.skip(f"this identity may not {', '.join(missing)}")
    seconds, made = Seconds(), []

    def make(identity: str) -> LeaderLease:
        times = LeaseTimes.of(15)
        replica = LeaderLease(cluster.api, LEASE, identity, now, seconds, None, times)
        made.append(replica)
        return replica

    path = cluster.api.path(COORDINATION, "leases", LEASE)
    try:
        cluster.api.read(Lease, path)
    except ClusterError as error:
        creates = is_allowed(cluster.api, Needed("create", "coordination.k8s.io", "leases"))
        if error.status != 404 or not creates:
            pytest.skip(f"there is no Lease {LEASE} in the namespace, and we may not make one")
    yield make, seconds
    for replica in made:
        replica.release()


def test_of_two_replicas_one_leads_and_the_other_follows_it(lease):
    make, seconds = lease
    one, two = make("one"), make("two")
    assert one.try_to_take()
    assert not two.try_to_take()

    seconds.now = 16.0

    assert two.try_to_take()


def test_an_api_server_that_restarts_is_waited_for(cluster):
    command = os.environ.get("RSSI_TEST_RESTART_COMMAND")
    if not command:
        pytest.skip("RSSI_TEST_RESTART_COMMAND, which restarts the API server, is not set")
    cluster.runner().start(RUN)
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - whoever runs the tests wrote it

    def answers() -> bool:
        try:
            return len(cluster.runner().runs()) == 1
        except ClusterError:
            return False

    eventually(answers, 120)
    cluster.runner().start(RUN)
    assert len(cluster.jobs()) == 1
