"""The event log: every event on the bus, read back from its log group."""

import json
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from events.outbound import OUTBOUND, REPEATS

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient


class LoggedEvent(BaseModel):
    """One of our events as it went over the bus."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True
    )

    id: str
    time: AwareDatetime
    detail_type: str = Field(alias="detail-type")
    detail: dict[str, JsonValue]

    def text(self, name: str) -> str | None:
        """A field of the detail, if it is there and not empty."""
        value = self.detail.get(name)
        return None if value in (None, "") else str(value)

    @property
    def site(self) -> str | None:
        """The site it is about."""
        return self.text("site")

    @property
    def release(self) -> str | None:
        """The release or run it is about."""
        return self.text("release") or self.text("run_id") or self.text("to")

    @property
    def identity(self) -> str:
        """Equal for repeats of one event, if they can be recognised; else its own id."""
        named = {name: self.detail.get(name) for name in REPEATS.get(self.detail_type, ())}
        if not named or ("start" in named and named["start"] is None):
            return self.id
        return f"{self.detail_type} {json.dumps(named, sort_keys=True)}"


KINDS = frozenset(model.__name__ for model in OUTBOUND)


class EventLog:
    """Reads the log group, in the order in which events were written."""

    def __init__(self, client: "CloudWatchLogsClient", log_group: str) -> None:
        self._logs = client
        self._group = log_group

    def read(self, since: datetime | None = None, site: str | None = None) -> list[LoggedEvent]:
        """All events since a moment, oldest first; repeats are left out."""
        start_ms = 0 if since is None else int(since.timestamp() * 1000)
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._group, startTime=start_ms
        )
        lines = [line for page in pages for line in page["events"]]
        lines.sort(key=lambda line: (line["timestamp"], line.get("ingestionTime", 0)))
        events = [_logged(line["message"], line["timestamp"]) for line in lines]
        wanted = [
            event
            for event in events
            if event.detail_type in KINDS and (site is None or event.site == site)
        ]
        first: dict[str, LoggedEvent] = {}
        for event in wanted:
            first.setdefault(event.identity, event)
        return [*first.values()]

    def follow(
        self,
        since: datetime | None = None,
        site: str | None = None,
        timeout_s: float = math.inf,
        every_s: float = 0.2,
        between: Callable[[], None] = lambda: None,
    ) -> Iterator[LoggedEvent]:
        """Yield all events since a moment, then each as it comes, until the time is up.

        ``between`` is called before each look, and may end the wait by raising.
        """
        deadline, seen = time.monotonic() + timeout_s, set[str]()
        while time.monotonic() < deadline:
            between()
            for event in self.read(since, site):
                if event.identity not in seen:
                    seen.add(event.identity)
                    yield event
            time.sleep(every_s)


def _logged(message: str, timestamp_ms: int) -> LoggedEvent:
    """An event's own time has whole seconds; the log's has milliseconds."""
    event = LoggedEvent.model_validate_json(message)
    return event.model_copy(update={"time": datetime.fromtimestamp(timestamp_ms / 1000, UTC)})
