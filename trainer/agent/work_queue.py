"""How other threads, and signal handlers, get the agent's loop to look at something."""

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple

from trainer.agent.adapters.survey_queue import QueueMessage


class WorkItem(NamedTuple):
    """A message and the site that it is about."""

    site: str
    message: QueueMessage


class WorkQueue:
    """Letters and nudges, taken by one reader.

    Built on `queue.SimpleQueue` because its ``put`` is reentrant: a signal handler that set a
    `threading.Event` could wait for a lock which the very thread it interrupted holds.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._arrived: SimpleQueue[WorkItem | None] = SimpleQueue()

    def put(self, item: WorkItem) -> None:
        """Leave a item."""
        self._arrived.put(item)

    def nudge(self) -> None:
        """Wake the reader."""
        self._arrived.put(None)

    def take(self, timeout_s: float) -> tuple[WorkItem, ...]:
        """All letters that are there, after waiting for a item or a nudge at most so long."""
        return tuple(item for item in self._arrivals(timeout_s) if item is not None)

    def _arrivals(self, timeout_s: float) -> Iterator[WorkItem | None]:
        try:
            yield self._arrived.get(timeout=max(timeout_s, 0.0))
            while True:
                yield self._arrived.get_nowait()
        except Empty:
            return
