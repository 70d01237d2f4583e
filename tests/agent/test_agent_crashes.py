"""Killed after any step, for one site and for many: nothing is lost and nothing is done twice.

Real processes and SIGKILL, S3, SQS and EventBridge by moto, Kubernetes by the fake API server, all
over sockets; only training is played.
"""

import json
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aws.s3 import Bucket
from events import names
from events.manifests import Release, Snapshot
from events.outbound import REPEATS
from tests.agent.agent_world import release_of
from tests.agent.crashing_agent import BOUNDARIES, Agents
from tests.agent.kubernetes_world import IMAGE, KubernetesWorld, kubeconfig
from tests.agent.runner_contract import eventually
from tests.aws.aws_world import Aws
from trainer.agent.core.runs import TrainingRun

SITES = {"one site": 1, "many sites": 4}


@dataclass
class Building:
    """A cluster and buckets that outlive every agent."""

    aws: Aws
    kubernetes: KubernetesWorld
    folder: Path
    sites: tuple[str, ...]
    created: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data, self.artifacts = self.aws.bucket("data"), self.aws.bucket("artifacts")
        self.sqs = self.aws.client("sqs")
        self.queue = self.sqs.create_queue(QueueName=f"q-{self.data.name}")["QueueUrl"]
        self.bus = f"bus-{self.data.name}"
        self.aws.client("events").create_event_bus(Name=self.bus)
        self.kubernetes.server.on_job = self.train
        (self.folder / "template.yaml").write_text(f"image: {IMAGE}")
        kubeconfig(self.folder, self.kubernetes.server)

    @property
    def settings(self) -> dict[str, str]:
        return {
            **self.aws.environment,
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "RSSI_RUNNER": "kubernetes",
            "RSSI_POD_TEMPLATE": str(self.folder / "template.yaml"),
            "RSSI_DATA_BUCKET": self.data.name,
            "RSSI_ARTIFACT_BUCKET": self.artifacts.name,
            "RSSI_QUEUE_URL": self.queue,
            "RSSI_BUS": self.bus,
            "RSSI_QUIET_PERIOD_S": "0",
            "RSSI_MAX_PARALLEL_RUNS": "2",
        }

    def train(self, job: str) -> None:
        """What the cluster does with a Job: at once, and well."""
        self.created.append(job)
        annotations = self.kubernetes.server.manifest(job)["metadata"]["annotations"]
        run = TrainingRun.model_validate_json(annotations["rssi-mlops/training-run"])
        snapshot = Snapshot.model_validate_json(self.artifacts.get(run.snapshot_key).body)
        release = release_of(run, snapshot).model_dump_json().encode()
        self.artifacts.put_once(names.release_key(run.id), release)
        self.kubernetes.server.finish(job, 0)

    def upload(self, name: str = "a.csv") -> None:
        for site in self.sites:
            key = f"{names.surveys_prefix(site)}{name}"
            self.data.put(key, b"rows", "text/csv")
            self.sqs.send_message(QueueUrl=self.queue, MessageBody=event_body(key, self.data.name))

    def reported(self) -> Counter[tuple[str, object]]:
        """How often each event was reported, by kind and by what tells repeats from others."""
        return Counter(
            (kind, tuple(detail[name] for name in REPEATS[kind]))
            for bus, kind, detail in self.aws.heard
            if bus == self.bus
        )

    def ended(self) -> int:
        return sum(kind == "TrainingSucceeded" for kind, _ in self.reported())

    def announced(self) -> bool:
        """Whether every Job says that its end has been reported."""
        jobs = self.kubernetes.server.jobs()
        reported = {job.metadata.annotations.get("rssi-mlops/announced") for job in jobs}
        return reported == {"2"}

    def trained(self) -> bool:
        """Whether each site has a release of all that it has."""
        return all(
            len(self.data.current(names.surveys_prefix(site))) in self.surveys_of_releases(site)
            for site in self.sites
        )

    def surveys_of_releases(self, site: str) -> list[int]:
        """How many surveys each release of a site learned from."""
        keys = [key for key in self.keys("release.json") if key.startswith(f"sites/{site}/")]
        bodies = [self.artifacts.get(key).body for key in keys]
        return [len(Release.model_validate_json(body).snapshot.surveys) for body in bodies]

    def looked_at(self, since: int) -> bool:
        """Whether an agent has listed Jobs since so many requests had come."""
        return any(r.path.endswith("/jobs") for r in self.kubernetes.server.requests[since:])

    def keys(self, part: str) -> list[str]:
        return [found.key for found in self.artifacts.objects("sites/") if part in found.key]


def event_body(key: str, bucket: str) -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    fields = {"id": "1", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    where = {"account": "111122223333", "region": "eu-west-1", "time": "2026-11-01T12:00:00Z"}
    return json.dumps({**fields, **where})


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    started = Agents(tmp_path_factory.mktemp("agents"))
    yield started
    started.close()


@pytest.fixture
def building(aws, kubernetes, tmp_path):
    return lambda count: Building(
        aws, kubernetes, tmp_path, tuple(f"site-{n}" for n in range(count))
    )


def assert_each_survey_led_to_one_of_everything(building: Building, boundary: str = "") -> None:
    assert len(building.created) == len(set(building.created)) == len(building.sites)
    assert len(building.keys("/snapshots/")) == len(building.sites)
    assert len(building.keys("release.json")) == len(building.sites)
    versions = Bucket(building.aws.client("s3"), building.artifacts.name)._client
    listed = versions.list_object_versions(Bucket=building.artifacts.name)["Versions"]
    assert len(listed) == len({found["Key"] for found in listed}), "nothing was written twice"
    reported = building.reported()
    assert {kind for kind, _ in reported} == {"TrainingStarted", "TrainingSucceeded"}
    assert len(reported) == 2 * len(building.sites)
    # PutEvents and the mark on the Job are two systems: killed between them, the agent says the
    # same once more rather than never, and its fields tell listeners that it is the same.
    assert sum(reported.values()) - len(reported) <= (boundary == "published")


@pytest.mark.parametrize("count", SITES.values(), ids=SITES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_agent_that_is_killed_after_a_step_leaves_nothing_lost_or_doubled(
    building, agents, boundary, count
):
    world = building(count)
    world.upload()
    assert agents.wait(agents.start(world.settings, die_after=boundary)) == -signal.SIGKILL

    since = len(world.kubernetes.server.requests)
    second = agents.start(world.settings)
    eventually(lambda: world.looked_at(since) and world.ended() == count and world.announced())

    assert agents.stop(second) == 0
    assert_each_survey_led_to_one_of_everything(world, boundary)


def test_an_agent_that_is_killed_at_every_step_in_turn_still_gets_there(building, agents):
    world = building(3)
    for number, boundary in enumerate(BOUNDARIES):
        # Something new for each, or a later one would find nothing left to do.
        world.upload(f"{number}.csv")
        assert agents.wait(agents.start(world.settings, die_after=boundary)) == -signal.SIGKILL

    since = len(world.kubernetes.server.requests)
    last = agents.start(world.settings)
    eventually(lambda: world.looked_at(since) and world.trained() and world.announced())
    assert agents.stop(last) == 0
    assert len(world.created) == len(set(world.created))
    assert len(world.reported()) == 2 * len(world.created)
    assert sum(world.reported().values()) - len(world.reported()) <= 1, "only the one cut off"


def test_when_the_leader_is_killed_the_other_replica_takes_over(building, agents):
    world = building(2)
    replicas = {
        name: agents.start(
            {
                **world.settings,
                "RSSI_LEASE": "rssi-agent",
                "RSSI_LEASE_DURATION_S": "1",
                "RSSI_IDENTITY": name,
            }
        )
        for name in ("one", "two")
    }

    def leader() -> str:
        found = world.kubernetes.server.list("leases", {})["items"]
        return found[0]["spec"]["holderIdentity"] if found else ""

    eventually(lambda: bool(leader()))
    first = leader()
    world.upload()
    agents.kill(replicas.pop(first))
    eventually(lambda: world.ended() == 2 and world.announced())

    (other,) = replicas
    assert leader() == other
    assert agents.stop(replicas[other]) == 0
    assert leader() == "", "one that stops in order hands the lease back"
    assert_each_survey_led_to_one_of_everything(world, "published")
