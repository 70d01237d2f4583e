"""What the embedded cloud keeps is bounded, and a container's output arrives while it runs."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.local import log_shipper
from ops.local.cloud import EmbeddedCloud
from ops.local.cloudwatch.metric_store import MetricStore
from ops.local.gateway import bounded_state
from ops.local.gateway.clients import ServiceClients
from ops.local.log_shipper import LogShipper
from ops.local.settings import CloudSettings
from tests.local.local_helpers import eventually
from tests.local.sagemaker_helpers import Clients, invoke


@pytest.fixture
def bounds(cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Small bounds, and a keeper of them that acts when told."""
    for name in ("_LOG_EVENTS", "_NOTIFICATIONS", "_RECEIPTS"):
        monkeypatch.setattr(bounded_state, name, 3)
    keeper = bounded_state.BoundedState(CloudSettings())
    yield keeper
    keeper.close()


def test_the_output_of_a_container_arrives_while_it_runs(client: Clients, live: str) -> None:
    invoke(client, live, b"talk")
    group = f"/aws/sagemaker/Endpoints/{live}"

    def lines() -> list[str]:
        try:
            found = client("logs").filter_log_events(logGroupName=group)["events"]
        except client("logs").exceptions.ResourceNotFoundException:
            return []
        return [each["message"] for each in found]

    assert "the container talks" in eventually(lines)


def test_of_a_log_stream_the_newest_lines_stay(client: Clients, bounds: Any, name: str) -> None:
    logs = client("logs")
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    now = time.time_ns() // 1_000_000
    events = [{"timestamp": now + n, "message": str(n)} for n in range(10)]
    logs.put_log_events(logGroupName=name, logStreamName="s", logEvents=events)
    bounds.trim()
    kept = logs.filter_log_events(logGroupName=name)["events"]
    assert [each["message"] for each in kept] == ["7", "8", "9"]


def test_a_queue_and_a_topic_go_on_after_what_they_keep_was_cut(
    client: Clients, bounds: Any, name: str
) -> None:
    topic = client("sns").create_topic(Name=name)["TopicArn"]
    queue = client("sqs").create_queue(QueueName=name)["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
    for number in range(8):
        client("sns").publish(TopicArn=topic, Message=str(number))
        (message,) = client("sqs").receive_message(QueueUrl=queue)["Messages"]
        handle = message["ReceiptHandle"]
        client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=handle)
        bounds.trim()
    assert "Messages" not in client("sqs").receive_message(QueueUrl=queue)


@pytest.fixture
def shipper(cloud: EmbeddedCloud, tmp_path: Path) -> Any:
    clients = ServiceClients(cloud.address, CloudSettings())
    shipper = LogShipper(clients, tmp_path, MetricStore())
    yield shipper
    shipper.close()
    clients.close()


def _contains(file: Path, text: str) -> bool:
    return file.exists() and text in file.read_text()


def test_a_log_file_that_is_full_becomes_the_one_before(
    monkeypatch: pytest.MonkeyPatch, shipper: LogShipper, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(log_shipper, "_MOST_BYTES", 10)
    log = tmp_path / f"{name}.log"
    for number in range(3):
        shipper.write(name, "s", f"a line of text {number}")
        eventually(partial(_contains, log, f"text {number}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.log", f"{name}.log.1"]
    assert (tmp_path / f"{name}.log").read_text() == "a line of text 2\n"
    assert (tmp_path / f"{name}.log.1").read_text() == "a line of text 1\n"


def test_lines_that_come_too_fast_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    shipper: LogShipper,
    name: str,
) -> None:
    monkeypatch.setattr(log_shipper, "_MOST_LINES", 5)
    with caplog.at_level(logging.WARNING):
        for number in range(500):
            shipper.write(name, "s", str(number))
        eventually(lambda: "they came faster than they are written" in caplog.text)
