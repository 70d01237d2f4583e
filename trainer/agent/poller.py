"""Waits at the queue, in a thread of its own, and brings what concerns us to the work_queue.

A queue that can't be reached slows nothing down: it is asked again with a growing pause, and the
loop's resync goes on meanwhile.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from threading import Event

from structlog.typing import FilteringBoundLogger
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from trainer.agent.adapters.survey_queue import QueueMessage, SurveyQueue, site_of
from trainer.agent.errors import BorderError, MessageError
from trainer.agent.metrics import AgentMetrics
from trainer.agent.work_queue import WorkItem, WorkQueue

_LONGEST_PAUSE_S = 60


@dataclass(frozen=True, slots=True)
class Poller:
    """Moves messages from the queue to the work_queue; whoever reads that deletes them."""

    queue: SurveyQueue
    data_bucket: str
    sites: Collection[str]
    """The only sites to look after; empty for all."""
    work_queue: WorkQueue
    stop: Event
    clock: Callable[[], datetime]
    """Tells the time in UTC."""
    metrics: AgentMetrics
    log: FilteringBoundLogger

    def run(self) -> None:
        """Poll until told to stop; a poll that is under way may take 20 s to notice."""
        while not self.stop.is_set():
            for attempt in Retrying(
                retry=retry_if_exception_type(BorderError),
                wait=wait_random_exponential(multiplier=1, max=_LONGEST_PAUSE_S),
                sleep=sleep_using_event(self.stop),
                stop=stop_when_event_set(self.stop),
                before_sleep=self._say_why,
                retry_error_callback=lambda _: None,
            ):
                with attempt:
                    self.poll()

    def poll(self) -> None:
        """Wait for messages once and sort them.

        Raises:
            BorderError: the queue gave no useful answer.
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
        except BorderError as error:
            if message.first_time:
                self.log.warning(
                    "message left to its receive count", reason=reason, because=str(error)
                )
            return
        self.log.warning("message moved to the dead-letter queue", reason=reason)

    def _say_why(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.metrics.failed("queue")
        self.log.warning("the queue can't be polled, trying again", reason=str(error))
