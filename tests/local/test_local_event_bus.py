"""Event buses: accepted events, their targets, and events that can't be delivered."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.local_helpers import eventually

Clients = Callable[[str], Any]
ACCOUNT = "123456789012"


def entry(source: str = "test", detail_type: str = "Happened", **detail: object) -> dict[str, str]:
    return {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}


@pytest.fixture
def events(client: Clients) -> Any:
    return client("events")


@pytest.fixture
def bus(events: Any, name: str) -> str:
    events.create_event_bus(Name=name)
    return name


class Queue:
    """A queue and what arrives in it."""

    def __init__(self, client: Clients, name: str) -> None:
        self._sqs = client("sqs")
        self.url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"

    def message(self) -> Any:
        """The next message with its attributes."""

        def probe() -> Any:
            answer = self._sqs.receive_message(
                QueueUrl=self.url, MessageAttributeNames=["All"], WaitTimeSeconds=1
            )
            return answer.get("Messages")

        (message,) = eventually(probe)
        self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return message

    def body(self) -> Any:
        return json.loads(self.message()["Body"])


@pytest.fixture
def queue(client: Clients, name: str) -> Queue:
    return Queue(client, f"{name}-queue")


def route(events: Any, bus: str, pattern: object, *targets: Mapping[str, object]) -> str:
    """Make a rule with targets; returns its ARN."""
    arn = events.put_rule(Name="rule", EventBusName=bus, EventPattern=json.dumps(pattern))
    events.put_targets(
        Rule="rule",
        EventBusName=bus,
        Targets=[{"Id": str(number), **target} for number, target in enumerate(targets)],
    )
    return str(arn["RuleArn"])


EVERYTHING = {"source": [{"exists": True}]}


def test_an_event_that_matches_reaches_the_queue_and_another_does_not(
    events: Any, bus: str, queue: Queue
) -> None:
    route(events, bus, {"detail": {"n": [{"numeric": [">", 1]}]}}, {"Arn": queue.arn})
    for number in (1, 2):
        answer = events.put_events(Entries=[{**entry(n=number), "EventBusName": bus}])
        assert answer["FailedEntryCount"] == 0
    event = queue.body()
    assert event["detail"] == {"n": 2}
    assert event["id"] == answer["Entries"][0]["EventId"]
    assert event["account"] == ACCOUNT
    assert event["region"] == "us-east-1"


def test_a_topic_and_another_bus_get_the_event_too(
    client: Clients, events: Any, bus: str, queue: Queue
) -> None:
    topic = client("sns").create_topic(Name=bus)["TopicArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    second = events.create_event_bus(Name=f"{bus}-second")["EventBusArn"]
    route(events, bus, EVERYTHING, {"Arn": second})
    route(events, f"{bus}-second", EVERYTHING, {"Arn": topic})
    events.put_events(Entries=[{**entry(n=1), "EventBusName": bus}])
    assert json.loads(queue.body()["Message"])["detail"] == {"n": 1}


def test_a_log_group_gets_events_in_the_order_they_were_put(
    client: Clients, events: Any, bus: str
) -> None:
    client("logs").create_log_group(logGroupName=f"/{bus}")
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/{bus}"
    route(events, bus, EVERYTHING, {"Arn": arn})
    for start in range(0, 50, 10):
        entries = [{**entry(n=start + n), "EventBusName": bus} for n in range(10)]
        events.put_events(Entries=entries)

    def messages() -> list[int] | None:
        found = client("logs").filter_log_events(logGroupName=f"/{bus}")["events"]
        numbers = [json.loads(each["message"])["detail"]["n"] for each in found]
        return numbers if len(numbers) == 50 else None

    assert eventually(messages) == list(range(50))


def test_a_disabled_rule_delivers_nothing(events: Any, bus: str, queue: Queue) -> None:
    route(events, bus, EVERYTHING, {"Arn": queue.arn})
    events.disable_rule(Name="rule", EventBusName=bus)
    events.put_events(Entries=[{**entry(n=1), "EventBusName": bus}])
    events.enable_rule(Name="rule", EventBusName=bus)
    events.put_events(Entries=[{**entry(n=2), "EventBusName": bus}])
    assert queue.body()["detail"] == {"n": 2}


def test_a_constant_input_replaces_the_event(events: Any, bus: str, queue: Queue) -> None:
    route(events, bus, EVERYTHING, {"Arn": queue.arn, "Input": '{"wake": true}'})
    events.put_events(Entries=[{**entry(), "EventBusName": bus}])
    assert queue.body() == {"wake": True}


def test_a_target_that_is_missing_sends_the_event_to_the_dead_letter_queue_at_once(
    events: Any, bus: str, queue: Queue
) -> None:
    gone = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{bus}-gone"
    rule = route(events, bus, EVERYTHING, {"Arn": gone, "DeadLetterConfig": {"Arn": queue.arn}})
    events.put_events(Entries=[{**entry(n=1), "EventBusName": bus}])
    message = queue.message()
    attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
    assert json.loads(message["Body"])["detail"] == {"n": 1}
    assert attributes["ERROR_CODE"] == "NO_RESOURCE"
    assert attributes["RETRY_ATTEMPTS"] == "0"
    assert attributes["RULE_ARN"] == rule
    assert attributes["TARGET_ARN"] == gone


def test_a_target_that_refuses_is_retried_as_often_as_its_policy_says(
    client: Clients, events: Any, bus: str, queue: Queue
) -> None:
    fifo = client("sqs").create_queue(QueueName=f"{bus}.fifo", Attributes={"FifoQueue": "true"})
    assert fifo["QueueUrl"]
    target = {
        "Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{bus}.fifo",  # refused: no message group is given
        "RetryPolicy": {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 86400},
        "DeadLetterConfig": {"Arn": queue.arn},
    }
    route(events, bus, EVERYTHING, target)
    events.put_events(Entries=[{**entry(n=1), "EventBusName": bus}])
    attributes = {k: v["StringValue"] for k, v in queue.message()["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "SDK_CLIENT_ERROR"
    assert attributes["RETRY_ATTEMPTS"] == "2"
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"


def test_a_function_that_does_not_permit_the_rule_is_not_invoked(
    client: Clients, events: Any, bus: str, queue: Queue, make_function: Callable[..., str]
) -> None:
    function = make_function("def handle(event, context): return event")
    route(events, bus, EVERYTHING, {"Arn": function, "DeadLetterConfig": {"Arn": queue.arn}})
    events.put_events(Entries=[{**entry(n=1), "EventBusName": bus}])
    attributes = {k: v["StringValue"] for k, v in queue.message()["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (entry(source="aws.s3"), "NotAuthorizedForSourceException"),
        ({**entry(), "Detail": "{"}, "MalformedDetail"),
        ({**entry(), "Detail": "[1]"}, "MalformedDetail"),
        ({"DetailType": "a", "Detail": "{}"}, "InvalidArgument"),
        ({**entry(), "EventBusName": "no-such-bus"}, "ResourceNotFoundException"),
    ],
)
def test_a_bad_entry_fails_alone_and_is_counted(
    events: Any, bus: str, queue: Queue, bad: dict[str, str], code: str
) -> None:
    route(events, bus, EVERYTHING, {"Arn": queue.arn})
    good = {**entry(n=1), "EventBusName": bus}
    answer = events.put_events(Entries=[{"EventBusName": bus, **bad}, good])
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == code
    assert "EventId" in answer["Entries"][1]
    assert queue.body()["detail"] == {"n": 1}


def test_too_many_or_too_large_entries_are_refused_together(events: Any) -> None:
    with pytest.raises(ClientError, match="11 entries"):
        events.put_events(Entries=[entry() for _ in range(11)])
    with pytest.raises(ClientError, match="over the limit"):
        events.put_events(Entries=[entry(text="x" * 140_000) for _ in range(2)])


def test_a_rule_is_described_as_it_was_put(events: Any, bus: str, queue: Queue) -> None:
    arn = route(events, bus, {"source": ["a"]}, {"Arn": queue.arn})
    assert arn == f"arn:aws:events:us-east-1:{ACCOUNT}:rule/{bus}/rule"
    described = events.describe_rule(Name="rule", EventBusName=bus)
    assert described["State"] == "ENABLED"
    assert json.loads(described["EventPattern"]) == {"source": ["a"]}
    assert [each["Name"] for each in events.list_rules(EventBusName=bus)["Rules"]] == ["rule"]
    targets = events.list_targets_by_rule(Rule="rule", EventBusName=bus)["Targets"]
    assert targets == [{"Id": "0", "Arn": queue.arn}]


def test_what_is_in_use_is_deleted_from_the_inside_out(events: Any, bus: str, queue: Queue) -> None:
    route(events, bus, EVERYTHING, {"Arn": queue.arn})
    with pytest.raises(ClientError, match="has targets"):
        events.delete_rule(Name="rule", EventBusName=bus)
    with pytest.raises(ClientError, match="it has rules"):
        events.delete_event_bus(Name=bus)
    events.remove_targets(Rule="rule", EventBusName=bus, Ids=["0"])
    events.delete_rule(Name="rule", EventBusName=bus)
    events.delete_event_bus(Name=bus)
    assert bus not in [each["Name"] for each in events.list_event_buses()["EventBuses"]]


def test_an_unknown_operator_and_an_input_transformer_are_refused(
    events: Any, bus: str, queue: Queue
) -> None:
    with pytest.raises(ClientError, match="Unrecognized match type contains") as refused:
        events.put_rule(
            Name="rule", EventBusName=bus, EventPattern='{"source": [{"contains": "x"}]}'
        )
    assert refused.value.response["Error"]["Code"] == "InvalidEventPatternException"
    with pytest.raises(ClientError, match="InputTransformer: is not emulated here"):
        route(
            events,
            bus,
            EVERYTHING,
            {"Arn": queue.arn, "InputTransformer": {"InputTemplate": "<a>"}},
        )
