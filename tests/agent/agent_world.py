"""A world for the agent without a network: buckets in memory, a clock that is set, a bus that
listens. The agent's own adapters work on it, so only the network is missing."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import structlog

from aws.s3 import (
    UNVERSIONED,
    Bucket,
    ListedObject,
    ObjectContent,
    ObjectMissingError,
    StoreUnavailableError,
)
from events import names
from events.manifests import (
    Artifact,
    Quarantine,
    Release,
    RunSpec,
    SmokeAnswer,
    SmokeCase,
    Snapshot,
    SurveyRef,
)
from events.metrics import Metrics
from events.outbound import Event
from ops.dev.fakes.memory_runner import MemoryRunner
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.survey_queue import QueueMessage
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.controller import Controller
from trainer.agent.core.reconcile import Recipe, SchedulingPolicy
from trainer.agent.core.runs import TrainingRun
from trainer.agent.errors import AwsUnavailableError
from trainer.agent.health import HealthState
from trainer.agent.metrics import AgentMetrics
from trainer.agent.work_queue import WorkItem, WorkQueue
from trainer.training.job.outcome import ExitCode

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
METRICS = Metrics(
    rows=10,
    trained_rows=8,
    held_out_rows=2,
    exact_accuracy=0.5,
    within_one_cell=None,
    mean_error_m=None,
    median_error_m=None,
    p90_error_m=None,
)
POLICY = SchedulingPolicy(
    quiet_period=timedelta(seconds=5),
    longest_wait=timedelta(seconds=60),
    retry_after=timedelta(seconds=300),
    max_parallel_runs=2,
)
RECIPE = Recipe("1", {"seed": 0})


def survey_ref(name: str = "a.csv", *, site: str = "lab", version: str = "v1", **changes: object):
    fields: dict[str, object] = {
        "bucket": "data",
        "key": f"sites/{site}/surveys/{name}",
        "version_id": version,
        "etag": "e",
        "size": 1,
        "uploaded_at": START,
    }
    return SurveyRef.model_validate(fields | changes)


def training_run(*surveys: SurveyRef, site: str = "lab") -> TrainingRun:
    snapshot = Snapshot.of(site, surveys or (survey_ref(site=site),))
    spec = RunSpec(
        site=site,
        snapshot=snapshot.digest,
        trainer_version=RECIPE.trainer_version,
        hyperparameters=dict(RECIPE.hyperparameters),
    )
    return TrainingRun(
        spec=spec,
        snapshot_key=names.snapshot_key(site, snapshot.digest),
        surveys=len(snapshot.surveys),
        correlation_id=snapshot.correlation_id,
    )


def release_of(run: TrainingRun, snapshot: Snapshot) -> Release:
    file = Artifact(key="k", sha256="0" * 64, size=1)
    answer = SmokeAnswer(location="A1", x=None, y=None, confidence=1.0)
    return Release(
        site=run.spec.site,
        run_id=run.id,
        digest=hashlib.sha256(run.id.encode()).hexdigest(),
        model=file,
        metrics_file=file,
        card=file,
        snapshot=snapshot,
        trainer_version=run.spec.trainer_version,
        image="process",
        hyperparameters=run.spec.hyperparameters,
        attempt="one",
        metrics=METRICS,
        smoke=(SmokeCase(rssi={"b1": -60.0}, answer=answer),),
        correlation_id=run.correlation_id,
        created_at=START,
    )


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MemoryBucket(Bucket):
    """A bucket in memory that keeps each object's last version; ``down`` makes it unreachable."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.down = False
        self.calls: list[str] = []
        """What was asked of it."""
        self.on_touch: Callable[[], None] = lambda: None
        """Called before every step that the real store takes as one."""
        self._clock = clock
        self._objects: dict[str, tuple[ListedObject, bytes]] = {}
        self._versions = itertools.count(1)

    def get(self, key: str, version_id: str = UNVERSIONED) -> ObjectContent:
        self._reach()
        if key not in self._objects:
            raise ObjectMissingError(key)
        listed, body = self._objects[key]
        if version_id not in {UNVERSIONED, listed.version_id}:
            raise ObjectMissingError(f"{key} in version {version_id}")
        return ObjectContent(body, listed.etag)

    def exists(self, key: str) -> bool:
        self._reach(f"exists {key}")
        return key in self._objects

    def put(self, key: str, body: bytes, content_type: str = "text/csv") -> str:  # noqa: ARG002 - keeps no types
        self._reach()
        return self._keep(key, body)

    def _keep(self, key: str, body: bytes) -> str:
        version = f"v{next(self._versions)}"
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        modified = self._clock().replace(microsecond=0)
        self._objects[key] = (ListedObject(key, version, etag, len(body), modified), body)
        return hashlib.sha256(body).hexdigest()

    def put_once(self, key: str, body: bytes, content_type: str = "application/json") -> bool:  # noqa: ARG002 - keeps no types
        self._reach()
        if key in self._objects:
            return False
        self._keep(key, body)
        return True

    def delete(self, objects: Sequence[tuple[str, str | None]]) -> None:
        self._reach()
        for key, _ in objects:
            self._objects.pop(key, None)

    def folders(self, prefix: str) -> tuple[str, ...]:
        self._reach(f"folders {prefix}")
        below = [key[len(prefix) :] for key in self._objects if key.startswith(prefix)]
        return tuple(sorted({key.split("/")[0] for key in below if "/" in key}))

    def current(self, prefix: str) -> tuple[ListedObject, ...]:
        return tuple(self.objects(prefix))

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        self._reach(f"list {prefix}")
        found = [self._objects[key][0] for key in sorted(self._objects) if key.startswith(prefix)]
        yield from found

    def lose(self, key: str) -> None:
        del self._objects[key]

    def _reach(self, what: str = "") -> None:
        self.on_touch()
        self.calls += [what] if what else []
        if self.down:
            raise StoreUnavailableError(f"{self.name} is down")


class ListeningBus:
    """Remembers what was published; ``down`` makes it refuse."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.down = False

    def publish(self, events: Sequence[Event]) -> None:
        if self.down:
            raise AwsUnavailableError("the bus is down")
        self.heard += events

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.heard]


class CountingQueue:
    """Remembers which messages were deleted, and for how many seconds which were hidden."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.hidden: dict[str, int] = {}

    def delete(self, *messages: QueueMessage) -> None:
        self.deleted += [message.receipt for message in messages]

    def keep_hidden(self, messages: Sequence[QueueMessage], seconds: int) -> None:
        self.hidden |= {message.receipt: seconds for message in messages}


class World:
    """An agent with everything around it."""

    def __init__(self, policy: SchedulingPolicy = POLICY) -> None:
        self.clock = Clock()
        self.data = MemoryBucket("data", self.clock)
        self.artifacts = MemoryBucket("artifacts", self.clock)
        self.bus = ListeningBus()
        self.queue = CountingQueue()
        self.runner = MemoryRunner(self.clock)
        self.policy = policy
        self._receipts = itertools.count(1)
        self.restart_agent()

    def restart_agent(self) -> None:
        """Another agent takes over: only what lies in buckets and with the runner stays."""
        self.agent = self.make_agent()
        self.work_queue = self.agent.work_queue

    def make_agent(self) -> Controller:
        """One more agent on this world."""
        log = structlog.wrap_logger(SimpleNamespace(), processors=[_drop])
        return Controller(
            surveys=SurveyStore(self.data, log),
            artifacts=ArtifactStore(self.artifacts),
            bus=self.bus,
            queue=self.queue,
            runner=self.runner,
            recipe=RECIPE,
            policy=self.policy,
            resync=timedelta(seconds=300),
            only_sites=(),
            work_queue=WorkQueue(),
            clock=self.clock,
            log=log,
            metrics=AgentMetrics(),
            health=HealthState(),
            random_share=lambda: 0.5,
        )

    def upload(self, name: str = "a.csv", body: bytes = b"rows", *, site: str = "lab") -> None:
        self.data.put(f"sites/{site}/surveys/{name}", body)

    def message(self, site: str = "lab") -> str:
        receipt = f"r{next(self._receipts)}"
        self.work_queue.put(WorkItem(site, QueueMessage(body="", receipt=receipt, first_time=True)))
        return receipt

    def step(self, seconds: float = 0.0) -> None:
        """Let time pass, and the agent do all that is due by then."""
        self.clock.forward(seconds)
        self.agent.step(0.0)
        self.agent.step(0.0)

    def settle(self) -> None:
        """Let time jump from one thing that is due to the next until every run has ended well."""
        for _ in range(100):
            self.step()
            active = [status.run for status in self.runner.runs() if status.active]
            for run in active:
                self.succeed(run)
            if not active and self.agent.idle_s() > 200:
                return
            if not active:
                self.step(self.agent.idle_s() + 0.001)
        raise AssertionError("the agent never comes to rest")

    def succeed(self, run: TrainingRun) -> None:
        """What the training process does when all is well."""
        snapshot = Snapshot.model_validate_json(self.artifacts.get(run.snapshot_key).body)
        release = release_of(run, snapshot)
        self.artifacts.put_once(names.release_key(run.id), release.model_dump_json().encode())
        self.runner.end(run.id, ExitCode.DONE)

    def find_bad(self, run: TrainingRun, *bad: str) -> None:
        """What the training process does when some surveys are bad."""
        snapshot = Snapshot.model_validate_json(self.artifacts.get(run.snapshot_key).body)
        for survey in snapshot.surveys:
            if survey.key.endswith(bad):
                found = Quarantine(
                    site=run.spec.site, survey=survey, reason="broken", run_id=run.id
                )
                key = names.quarantine_key(run.spec.site, survey.id)
                self.artifacts.put_once(key, found.model_dump_json().encode())
        self.runner.end(run.id, ExitCode.BAD_DATA)

    def active(self) -> TrainingRun:
        """The one run that is going on."""
        (status,) = (status for status in self.runner.runs() if status.active)
        return status.run

    def releases(self) -> list[str]:
        return [
            found.key
            for found in self.artifacts.objects("sites/")
            if found.key.endswith("/release.json")
        ]


def _drop(_logger: object, _method: str, _event: object) -> object:
    raise structlog.DropEvent
