"""Polls the queue, in a thread of its own, and puts what concerns the agent on the work queue.

A queue that can't be reached delays nothing else: it is polled again after a growing pause, and the
controller's resync goes on meanwhile.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from threading import Event

from structlog.typing import FilteringBoundLogger

from trainer.agent.adapters.survey_queue import QueueMessage, SurveyQueue, site_of
from trainer.agent.errors import AwsUnavailableError, MessageError
from trainer.agent.metrics import AgentMetrics
from trainer.agent.retrying import retrying
from trainer.agent.work_queue import WorkItem, WorkQueue


@dataclass(frozen=True, slots=True)
class Poller:
    """Moves messages from the queue to the work queue; its reader deletes them in SQS."""

    queue: SurveyQueue
    data_bucket: str
    sites: Collection[str]
    """The only sites to care for; empty for all."""
    work_queue: WorkQueue
    stop: Event
    clock: Callable[[], datetime]
    """Returns the time in UTC."""
    metrics: AgentMetrics
    log: FilteringBoundLogger

    def run(self) -> None:
        """Poll until stopped; a poll that is under way may take 20 s to notice."""
        while not self.stop.is_set():
            for attempt in retrying(self.stop, self._on_failure):
                with attempt:
                    self.poll()

    def poll(self) -> None:
        """Wait for messages once and sort them.

        Raises:
            AwsUnavailableError: the queue gave no useful answer.
        """
        messages = self.queue.receive()
        sent = [message.sent_at for message in messages if message.sent_at]
        self.metrics.received((self.clock() - min(sent)).total_seconds() if sent else 0.0)
        for message in messages:
            self._sort(message)

    def _sort(self, message: QueueMessage) -> None:
        try:
            site = site_of(message, self.data_bucket)
        except MessageError as error:
            self._reject(message, str(error))
            return
        if site is None or (self.sites and site not in self.sites):
            self.queue.delete(message)
            return
        self.work_queue.put(WorkItem(site, message))

    def _reject(self, message: QueueMessage, reason: str) -> None:
        try:
            self.queue.reject(message, reason)
        except AwsUnavailableError as error:
            if message.first_time:
                self.log.warning(
                    "message left to its receive count", reason=reason, because=str(error)
                )
            return
        self.log.warning("message moved to the dead-letter queue", reason=reason)

    def _on_failure(self, reason: str) -> None:
        self.metrics.failed("queue")
        self.log.warning("the queue can't be polled, trying again", reason=reason)
