"""Putting events: every entry is checked, batches keep PutEvents' limits, refusals are repeated."""

import json

import pytest
from botocore.exceptions import EndpointConnectionError

from aws.event_publisher import BusEntry, EventPublisher, PublishingError

LIMIT_BYTES = 256 * 1024


class ScriptedBus:
    """A client whose answers are scripted: per call, the numbers of the entries that it refuses."""

    def __init__(self, *refusals: set[int] | Exception) -> None:
        self.calls: list[list[dict[str, str]]] = []
        self._refusals = [*refusals]

    def put_events(self, *, Entries: list[dict[str, str]]) -> dict[str, object]:  # noqa: N803 - AWS names it
        self.calls.append(Entries)
        refused = self._refusals.pop(0) if self._refusals else set()
        if isinstance(refused, Exception):
            raise refused
        results = [
            {"ErrorCode": "Throttled", "ErrorMessage": "slow down"}
            if number in refused
            else {"EventId": f"id of {entry['Detail']}"}
            for number, entry in enumerate(Entries)
        ]
        return {"FailedEntryCount": len(refused), "Entries": results}


def publisher(client: ScriptedBus, pauses: list[float] | None = None, **options: int):
    sleep = (pauses if pauses is not None else []).append
    return EventPublisher(client, "ours", "rssi-mlops.test", sleep=sleep, **options)


def entries(count: int) -> list[BusEntry]:
    return [BusEntry("Kind", json.dumps(number)) for number in range(count)]


def test_ids_come_in_the_order_of_the_entries_even_after_repeats():
    client, pauses = ScriptedBus({0, 2}, {1}), list[float]()

    ids = publisher(client, pauses).publish(entries(4))

    assert ids == ("id of 0", "id of 1", "id of 2", "id of 3")
    assert [[entry["Detail"] for entry in call] for call in client.calls] == [
        ["0", "1", "2", "3"],
        ["0", "2"],
        ["2"],
    ]
    assert len(pauses) == 2


def test_each_entry_names_bus_source_and_kind():
    client = ScriptedBus()
    publisher(client).publish([BusEntry("Kind", "{}")])

    (entry,) = client.calls[0]
    assert entry == {
        "EventBusName": "ours",
        "Source": "rssi-mlops.test",
        "DetailType": "Kind",
        "Detail": "{}",
    }


def test_what_is_refused_every_time_is_named_in_the_error():
    client = ScriptedBus({1}, {0}, {0}, {0})

    with pytest.raises(PublishingError, match=r"ours refused 1 events: Kind \(Throttled slow"):
        publisher(client).publish(entries(2))

    assert len(client.calls) == 4


def test_one_attempt_means_one_call_and_the_error_carries_the_code():
    client = ScriptedBus({0})

    with pytest.raises(PublishingError) as caught:
        publisher(client, attempts=1).publish(entries(1))

    assert [refused.code for refused in caught.value.refused] == ["Throttled"]
    assert len(client.calls) == 1


def test_a_call_without_an_answer_is_repeated_and_then_an_error_without_entries():
    lost = EndpointConnectionError(endpoint_url="https://events")
    assert publisher(ScriptedBus(lost)).publish(entries(1)) == ("id of 0",)

    with pytest.raises(PublishingError, match="took no events") as caught:
        publisher(ScriptedBus(lost, lost, lost, lost)).publish(entries(1))
    assert caught.value.refused == ()


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ([10] * 10, [10]),
        ([10] * 23, [10, 10, 3]),
        ([100_000] * 3, [2, 1]),
        ([LIMIT_BYTES - len("Kind") - len("rssi-mlops.test")], [1]),
        ([LIMIT_BYTES - len("Kind") - len("rssi-mlops.test"), 1], [1, 1]),
        ([], []),
    ],
)
def test_no_call_breaks_the_limits_of_putevents(sizes, calls):
    client = ScriptedBus()
    publisher(client).publish([BusEntry("Kind", "x" * size) for size in sizes])

    assert [len(call) for call in client.calls] == calls
