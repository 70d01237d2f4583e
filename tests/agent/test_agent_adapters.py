"""The agent's adapters of S3, SQS and EventBridge against moto, over a socket."""

import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from botocore.stub import Stubber

from aws.event_publisher import EventPublisher
from events import names
from events.manifests import Quarantine, Snapshot
from events.outbound import SurveyQuarantined, TrainingSucceeded
from tests.agent.agent_world import METRICS, survey_ref
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.adapters.survey_queue import QueueMessage, SurveyQueue, site_of
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.errors import AwsUnavailableError, DocumentError, MessageError
from trainer.agent.metrics import AgentMetrics
from trainer.agent.poller import Poller
from trainer.agent.work_queue import WorkQueue

LOG = structlog.get_logger()


class TestSurveys:
    def test_sites_are_the_folders_that_could_be_one(self, aws):
        bucket = aws.bucket("data")
        for key in ("sites/lab/surveys/a.csv", "sites/Not-A-Site/surveys/a.csv", "other/x.csv"):
            bucket.put(key, b"", "text/csv")

        assert SurveyStore(bucket, LOG).sites() == ("lab",)

    def test_a_survey_is_known_by_version_and_checksum(self, aws):
        bucket = aws.bucket("data")
        bucket.put("sites/lab/surveys/a.csv", b"one", "text/csv")
        (before,) = SurveyStore(bucket, LOG).listing("lab").surveys
        bucket.put("sites/lab/surveys/a.csv", b"one", "text/csv")
        (after,) = SurveyStore(bucket, LOG).listing("lab").surveys

        assert before.etag == after.etag
        assert before.version_id != after.version_id
        assert before.id != after.id

    def test_folders_are_passed_over(self, aws):
        bucket = aws.bucket("data")
        bucket.put("sites/lab/surveys/", b"", "text/plain")
        bucket.put("sites/lab/surveys/march/a.csv", b"", "text/csv")

        assert [found.key for found in SurveyStore(bucket, LOG).listing("lab").surveys] == [
            "sites/lab/surveys/march/a.csv"
        ]

    def test_a_site_is_described_or_not(self, aws):
        bucket = aws.bucket("data")
        surveys = SurveyStore(bucket, LOG)
        assert surveys.listing("lab").description is None

        digest = bucket.put("sites/lab/site.json", b"{}", "application/json")
        assert surveys.listing("lab").description == digest


class TestArtifacts:
    def test_a_snapshot_is_sealed_under_the_name_of_its_content(self, aws):
        bucket = aws.bucket("artifacts")
        snapshot = Snapshot.of("lab", [survey_ref()])
        for _ in range(2):
            ArtifactStore(bucket).seal(snapshot)

        stored = bucket.get(names.snapshot_key("lab", snapshot.digest)).body
        assert Snapshot.model_validate_json(stored) == snapshot

    def test_a_survey_is_set_aside_once(self, aws):
        artifacts = ArtifactStore(aws.bucket("artifacts"))
        quarantine = Quarantine(site="lab", survey=survey_ref(), reason="broken")

        assert artifacts.put_in_quarantine(quarantine)
        assert not artifacts.put_in_quarantine(quarantine)
        assert artifacts.quarantined("lab") == {survey_ref().id}
        assert artifacts.quarantine("lab", survey_ref().id) == quarantine
        assert artifacts.quarantine("lab", "unknown") is None

    def test_a_document_that_cannot_be_read_is_named(self, aws):
        bucket = aws.bucket("artifacts")
        key = names.release_key("lab-0123456789ab")
        bucket.put(key, b"{}", "application/json")

        with pytest.raises(DocumentError, match=key):
            ArtifactStore(bucket).release("lab-0123456789ab")


def event_body(key: str, bucket: str = "data") -> str:
    return json.dumps(
        {
            "id": "1",
            "source": "aws.s3",
            "detail-type": "Object Created",
            "account": "111122223333",
            "region": "eu-west-1",
            "time": "2026-11-01T12:00:00Z",
            "detail": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
    )


def poller_of(queue: SurveyQueue, work_queue: WorkQueue, sites: set[str]) -> Poller:
    return Poller(
        queue=queue,
        data_bucket="data",
        sites=sites,
        work_queue=work_queue,
        stop=threading.Event(),
        clock=lambda: datetime.now(UTC),
        metrics=AgentMetrics(),
        log=LOG,
    )


def message(body: str) -> QueueMessage:
    return QueueMessage(body=body, receipt="r", first_time=True)


class TestQueue:
    @pytest.mark.parametrize(
        ("key", "site"),
        [
            ("sites/lab/surveys/a.csv", "lab"),
            ("sites/lab/surveys/deep/er.csv", "lab"),
            ("sites/lab/site.json", "lab"),
            ("sites/lab/surveys/", None),
            ("sites/Not A Site/surveys/a.csv", None),
            ("sites/Not A Site/site.json", None),
            ("readme.txt", None),
        ],
    )
    def test_a_message_is_about_the_site_of_its_key(self, key, site):
        assert site_of(message(event_body(key)), "data") == site

    def test_another_buckets_events_are_none_of_ours(self):
        body = event_body("sites/lab/surveys/a.csv", bucket="other")

        assert site_of(message(body), "data") is None

    @pytest.mark.parametrize("body", ["", "not json", "{}", '{"Event": "s3:TestEvent"}'])
    def test_what_is_no_event_of_s3_is_said_to_be_none(self, body):
        with pytest.raises(MessageError):
            site_of(message(body), "data")

    def test_the_sample_that_aws_documents_is_understood(self, shared_data):
        body = (shared_data / "aws-events" / "s3-object-created.json").read_text()
        detail = json.loads(body)["detail"]

        found = site_of(message(body), detail["bucket"]["name"])
        assert found in {None, detail["object"]["key"].split("/")[1]}

    def test_the_poller_keeps_ours_deletes_others_and_leaves_the_malformed(self, aws):
        sqs = aws.client("sqs")
        url = sqs.create_queue(QueueName="uploads")["QueueUrl"]
        for body in (
            event_body("sites/lab/surveys/a.csv"),
            event_body("sites/elsewhere/surveys/a.csv"),
            event_body("sites/lab/surveys/a.csv", bucket="other"),
            "malformed",
        ):
            sqs.send_message(QueueUrl=url, MessageBody=body)
        queue, work_queue = SurveyQueue(sqs, url), WorkQueue()
        poller = poller_of(queue, work_queue, {"lab"})

        while in_sight(sqs, url):
            poller.poll()

        (item,) = work_queue.take(0)
        assert item.site == "lab"
        queue.delete(item.message)
        assert hidden(sqs, url) == 1, "the malformed one is left to its receive count"

    def test_a_malformed_message_is_moved_to_the_dead_letter_queue_with_a_reason(self, aws):
        sqs = aws.client("sqs")
        dead = sqs.create_queue(QueueName="poison-dead")["QueueUrl"]
        asked = {"QueueUrl": dead, "AttributeNames": ["QueueArn"]}
        arn = sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "5"})
        attributes = {"RedrivePolicy": policy}
        url = sqs.create_queue(QueueName="poison", Attributes=attributes)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="malformed")

        poller_of(SurveyQueue(sqs, url), WorkQueue(), set()).poll()

        assert in_sight(sqs, url) + hidden(sqs, url) == 0
        (found,) = sqs.receive_message(QueueUrl=dead, MessageAttributeNames=["All"])["Messages"]
        assert found["Body"] == "malformed"
        assert "no Object Created event" in found["MessageAttributes"]["reason"]["StringValue"]

    def test_the_age_of_a_message_is_the_queues_lag(self, aws):
        sqs = aws.client("sqs")
        url = sqs.create_queue(QueueName="lagging")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=event_body("sites/lab/surveys/a.csv"))
        poller = poller_of(SurveyQueue(sqs, url), WorkQueue(), set())
        later = replace(poller, clock=lambda: datetime.now(UTC) + timedelta(seconds=100))

        later.poll()

        lag = re.search(rb"^rssi_queue_lag_seconds (.*)$", later.metrics.text(), re.MULTILINE)
        assert 100 <= float(lag[1]) < 160

    def test_a_message_can_be_hidden_and_deleted(self, aws):
        sqs = aws.client("sqs")
        attributes = {"VisibilityTimeout": "0"}
        url = sqs.create_queue(QueueName="visible", Attributes=attributes)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="x")
        queue = SurveyQueue(sqs, url)
        (first,) = queue.receive()
        (again,) = queue.receive()
        assert (first.first_time, again.first_time) == (True, False)

        queue.keep_hidden([again], 60)
        assert hidden(sqs, url) == 1
        queue.delete(again)
        assert hidden(sqs, url) == 0

    def test_many_messages_are_hidden_and_deleted_ten_at_a_time(self, aws):
        sqs = aws.client("sqs")
        url = sqs.create_queue(QueueName="many")["QueueUrl"]
        for start in range(0, 23, 10):
            entries = [{"Id": str(n), "MessageBody": "x"} for n in range(min(10, 23 - start))]
            sqs.send_message_batch(QueueUrl=url, Entries=entries)
        queue, found = SurveyQueue(sqs, url), list[QueueMessage]()
        while len(found) < 23:
            found += queue.receive()
        aws.bodies.clear()

        queue.keep_hidden(found, 0)
        assert in_sight(sqs, url) == 23
        queue.delete(*found)

        assert in_sight(sqs, url) + hidden(sqs, url) == 0
        assert len([body for body in aws.bodies if b"Entries" in body]) == 6

    def test_a_batch_that_is_answered_well_but_failed_in_part_is_an_error(self, aws):
        client = aws.client("sqs")
        failed = {"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}
        with Stubber(client) as answers:
            answers.add_response("delete_message_batch", {"Successful": [], "Failed": [failed]})
            with pytest.raises(AwsUnavailableError, match=r"refused 1 .* ReceiptHandleIsInvalid"):
                SurveyQueue(client, "any").delete(QueueMessage("x", "r", first_time=True))

    def test_a_queue_that_is_not_there_is_said_so(self, aws):
        missing = SurveyQueue(aws.client("sqs"), f"{aws.url}/123456789012/missing")

        with pytest.raises(AwsUnavailableError, match="the queue did not"):
            missing.receive()


def in_sight(sqs, url: str) -> int:
    return count(sqs, url, "ApproximateNumberOfMessages")


def hidden(sqs, url: str) -> int:
    return count(sqs, url, "ApproximateNumberOfMessagesNotVisible")


def count(sqs, url: str, name: str) -> int:
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
    return int(attributes[name])


def quarantined(number: int = 0, reason: str = "broken") -> SurveyQuarantined:
    survey = survey_ref(f"{number}.csv")
    return SurveyQuarantined(site="lab", correlation_id="c", survey=survey, reason=reason)


def publisher(client, bus: str) -> RunEventPublisher:
    return RunEventPublisher(EventPublisher(client, bus, "rssi-mlops.agent"))


class TestBus:
    def test_the_bus_takes_events_of_every_kind(self, aws):
        client = aws.client("events")
        client.create_event_bus(Name="ours")
        digest = "0" * 64
        succeeded = TrainingSucceeded(
            site="lab",
            correlation_id="c",
            run_id="lab-0123456789ab",
            digest=digest,
            metrics=METRICS,
        )

        publisher(client, "ours").publish([quarantined(), succeeded])

    def test_a_bus_that_never_takes_an_event_is_said_so(self, aws):
        client = aws.client("events")
        refused = {"ErrorCode": "AccessDenied", "ErrorMessage": "no"}
        with Stubber(client) as stub:
            for _ in range(4):
                stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [refused]})

            with pytest.raises(AwsUnavailableError, match="AccessDenied"):
                publisher(client, "ours").publish([quarantined()])
