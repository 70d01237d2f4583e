"""Bounds on what moto would keep for ever: log events, sent notifications, deleted messages.

AWS forgets these by itself. Only the newest are kept; objects, items, messages and parameters stay
until they are deleted.
"""

import threading
from collections.abc import Iterator
from typing import Any

from ops.local.settings import CloudSettings

_PAUSE = 2.0  # seconds between rounds
_LOG_EVENTS = 10_000  # of a stream
_NOTIFICATIONS = 1000  # of a topic
_RECEIPTS = 20_000  # of deleted messages, of a queue


class BoundedState:
    """Forgets what is old, in a thread of its own."""

    def __init__(self, settings: CloudSettings) -> None:
        from moto.logs.models import logs_backends  # noqa: PLC0415 - moto is slow to import
        from moto.sns.models import sns_backends  # noqa: PLC0415
        from moto.sqs.models import sqs_backends  # noqa: PLC0415

        where = settings.account_id, settings.region
        self._logs, self._sns, self._sqs = (
            backends[where[0]][where[1]] for backends in (logs_backends, sns_backends, sqs_backends)
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bounds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._thread.join()

    def trim(self) -> None:
        """Forget what is old now."""
        for stream in self._streams():
            del stream.events[:-_LOG_EVENTS]
        for topic in list(self._sns.topics.values()):
            del topic.sent_notifications[:-_NOTIFICATIONS]
        for queue in list(self._sqs.queues.values()):
            receipts: set[str] = queue.deleted_messages
            for receipt in list(receipts)[_RECEIPTS:]:
                receipts.discard(receipt)

    def _streams(self) -> Iterator[Any]:
        for group in list(self._logs.groups.values()):
            yield from list(group.streams.values())

    def _run(self) -> None:
        while not self._closed.wait(_PAUSE):
            self.trim()
