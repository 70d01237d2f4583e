"""Puts events on an EventBridge bus.

PutEvents answers 200 although it refused some or all entries, so each entry's result is checked.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

_MOST_ENTRIES = 10
_MOST_BYTES = 256 * 1024
"""PutEvents' limits on one call, as its reference gives them."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class BusEntry(NamedTuple):
    """An event for the bus."""

    detail_type: str
    detail: str
    """JSON."""


class RefusedEntry(NamedTuple):
    """An entry that the bus did not take, and why."""

    entry: BusEntry
    code: str
    message: str


class PublishingError(Exception):
    """The bus did not take all entries, even after repeats.

    Attributes:
        refused: the entries that it refused; empty if it gave no answer at all.
    """

    def __init__(self, message: str, refused: Sequence[RefusedEntry] = ()) -> None:
        super().__init__(message)
        self.refused = tuple(refused)


class EventPublisher:
    """Publishes events of one source on one bus."""

    def __init__(
        self,
        client: "EventBridgeClient",
        bus: str,
        source: str,
        *,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use ``client`` for the bus named ``bus``.

        Args:
            client: EventBridge's client.
            bus: the bus's name.
            source: the events' source.
            attempts: how often an entry is put before it counts as refused.
            sleep: waits between two attempts.
        """
        self._client = client
        self._bus = bus
        self._source = source
        self._attempts = attempts
        self._sleep = sleep

    def publish(self, entries: Sequence[BusEntry]) -> tuple[str, ...]:
        """Put events on the bus, in this order, and return their event ids.

        A refused entry is put again, and so is a batch without an answer: repeats are possible.

        Raises:
            PublishingError: the bus did not take all of them.
        """
        return tuple(
            event_id for batch in self._batches(entries) for event_id in self._put_all(batch)
        )

    def _put_all(self, batch: Sequence[BusEntry]) -> list[str]:
        pending, event_ids = dict(enumerate(batch)), dict[int, str]()
        for attempt in count(1):
            error = self._put(pending, event_ids)
            if error is None:
                break
            if attempt == self._attempts:
                raise error
            longest_s = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
            self._sleep(random.uniform(0, longest_s))  # noqa: S311 - jitter
        return [event_ids[number] for number in range(len(batch))]

    def _put(
        self, pending: dict[int, BusEntry], event_ids: dict[int, str]
    ) -> PublishingError | None:
        """Put what is pending once; moves what the bus took, and returns what went wrong."""
        # Loaded with the client already.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self._bus,
                        "Source": self._source,
                        "DetailType": entry.detail_type,
                        "Detail": entry.detail,
                    }
                    for entry in pending.values()
                ]
            )
        except (ClientError, BotoCoreError) as error:
            return PublishingError(f"the bus {self._bus} took no events: {error}")
        refused = list[RefusedEntry]()
        for number, result in zip([*pending], answer["Entries"], strict=True):
            if "ErrorCode" in result:
                code, message = result["ErrorCode"], result.get("ErrorMessage", "")
                refused.append(RefusedEntry(pending[number], code, message))
            else:
                event_ids[number] = result["EventId"]
                del pending[number]
        if not refused:
            return None
        reasons = "; ".join(
            f"{entry.detail_type} ({f'{code} {message}'.strip()})"
            for entry, code, message in refused
        )
        return PublishingError(
            f"the bus {self._bus} refused {len(refused)} events: {reasons}", refused
        )

    def _batches(self, entries: Sequence[BusEntry]) -> Iterator[list[BusEntry]]:
        batch: list[BusEntry] = []
        size = 0
        for entry in entries:
            own = len(entry.detail.encode()) + len(entry.detail_type) + len(self._source)
            if batch and (len(batch) == _MOST_ENTRIES or size + own > _MOST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += own
        if batch:
            yield batch
