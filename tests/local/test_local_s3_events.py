"""S3's events: complete, one for each object that was made, and none for what was refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.local_helpers import eventually

Clients = Callable[[str], Any]
KEY = "sites/bücherei 1f/surveys/März+1 %41.csv"


class Watched:
    """A versioned bucket whose events go to a log group."""

    def __init__(self, client: Clients, name: str) -> None:
        self.name = name
        self._logs = client("logs")
        client("s3").create_bucket(Bucket=name)
        client("s3").put_bucket_versioning(
            Bucket=name, VersioningConfiguration={"Status": "Enabled"}
        )
        client("s3").put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        self._logs.create_log_group(logGroupName=f"/{name}")
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [name]}}}
        client("events").put_rule(Name=name, EventPattern=json.dumps(pattern))
        arn = f"arn:aws:logs:us-east-1:123456789012:log-group:/{name}"
        client("events").put_targets(Rule=name, Targets=[{"Id": "log", "Arn": arn}])

    def events(self, count: int) -> list[Any]:
        """The first ``count`` events, in order."""

        def probe() -> list[Any] | None:
            found = self._logs.filter_log_events(logGroupName=f"/{self.name}")["events"]
            return [json.loads(each["message"]) for each in found] if len(found) >= count else None

        return eventually(probe)


@pytest.fixture
def watched(client: Clients, name: str) -> Watched:
    return Watched(client, name)


@pytest.fixture
def s3(client: Clients) -> Any:
    return client("s3")


def test_a_put_raises_a_complete_event_with_the_key_as_it_is(s3: Any, watched: Watched) -> None:
    put = s3.put_object(Bucket=watched.name, Key=KEY, Body=b"a,b\n1,2\n")
    (event,) = watched.events(1)
    assert event["source"] == "aws.s3"
    assert event["detail-type"] == "Object Created"
    assert event["resources"] == [f"arn:aws:s3:::{watched.name}"]
    assert event["detail"]["bucket"] == {"name": watched.name}
    assert event["detail"]["reason"] == "PutObject"
    stored = event["detail"]["object"]
    assert stored["key"] == KEY
    assert stored["size"] == 8
    assert stored["etag"] == put["ETag"].strip('"')
    assert stored["version-id"] == put["VersionId"]


def test_the_event_has_the_members_of_the_documented_sample(
    s3: Any, watched: Watched, shared_data: Any
) -> None:
    sample = json.loads((shared_data / "aws-events" / "s3-object-created.json").read_text())
    s3.put_object(Bucket=watched.name, Key="k", Body=b"x")
    (event,) = watched.events(1)
    assert event.keys() == sample.keys()
    assert event["detail"].keys() == sample["detail"].keys()
    assert event["detail"]["object"].keys() == sample["detail"]["object"].keys()


def test_a_copy_raises_an_event_for_the_new_key(s3: Any, watched: Watched) -> None:
    s3.put_object(Bucket=watched.name, Key=KEY, Body=b"12345")
    copy = s3.copy_object(
        Bucket=watched.name, Key="copy of it", CopySource={"Bucket": watched.name, "Key": KEY}
    )
    event = watched.events(2)[1]
    assert event["detail"]["reason"] == "CopyObject"
    assert event["detail"]["object"]["key"] == "copy of it"
    assert event["detail"]["object"]["size"] == 5
    assert event["detail"]["object"]["etag"] == copy["CopyObjectResult"]["ETag"].strip('"')
    assert event["detail"]["object"]["version-id"] == copy["VersionId"]


def test_a_multipart_upload_raises_one_event_when_it_is_complete(s3: Any, watched: Watched) -> None:
    part = b"x" * 5 * 1024 * 1024
    upload = s3.create_multipart_upload(Bucket=watched.name, Key=KEY)["UploadId"]
    where = {"Bucket": watched.name, "Key": KEY, "UploadId": upload}
    etags = [s3.upload_part(**where, PartNumber=n, Body=part)["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    s3.put_object(Bucket=watched.name, Key="last", Body=b"")
    first, last = watched.events(2)
    assert first["detail"]["reason"] == "CompleteMultipartUpload"
    assert first["detail"]["object"]["key"] == KEY
    assert first["detail"]["object"]["size"] == 2 * len(part)
    assert first["detail"]["object"]["etag"] == done["ETag"].strip('"')
    assert first["detail"]["object"]["etag"].endswith("-2")
    assert first["detail"]["object"]["version-id"] == done["VersionId"]
    assert last["detail"]["object"]["key"] == "last"


def test_sequencers_of_a_key_increase_and_every_event_has_an_id_of_its_own(
    s3: Any, watched: Watched
) -> None:
    for number in range(5):
        s3.put_object(Bucket=watched.name, Key="k", Body=str(number).encode())
    events = watched.events(5)
    sequencers = [event["detail"]["object"]["sequencer"] for event in events]
    assert sequencers == sorted(set(sequencers))
    assert len({len(each) for each in sequencers}) == 1
    assert len({event["id"] for event in events}) == 5


def test_a_put_that_is_refused_raises_no_event(s3: Any, watched: Watched) -> None:
    s3.put_object(Bucket=watched.name, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=watched.name, Key="once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    with pytest.raises(ClientError):
        s3.put_object(Bucket=watched.name, Key="wrong", Body=b"1", ChecksumSHA256="A" * 43 + "=")
    s3.put_object(Bucket=watched.name, Key="last", Body=b"")
    keys = [event["detail"]["object"]["key"] for event in watched.events(2)]
    assert keys == ["once", "last"]


def test_tags_and_other_subresources_raise_no_event(s3: Any, watched: Watched) -> None:
    s3.put_object(Bucket=watched.name, Key="k", Body=b"1")
    s3.put_object_tagging(
        Bucket=watched.name, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
    )
    s3.put_object(Bucket=watched.name, Key="last", Body=b"")
    keys = [event["detail"]["object"]["key"] for event in watched.events(2)]
    assert keys == ["k", "last"]


def test_a_bucket_without_the_notification_raises_no_event(
    s3: Any, watched: Watched, client: Clients
) -> None:
    client("events").put_rule(Name=watched.name, EventPattern=json.dumps({"source": ["aws.s3"]}))
    silent = f"{watched.name}-silent"
    s3.create_bucket(Bucket=silent)
    s3.put_object(Bucket=silent, Key="k", Body=b"1")
    s3.put_object(Bucket=watched.name, Key="last", Body=b"")
    (event,) = watched.events(1)
    assert event["detail"]["bucket"]["name"] == watched.name


def test_a_stream_with_a_trailing_checksum_has_its_own_size(s3: Any, watched: Watched) -> None:
    body = b"y" * 300_000
    s3.put_object(Bucket=watched.name, Key="k", Body=body, ChecksumAlgorithm="SHA256")
    (event,) = watched.events(1)
    assert event["detail"]["object"]["size"] == len(body)
