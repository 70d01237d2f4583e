"""How other threads, and signal handlers, wake the controller."""

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple

from trainer.agent.adapters.survey_queue import QueueMessage


class WorkItem(NamedTuple):
    """A message and the site that it is about."""

    site: str
    message: QueueMessage


class WorkQueue:
    """Work items and wake-ups, taken by one reader.

    Built on `queue.SimpleQueue` because its ``put`` is reentrant: a signal handler that set a
    `threading.Event` could wait for a lock which the very thread it interrupted holds.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._arrived: SimpleQueue[WorkItem | None] = SimpleQueue()

    def put(self, item: WorkItem) -> None:
        """Add an item."""
        self._arrived.put(item)

    def wake(self) -> None:
        """Wake the reader without an item."""
        self._arrived.put(None)

    def take(self, timeout_s: float) -> tuple[WorkItem, ...]:
        """All items that are there, after waiting for an item or a wake-up at most so long."""
        return tuple(item for item in self._arrivals(timeout_s) if item is not None)

    def _arrivals(self, timeout_s: float) -> Iterator[WorkItem | None]:
        try:
            yield self._arrived.get(timeout=max(timeout_s, 0.0))
            while True:
                yield self._arrived.get_nowait()
        except Empty:
            return
