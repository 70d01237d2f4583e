"""A small world for the release logic: real adapters over moto, SageMaker played at its border."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from aws.event_publisher import EventPublisher
from events import names
from events.manifests import Artifact, Release, RunSpec, SmokeAnswer, SmokeCase, Snapshot, SurveyRef
from events.metrics import Metrics
from functions import create_model, decide, reconcile, roll_back, roll_endpoint, smoke_test
from functions.adapters.announcement_publisher import AnnouncementPublisher
from functions.adapters.artifacts import REDEPLOY_METADATA
from functions.entry import Handler
from functions.services import Services
from functions.settings import (
    CleanUpSettings,
    DecideSettings,
    ReconcileSettings,
    RollBackSettings,
    RollEndpointSettings,
    SmokeTestSettings,
)
from tests.functions.fakes import (
    FakeBus,
    FakeSageMaker,
    MemoryArtifacts,
    MemoryChampions,
    MemoryLedger,
    MemoryPolicies,
)

SITE = "lab"
ENDPOINT = "rssi-lab"
START = datetime(2026, 11, 1, tzinfo=UTC)


class EverySetting(
    DecideSettings,
    RollEndpointSettings,
    SmokeTestSettings,
    RollBackSettings,
    ReconcileSettings,
    CleanUpSettings,
):
    """The settings of all functions in one, for a world in which they share their services."""


SETTINGS = EverySetting.model_validate(
    {
        "RSSI_ARTIFACT_BUCKET": "artifacts",
        "RSSI_STAGE": "dev",
        "RSSI_BUS": "rssi-mlops",
        "RSSI_LEDGER_TABLE": "ledger",
        "RSSI_ENDPOINT_PREFIX": "rssi",
        "RSSI_DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
        "RSSI_SERVING_IMAGE": "serving:1",
        "RSSI_EXECUTION_ROLE_ARN": "arn:aws:iam::111122223333:role/serving",
        "RSSI_INSTANCE_TYPE": "ml.t2.medium",
        "RSSI_INSTANCE_COUNT": "1",
        "RSSI_TERMINATION_WAIT_S": "0",
        "RSSI_SMOKE_LATENCY_MS": "1000",
        "RSSI_DEAD_ATTEMPTS_DAYS": "7",
        "RSSI_FAILED_ATTEMPTS_DAYS": "30",
    }
)

RULES: dict[str, tuple[Handler, ...]] = {
    "Object Created": (create_model.handler,),
    "ReleaseFound": (create_model.handler,),
    "ModelCreated": (roll_endpoint.handler,),
    "DeploymentSucceeded": (roll_endpoint.handler,),
    "DeploymentFailed": (roll_endpoint.handler,),
    "RolledBack": (roll_endpoint.handler,),
    "RolloutStarted": (smoke_test.handler,),
    "SageMaker Endpoint State Change": (smoke_test.handler, roll_endpoint.handler),
    "SmokeTestFailed": (roll_back.handler,),
    "RollbackRequested": (roll_back.handler,),
    "ApprovalRequested": (decide.handler,),
    "RejectionRequested": (decide.handler,),
    "ResumeRequested": (decide.handler,),
    "SiteResumed": (roll_endpoint.handler,),
    "DeploymentStalled": (roll_endpoint.handler, smoke_test.handler, roll_back.handler),
    "Scheduled Event": (reconcile.handler,),
}


class World:
    """The cloud side of one site, with the wire in the test's hands; AWS played at the border."""

    def __init__(self) -> None:
        self.now = START
        self.bus = FakeBus()
        self.sagemaker = FakeSageMaker(self.bus)
        self.services = Services(SETTINGS, client=self._client, now=lambda: self.now)
        self.artifacts = MemoryArtifacts()
        vars(self.services).update(
            ledger=MemoryLedger(),
            artifacts=self.artifacts,
            champions=MemoryChampions(),
            policies=MemoryPolicies(),
            bus=AnnouncementPublisher(
                EventPublisher(self.bus, SETTINGS.bus, "test", sleep=lambda _: None)
            ),
        )

    def _client(self, service: str, **_: Any) -> Any:
        played = {
            "sagemaker": self.sagemaker,
            "sagemaker-runtime": self.sagemaker,
            "events": self.bus,
        }
        return played[service]

    def state(self):
        return self.services.ledger.state(SITE)

    def put_release(self, number: int, **metrics: object) -> Release:
        """Make a release's files, without its manifest."""
        release = make_release(number, **metrics)
        self.sagemaker.bundles[f"s3://artifacts/{release.model.key}"] = release
        return release

    def arrive(self, release: Release) -> dict[str, object]:
        """Put the manifest of a release and return the event that S3 raises."""
        version = self.artifacts.put(release)
        return object_created(names.release_key(release.run_id), version)

    def deliver(self, event: dict[str, object]) -> list[str]:
        """Give an event to every function whose rule matches."""
        handlers = RULES.get(str(event["detail-type"]), ())
        return [handler.run(event, self.services).text for handler in handlers]

    def settle(self, *first: dict[str, object]) -> list[str]:
        """Deliver events, and what follows from them, until nothing more happens."""
        self.bus.wire.extend(first)
        seen: list[str] = []
        for _ in range(200):
            if not self.bus.wire and not self.sagemaker.advance():
                return seen
            while self.bus.wire:
                event = self.bus.wire.pop(0)
                seen.append(str(event["detail-type"]))
                self.deliver(event)
                self.now += timedelta(seconds=1)
        raise AssertionError(f"it never settles: {seen[-20:]}")

    def tick(self) -> dict[str, object]:
        """The schedule's event, five minutes later."""
        self.now += timedelta(minutes=5)
        return envelope("Scheduled Event", {}, event_id="tick")

    def ask(
        self, to: str | None = None, event_id: str = "request-1", **details: object
    ) -> dict[str, object]:
        """The event of someone who wants a rollback."""
        detail = {"schema_version": 1, "site": SITE, "to": to, "requested_by": "on-call", **details}
        event = envelope("RollbackRequested", detail, event_id=event_id)
        return event | {"time": self.now.isoformat()}

    def decide(
        self, request: str, release: str | None = None, event_id: str = "decision-1"
    ) -> dict[str, object]:
        """The event of a person's decision, sent now."""
        detail = {"site": SITE, "release": release, "requested_by": "on-call", "reason": "checked"}
        event = envelope(request, {k: v for k, v in detail.items() if v}, event_id=event_id)
        return event | {"time": self.now.isoformat()}


class AwsWorld(World):
    """The same with the real adapters of ledger, artifacts and dead letters, over moto."""

    def __init__(self) -> None:
        super().__init__()
        self.s3 = boto3.client("s3")
        self.sqs = boto3.client("sqs")
        self.sqs.create_queue(QueueName="dead")
        self.s3.create_bucket(Bucket="artifacts")
        self.s3.put_bucket_versioning(
            Bucket="artifacts", VersioningConfiguration={"Status": "Enabled"}
        )
        self.services = Services(SETTINGS, client=self._client, now=lambda: self.now)
        create_ledger_table(self._client("dynamodb"))

    def _client(self, service: str, **_: Any) -> Any:
        own = {"s3": self.s3, "sqs": self.sqs}
        try:
            return own.get(service) or super()._client(service)
        except KeyError:
            return boto3.client(service)  # type: ignore[call-overload]  # any service

    def dead_letters(self) -> list[dict[str, object]]:
        answer = boto3.client("sqs").receive_message(
            QueueUrl=self.services.settings.dead_letter_queue_url,
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
        )
        return answer.get("Messages", [])

    def put_release(self, number: int, **metrics: object) -> Release:
        release = super().put_release(number, **metrics)
        self.s3.put_object(
            Bucket="artifacts",
            Key=release.model.key,
            Body=f"model {number}".encode(),
            ChecksumAlgorithm="SHA256",
        )
        return release

    def arrive(self, release: Release) -> dict[str, object]:
        key = names.release_key(release.run_id)
        answer = self.s3.put_object(
            Bucket="artifacts", Key=key, Body=release.model_dump_json().encode()
        )
        return object_created(key, answer["VersionId"])

    def copy(self, release: Release, redeploy: str | None = None) -> dict[str, object]:
        """Copy the manifest onto itself, as one does to encrypt anew or to redeploy by hand."""
        key = names.release_key(release.run_id)
        answer = self.s3.copy_object(
            Bucket="artifacts",
            Key=key,
            CopySource={"Bucket": "artifacts", "Key": key},
            MetadataDirective="REPLACE",
            Metadata={REDEPLOY_METADATA: redeploy} if redeploy else {},
        )
        return object_created(key, answer["VersionId"], reason="CopyObject")


def create_ledger_table(client: Any) -> None:
    client.create_table(
        TableName="ledger",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )


def envelope(detail_type: str, detail: object, event_id: str = "e") -> dict[str, object]:
    return {
        "id": event_id,
        "source": "test",
        "detail-type": detail_type,
        "account": "111122223333",
        "region": "eu-west-1",
        "time": "2026-11-01T00:00:00Z",
        "detail": detail,
    }


def object_created(
    key: str, version: str, bucket: str = "artifacts", reason: str = "PutObject"
) -> dict[str, object]:
    detail = {
        "bucket": {"name": bucket},
        "object": {"key": key, "version-id": version, "size": 1, "etag": "e", "sequencer": "01"},
        "reason": reason,
    }
    return envelope("Object Created", detail, event_id=f"s3-{version}")


GOOD_METRICS = {
    "rows": 100,
    "trained_rows": 80,
    "held_out_rows": 20,
    "exact_accuracy": 0.5,
    "within_one_cell": None,
    "mean_error_m": 1.0,
    "median_error_m": 1.0,
    "p90_error_m": 2.0,
}


def make_release(number: int, **metrics: object) -> Release:
    snapshot = Snapshot.of(
        SITE,
        [
            SurveyRef(
                bucket="data",
                key=f"sites/{SITE}/surveys/{index}.csv",
                version_id=f"v{index}",
                etag="e",
                size=1,
                uploaded_at=START,
            )
            for index in range(number)
        ],
    )
    spec = RunSpec(
        site=SITE, snapshot=snapshot.digest, trainer_version="1", hyperparameters={"seed": number}
    )
    run = spec.run_id
    body = f"model {number}".encode()
    artifact = Artifact(
        key=names.attempt_key(run, "1", "model.tar.gz"),
        sha256=hashlib.sha256(body).hexdigest(),
        size=len(body),
    )
    fields = {
        "site": SITE,
        "run_id": run,
        "digest": hashlib.sha256(run.encode()).hexdigest(),
        "model": artifact,
        "metrics_file": artifact.model_copy(update={"key": "m"}),
        "card": artifact.model_copy(update={"key": "c"}),
        "snapshot": snapshot,
        "trainer_version": "1",
        "image": "trainer:1",
        "hyperparameters": {"seed": number},
        "attempt": "1",
        "metrics": Metrics.model_validate(GOOD_METRICS | metrics),
        "smoke": tuple(
            SmokeCase(
                rssi={"b1": -60.0 - row},
                answer=SmokeAnswer(location=f"A0{row}", x=1.0, y=2.0, confidence=0.5),
            )
            for row in range(4)
        ),
        "correlation_id": snapshot.correlation_id,
        "created_at": START + timedelta(minutes=number),
    }
    return Release.model_validate(fields)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


@pytest.fixture(autouse=True)
def powertools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "test")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def aws_world(aws: None) -> AwsWorld:
    return AwsWorld()
