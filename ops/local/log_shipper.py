"""Ships the output of functions and containers to CloudWatch Logs and to files.

Lines are queued, and one thread writes them in batches. Lines that it can't write, or not as fast
as they come, are dropped with a warning: logging must not stop what it logs.
"""

import logging
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from botocore.exceptions import BotoCoreError, ClientError

from ops.local.cloudwatch.metric_store import MetricStore
from ops.local.gateway.clients import ServiceClients

_log = logging.getLogger(__name__)
_PAUSE = 0.2  # seconds between batches
_MOST_LINES = 10_000  # that wait to be written; CloudWatch takes as many in one call
_MOST_BYTES = 10 * 1024**2  # of a file; then it becomes NAME.log.1, and the one before goes


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output with its log group and stream; ``time`` is epoch milliseconds."""

    group: str
    stream: str
    text: str
    time: int


class LogShipper:
    """Takes lines from any thread.

    Args:
        clients: clients of the cloud itself.
        directory: if given, each group is also appended to a file of its name there.
        metrics: takes the metrics that lines carry.
    """

    def __init__(
        self, clients: ServiceClients, directory: Path | None, metrics: MetricStore
    ) -> None:
        self._clients = clients
        self._directory = directory
        self._metrics = metrics
        self._lines: SimpleQueue[LogLine] = SimpleQueue()
        self._dropped = 0
        self._known: set[tuple[str, str]] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-shipper", daemon=True)
        self._thread.start()

    def write(self, group: str, stream: str, text: str) -> None:
        """Queue one line; never blocks."""
        if text:
            self._metrics.read_log_line(text)
            if self._lines.qsize() >= _MOST_LINES:
                self._dropped += 1
                return
            self._lines.put(LogLine(group, stream, text, time.time_ns() // 1_000_000))

    def close(self) -> None:
        """Write what is queued and stop; to be called while the front door still answers."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_PAUSE):
            self._ship()
        self._ship()

    def _ship(self) -> None:
        batches: dict[tuple[str, str], list[LogLine]] = defaultdict(list)
        with suppress(Empty):
            while True:
                line = self._lines.get_nowait()
                batches[line.group, line.stream].append(line)
        if dropped := self._dropped:
            self._dropped = 0
            _log.warning("%d line(s) are lost: they came faster than they are written", dropped)
        for (group, stream), lines in batches.items():
            self._append(group, lines)
            try:
                self._put(group, stream, lines)
            except (ClientError, BotoCoreError) as error:
                _log.warning("%d line(s) for log group %s are lost: %s", len(lines), group, error)

    def _append(self, group: str, lines: list[LogLine]) -> None:
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{group.strip('/').replace('/', '-')}.log"
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line.text}\n" for line in lines)

    def _put(self, group: str, stream: str, lines: list[LogLine]) -> None:
        client = self._clients.get("logs")
        if (group, stream) not in self._known:
            with suppress(client.exceptions.ResourceAlreadyExistsException):
                client.create_log_group(logGroupName=group)
            client.create_log_stream(logGroupName=group, logStreamName=stream)
            self._known.add((group, stream))
        client.put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": line.time, "message": line.text} for line in lines],
        )
