"""The whole agent, as a process, on a real cluster; AWS is a fake one on this machine."""

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from events import names
from events.manifests import Snapshot
from tests.agent.agent_world import release_of
from tests.agent.runner_contract import eventually
from tests.cluster.cluster_world import TEMPLATE
from trainer.agent.errors import ClusterError
from trainer.agent.runners.kubernetes.reading import end_of, run_of
from trainer.training.job.outcome import ExitCode

SITES = ("cluster-a", "cluster-b")


class Site:
    """Buckets, a bus and a way to run agents against the cluster."""

    def __init__(self, aws, cluster, folder) -> None:
        self.aws, self.cluster, self.folder = aws, cluster, folder
        self.data, self.artifacts = aws.bucket("data"), aws.bucket("artifacts")
        self.bus = f"bus-{self.data.name}"
        aws.client("events").create_event_bus(Name=self.bus)
        (folder / "template.yaml").write_text(TEMPLATE.model_dump_json(by_alias=True))
        self.agents: list[subprocess.Popen] = []

    def start_agent(self) -> subprocess.Popen:
        log = (self.folder / "agent.log").open("a")
        agent = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "trainer.agent"],
            env={
                "PATH": os.environ["PATH"],
                **self.aws.environment,
                "KUBECONFIG": self.cluster.kubeconfig,
                "RSSI_RUNNER": "kubernetes",
                "RSSI_POD_TEMPLATE": str(self.folder / "template.yaml"),
                "RSSI_DATA_BUCKET": self.data.name,
                "RSSI_ARTIFACT_BUCKET": self.artifacts.name,
                "RSSI_BUS": self.bus,
                "RSSI_QUIET_PERIOD_S": "0",
                "RSSI_RESYNC_S": "5",
                "RSSI_BACKOFF_LIMIT": "0",
                "RSSI_MAX_PARALLEL_RUNS": "4",
            },
            stdout=log,
            stderr=log,
        )
        log.close()
        self.agents.append(agent)
        return agent

    def upload(self, name: str) -> None:
        for site in SITES:
            self.data.put(f"{names.surveys_prefix(site)}{name}", b"rows", "text/csv")

    def active(self) -> list[str]:
        with suppress(ClusterError):
            return [job.metadata.name for job in self.cluster.jobs() if not end_of(job)]
        return []

    def train(self) -> None:
        """What the cluster does with every Job that has not ended."""
        for job in self.cluster.jobs():
            if end_of(job):
                continue
            run = run_of(job)
            snapshot = Snapshot.model_validate_json(self.artifacts.get(run.snapshot_key).body)
            release = release_of(run, snapshot).model_dump_json().encode()
            self.artifacts.put_once(names.release_key(run.id), release)
            self.cluster.end(run.id, ExitCode.DONE)

    def reported(self) -> Counter[tuple[str, str]]:
        return Counter(
            (kind, detail["run_id"]) for bus, kind, detail in self.aws.heard if bus == self.bus
        )

    def ended(self) -> int:
        return sum(kind == "TrainingSucceeded" for kind, _ in self.reported())

    def has_ended(self, runs: int) -> bool:
        return self.ended() == runs


@pytest.fixture
def site(aws, cluster, tmp_path):
    made = Site(aws, cluster, tmp_path)
    yield made
    for agent in made.agents:
        agent.kill()
        agent.wait()


def test_surveys_become_one_job_a_site_and_an_agent_that_is_killed_doubles_none(site):
    site.upload("a.csv")
    first = site.start_agent()
    eventually(lambda: len(site.active()) == len(SITES), 60)
    jobs = {job.metadata.name: job.metadata.uid for job in site.cluster.jobs()}
    first.kill()
    first.wait()

    second = site.start_agent()
    eventually(lambda: len(site.reported()) == len(SITES), 60)

    assert {job.metadata.name: job.metadata.uid for job in site.cluster.jobs()} == jobs
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0


def test_what_ends_in_the_cluster_is_told_once_and_what_comes_later_makes_one_more_run(site):
    if site.cluster.player is None:
        pytest.skip("nobody plays pods here, so no run ends")
    agent = site.start_agent()
    for turn, name in enumerate(("a.csv", "b.csv"), start=1):
        site.upload(name)
        eventually(lambda: len(site.active()) == len(SITES), 60)
        site.train()
        eventually(partial(site.has_ended, turn * len(SITES)), 60)

    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    assert set(site.reported().values()) == {1}
    assert len(site.reported()) == 2 * 2 * len(SITES)
