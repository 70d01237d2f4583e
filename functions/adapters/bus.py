"""The event bus. PutEvents answers 200 although entries failed, so each entry is looked at."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from events.outbound import EventSource
from functions.core.deployments import Announcement
from functions.core.errors import RetryLaterError

ENTRIES_PER_CALL = 10
ATTEMPTS = 4


class Bus:
    """What the release steps announce."""

    def __init__(self, client: Any, name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._events = client
        self._name = name
        self._sleep = sleep

    def put(self, announcements: Sequence[Announcement]) -> None:
        """Put events on the bus, in this order.

        Raises:
            RetryLaterError: the bus did not take all of them, again and again.
        """
        for start in range(0, len(announcements), ENTRIES_PER_CALL):
            self._put_some(announcements[start : start + ENTRIES_PER_CALL])

    def _put_some(self, announcements: Sequence[Announcement]) -> None:
        entries = [
            {
                "EventBusName": self._name,
                "Source": EventSource.RELEASE.value,
                "DetailType": announcement.detail_type,
                "Detail": announcement.detail,
            }
            for announcement in announcements
        ]
        for attempt in range(ATTEMPTS):
            answer = self._events.put_events(Entries=entries)
            if not answer["FailedEntryCount"]:
                return
            results = zip(entries, answer["Entries"], strict=True)
            entries = [entry for entry, result in results if "ErrorCode" in result]
            self._sleep(0.1 * 2**attempt)
        kinds = ", ".join(entry["DetailType"] for entry in entries)
        raise RetryLaterError(f"the bus {self._name} did not take: {kinds}")
