"""Messages that stay in the queue, hidden, until what they asked for is durable.

If the agent dies before that, they become visible again and wake another agent.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from structlog.typing import FilteringBoundLogger

from trainer.agent.adapters.survey_queue import QueueMessage, SurveyQueue
from trainer.agent.errors import AwsUnavailableError
from trainer.agent.metrics import AgentMetrics

_HIDE_FOR = timedelta(minutes=15)
_HIDE_AGAIN_BEFORE = timedelta(minutes=5)
_HOLD_AT_MOST = timedelta(hours=11)
"""SQS ends a message's time in flight after 12 h, and counts it against the message."""


@dataclass(slots=True)
class _HeldMessage:
    message: QueueMessage
    since: datetime
    hidden_until: datetime


@dataclass(slots=True)
class HeldMessages:
    """The messages that arrived for each site."""

    queue: SurveyQueue | None
    metrics: AgentMetrics
    log: FilteringBoundLogger
    _arrived: defaultdict[str, list[QueueMessage]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    _held: defaultdict[str, list[_HeldMessage]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )

    def add(self, site: str, message: QueueMessage) -> None:
        """Take a message that has just been received."""
        self._arrived[site].append(message)

    def hold(self, site: str, now: datetime) -> None:
        """Keep a site's messages hidden until `delete`."""
        # Hidden as of now only: `keep_hidden` extends all that are due, in batches.
        arrived = self._arrived.pop(site, [])
        self._held[site] += [_HeldMessage(message, now, now) for message in arrived]

    def delete(self, site: str) -> None:
        """Delete a site's messages: what they asked for is durable, or done."""
        held = [each.message for each in self._held.pop(site, [])]
        self._delete(held + self._arrived.pop(site, []))

    def keep_hidden(self, now: datetime) -> None:
        """Hide held messages again before they become visible; delete those held too long."""
        to_hide, to_delete = list[_HeldMessage](), list[QueueMessage]()
        for held in self._held.values():
            for each in tuple(held):
                if each.hidden_until - _HIDE_AGAIN_BEFORE > now:
                    continue
                if now - each.since >= _HOLD_AT_MOST:
                    # No loss: the resync finds what the message announced.
                    held.remove(each)
                    to_delete.append(each.message)
                else:
                    to_hide.append(each)
        self._delete(to_delete)
        self._hide(to_hide, now)

    def due(self) -> Iterator[datetime]:
        """When each held message has to be hidden again."""
        for held in self._held.values():
            for each in held:
                yield each.hidden_until - _HIDE_AGAIN_BEFORE

    def _hide(self, held: list[_HeldMessage], now: datetime) -> None:
        for each in held:
            each.hidden_until = now + _HIDE_FOR
        try:
            if self.queue and held:
                messages = [each.message for each in held]
                self.queue.keep_hidden(messages, math.ceil(_HIDE_FOR.total_seconds()))
        except AwsUnavailableError as error:
            self.metrics.failed("queue")
            self.log.warning("messages may come twice", reason=str(error))

    def _delete(self, messages: list[QueueMessage]) -> None:
        try:
            if self.queue and messages:
                self.queue.delete(*messages)
        except AwsUnavailableError as error:
            self.metrics.failed("queue")
            self.log.warning("messages will come again", reason=str(error))
