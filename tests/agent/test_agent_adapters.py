"""The borders to S3, SQS and EventBridge against moto, over a socket."""

import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
import structlog
from botocore.response import StreamingBody
from botocore.stub import Stubber

from aws.event_publisher import EventPublisher
from aws.s3 import UNVERSIONED, Bucket, ObjectMissingError, StoreUnavailableError
from events import names
from events.manifests import Quarantine, Snapshot
from events.outbound import SurveyQuarantined, TrainingSucceeded
from tests.agent.agent_world import METRICS, START, survey_ref
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.adapters.survey_queue import QueueMessage, SurveyQueue, site_of
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.errors import BorderError, DocumentError, MessageError
from trainer.agent.metrics import AgentMetrics
from trainer.agent.poller import Poller
from trainer.agent.work_queue import WorkQueue

LOG = structlog.get_logger()


def listed_version(key: str) -> dict[str, object]:
    version = {"Key": key, "VersionId": "v", "IsLatest": True}
    return {**version, "ETag": '"e"', "Size": 3, "LastModified": START}


class TestBucket:
    def test_a_name_can_be_taken_once(self, aws):
        bucket = aws.bucket("any")

        assert bucket.put_once("k", b"first")
        assert not bucket.put_once("k", b"second")
        assert bucket.get("k").body == b"first"

    @pytest.mark.parametrize(("lies_there", "version"), [("k", "null"), ("kk", "null"), ("k", "v")])
    def test_what_is_forbidden_is_told_from_what_is_missing_by_a_listing(
        self, aws, lies_there, version
    ):
        client = aws.client("s3")
        forbidden = {"service_error_code": "AccessDenied", "http_status_code": 403}
        missing = lies_there != "k" or version == "v"
        with Stubber(client) as answers:
            answers.add_client_error("get_object", **forbidden)
            if version == UNVERSIONED:
                answers.add_response("list_objects_v2", {"Contents": [{"Key": lies_there}]})
            else:
                other = {**listed_version(lies_there), "VersionId": "another"}
                answers.add_response("list_object_versions", {"Versions": [other]})
            with pytest.raises(ObjectMissingError if missing else StoreUnavailableError):
                Bucket(client, "any").get("k", version)

    def test_who_may_not_even_list_a_key_hears_that_the_store_is_no_help(self, aws):
        client = aws.client("s3")
        with Stubber(client) as answers:
            answers.add_client_error("head_object", "403", http_status_code=403)
            answers.add_client_error("list_objects_v2", "AccessDenied", http_status_code=403)
            with pytest.raises(StoreUnavailableError, match="AccessDenied"):
                Bucket(client, "any").exists("k")

    def test_of_many_who_take_a_name_at_once_one_wins(self, aws):
        bucket, won = aws.bucket("any"), []
        threads = [
            threading.Thread(target=lambda n=n: won.append(bucket.put_once("k", bytes([n]))))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(won) == [False] * 7 + [True]

    def test_a_race_that_s3_could_not_decide_is_tried_again(self, aws):
        client = aws.client("s3")
        with Stubber(client) as stub:
            stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
            stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)

            assert not Bucket(client, "b").put_once("k", b"")
            stub.assert_no_pending_responses()

    def test_what_is_not_there_is_told_from_a_store_that_fails(self, aws):
        bucket = aws.bucket("any")

        with pytest.raises(ObjectMissingError):
            bucket.get("missing")
        assert not bucket.exists("missing")
        with pytest.raises(StoreUnavailableError, match="no-such-bucket"):
            Bucket(aws.client("s3"), "no-such-bucket").put("k", b"", "text/plain")

    def test_an_older_version_can_be_read(self, aws):
        bucket = aws.bucket("any")
        bucket.put("k", b"old", "text/plain")
        (old,) = bucket.current("")
        bucket.put("k", b"new", "text/plain")

        assert bucket.get("k", old.version_id).body == b"old"
        assert bucket.get("k").body == b"new"

    def test_a_large_object_comes_in_pieces(self, aws):
        bucket, body = aws.bucket("any"), bytes(range(256)) * 10_000
        bucket.put("k", body, "text/csv")

        with bucket.open("k") as found:
            pieces = list(found.pieces)

        assert (found.size, found.etag) == (len(body), bucket.get("k").etag)
        assert b"".join(pieces) == body
        assert max(map(len, pieces)) < len(body) / 2

    def test_an_object_that_breaks_off_is_never_taken_for_whole(self, aws):
        client = aws.client("s3")
        broken = {"Body": StreamingBody(BytesIO(b"row"), 5), "ContentLength": 5, "ETag": '"e"'}
        with Stubber(client) as stub:
            stub.add_response("get_object", broken)
            with (
                pytest.raises(StoreUnavailableError, match="read k"),
                Bucket(client, "any").open("k") as found,
            ):
                assert list(found.pieces)

    def test_a_listing_shows_only_what_is_current(self, aws):
        bucket = aws.bucket("any")
        for body in (b"old", b"newer"):
            bucket.put("kept", body, "text/plain")
        bucket.put("deleted", b"gone", "text/plain")
        aws.client("s3").delete_object(Bucket=bucket.name, Key="deleted")

        (found,) = bucket.current("")
        assert (found.key, found.size) == ("kept", 5)
        assert found.etag == bucket.get("kept").etag

    def test_a_listing_has_all_pages(self, aws):
        client = aws.client("s3")
        first = {
            "Versions": [listed_version("a")],
            "IsTruncated": True,
            "NextKeyMarker": "a",
            "NextVersionIdMarker": "v",
        }
        with Stubber(client) as stub:
            stub.add_response("list_object_versions", first)
            stub.add_response("list_object_versions", {"Versions": [listed_version("b")]})

            assert [found.key for found in Bucket(client, "b").current("")] == ["a", "b"]

    def test_a_store_without_versions_is_listed_without_them(self, aws):
        bucket = aws.bucket("any", versioned=False)
        bucket.put("k", b"rows", "text/csv")

        (found,) = bucket.current("")
        assert found.version_id == UNVERSIONED
        assert bucket.get("k", found.version_id).body == b"rows"

    def test_a_store_that_does_not_know_what_versions_are_is_listed_too(self, aws):
        client = aws.client("s3")
        with Stubber(client) as stub:
            stub.add_client_error("list_object_versions", "NotImplemented", http_status_code=501)
            contents = [{"Key": "k", "ETag": '"e"', "Size": 3, "LastModified": START}]
            stub.add_response("list_objects_v2", {"Contents": contents})

            (found,) = Bucket(client, "b").current("")
        assert (found.key, found.version_id, found.etag) == ("k", UNVERSIONED, "e")


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
            with pytest.raises(BorderError, match=r"refused 1 .* ReceiptHandleIsInvalid"):
                SurveyQueue(client, "any").delete(QueueMessage("x", "r", first_time=True))

    def test_a_queue_that_is_not_there_is_said_so(self, aws):
        missing = SurveyQueue(aws.client("sqs"), f"{aws.url}/123456789012/missing")

        with pytest.raises(BorderError, match="the queue did not"):
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

    def test_what_the_bus_refused_although_it_answered_200_is_put_again(self, aws):
        client, sent = aws.client("events"), []
        client.meta.events.register(
            "before-parameter-build.events.PutEvents",
            lambda params, **_: sent.append([entry["Detail"] for entry in params["Entries"]]),
        )
        refused = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}
        with Stubber(client) as stub:
            stub.add_response(
                "put_events", {"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, refused]}
            )
            stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "2"}]})

            publisher(client, "ours").publish([quarantined(1), quarantined(2)])

        assert [len(details) for details in sent] == [2, 1]
        assert "2.csv" in sent[1][0]

    def test_a_bus_that_never_takes_an_event_is_said_so(self, aws):
        client = aws.client("events")
        refused = {"ErrorCode": "AccessDenied", "ErrorMessage": "no"}
        with Stubber(client) as stub:
            for _ in range(4):
                stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [refused]})

            with pytest.raises(BorderError, match="AccessDenied"):
                publisher(client, "ours").publish([quarantined()])

    def test_no_call_breaks_the_limits_of_putevents(self, aws):
        client, sizes = aws.client("events"), []

        def measure(params, **_):
            entries = params["Entries"]
            sizes.append((len(entries), sum(len(entry["Detail"].encode()) for entry in entries)))

        client.meta.events.register("before-parameter-build.events.PutEvents", measure)
        client.create_event_bus(Name="wide")

        publisher(client, "wide").publish([quarantined(number) for number in range(23)])
        publisher(client, "wide").publish([quarantined(n, reason="x" * 100_000) for n in range(3)])

        assert [count for count, _ in sizes] == [10, 10, 3, 2, 1]
        assert all(size <= 256 * 1024 for _, size in sizes)
