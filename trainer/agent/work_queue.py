"""How other threads, and signal handlers, get the agent's loop to look at something."""

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple

from trainer.agent.adapters.queue import Message


class Letter(NamedTuple):
    """A message and the site that it is about."""

    site: str
    message: Message


class Mailbox:
    """Letters and nudges, taken by one reader.

    Built on `queue.SimpleQueue` because its ``put`` is reentrant: a signal handler that set a
    `threading.Event` could wait for a lock which the very thread it interrupted holds.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._arrived: SimpleQueue[Letter | None] = SimpleQueue()

    def put(self, letter: Letter) -> None:
        """Leave a letter."""
        self._arrived.put(letter)

    def nudge(self) -> None:
        """Wake the reader."""
        self._arrived.put(None)

    def take(self, timeout_s: float) -> tuple[Letter, ...]:
        """All letters that are there, after waiting for a letter or a nudge at most so long."""
        return tuple(letter for letter in self._arrivals(timeout_s) if letter is not None)

    def _arrivals(self, timeout_s: float) -> Iterator[Letter | None]:
        try:
            yield self._arrived.get(timeout=max(timeout_s, 0.0))
            while True:
                yield self._arrived.get_nowait()
        except Empty:
            return
