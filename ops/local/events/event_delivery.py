"""Delivery of events to targets: a queue per target, retries with back-off, dead-letter queues.

A thread works off each queue, so a slow target delays only itself, and first attempts keep their
order; a retry joins the queue when it is due. As in EventBridge, what can't succeed (the target is
missing, or does not permit the call) is not retried.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from ops.local.errors import DeliveryError, ServiceError, UndeliverableError
from ops.local.events.api import EventTarget
from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.protocol import JsonObject
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)
# AWS does not document EventBridge's back-off; a minute is in the range seen in practice.
_FIRST_BACK_OFF = 60.0
_MISSING = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
        "NotFound",
        "NotFoundException",
    }
)


class FunctionInvoker(Protocol):
    """The Lambda functions, as a target."""

    def accept(self, arn: str, payload: bytes, caller: str, source_arn: str) -> None:
        """Accept an event for an asynchronous invocation.

        Raises:
            DeliveryError: it is refused.
        """


Forward = Callable[[JsonObject, str], None]


@dataclass(frozen=True, slots=True)
class _DeliveryAttempt:
    """One attempt; ``number`` counts from 0, ``queued_at`` is monotonic seconds."""

    rule_arn: str
    target: EventTarget
    event: JsonObject
    queued_at: float
    number: int = 0

    @property
    def payload(self) -> str:
        return self.target.input or json.dumps(self.event)


_Sender = Callable[[_DeliveryAttempt], None]


class EventDelivery:
    """Delivers events to functions, queues, topics, log groups and other buses.

    Args:
        settings: scales the back-off.
        clients: clients of the cloud itself.
        timer: for retries.
    """

    def __init__(self, settings: CloudSettings, clients: ServiceClients, timer: Timer) -> None:
        self._settings = settings
        self._clients = clients
        self._timer = timer
        self._queues: dict[str, SimpleQueue[_DeliveryAttempt | None]] = {}
        self._streams: dict[str, str] = {}
        self._lock = threading.Lock()
        self._senders: Mapping[str, _Sender] = {
            "lambda": self._to_function,
            "sqs": self._to_sqs_queue,
            "sns": self._to_topic,
            "logs": self._to_log_group,
            "events": self._to_bus,
        }

    def connect(self, functions: FunctionInvoker, forward: Forward) -> None:
        """Set the functions and the buses; both need this delivery before it can have them."""
        self._functions = functions
        self._forward = forward

    def deliver(self, rule_arn: str, target: EventTarget, event: JsonObject) -> None:
        """Queue ``event`` for ``target``."""
        self._queue_for(target.arn).put(_DeliveryAttempt(rule_arn, target, event, time.monotonic()))

    def close(self) -> None:
        """Stop after the delivery that each queue is working on."""
        with self._lock:
            for queue in self._queues.values():
                queue.put(None)

    def _queue_for(self, arn: str) -> "SimpleQueue[_DeliveryAttempt | None]":
        with self._lock:
            if arn not in self._queues:
                queue = self._queues[arn] = SimpleQueue()
                threading.Thread(
                    target=self._run, args=(queue,), name=f"to {arn}", daemon=True
                ).start()
            return self._queues[arn]

    def _run(self, queue: "SimpleQueue[_DeliveryAttempt | None]") -> None:
        while (attempt := queue.get()) is not None:
            self._try(attempt, queue)

    def _try(
        self, attempt: _DeliveryAttempt, queue: "SimpleQueue[_DeliveryAttempt | None]"
    ) -> None:
        try:
            self._send(attempt)
        except UndeliverableError as error:
            self._dead_letter(attempt, error, None)
        except DeliveryError as error:
            exhausted = self._exhausted(attempt)
            if exhausted:
                self._dead_letter(attempt, error, exhausted)
            else:
                again = replace(attempt, number=attempt.number + 1)
                self._timer.after(self._back_off(attempt), lambda: queue.put(again))

    def _send(self, attempt: _DeliveryAttempt) -> None:
        service = attempt.target.arn.split(":")[2]
        sender = self._senders.get(service)
        if sender is None:
            raise UndeliverableError("NO_RESOURCE", f"{service} is not emulated as a target.")
        with _as_delivery_errors():
            sender(attempt)

    def _back_off(self, attempt: _DeliveryAttempt) -> float:
        return _FIRST_BACK_OFF * self._settings.clock_scale * float(2 ** min(attempt.number, 6))

    def _exhausted(self, attempt: _DeliveryAttempt) -> str | None:
        policy = attempt.target.retry_policy
        if attempt.number >= policy.maximum_retry_attempts:
            return "MaximumRetryAttempts"
        age = time.monotonic() - attempt.queued_at
        if age >= policy.maximum_event_age_in_seconds * self._settings.clock_scale:
            return "MaximumEventAgeInSeconds"
        return None

    def _dead_letter(
        self, attempt: _DeliveryAttempt, error: DeliveryError, exhausted: str | None
    ) -> None:
        queue_arn = attempt.target.dead_letter_config.arn
        if queue_arn is None:
            _log.warning("an event for %s is lost: %s", attempt.target.arn, error)
            return
        attributes = {
            "RULE_ARN": attempt.rule_arn,
            "TARGET_ARN": attempt.target.arn,
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": error.message,
            "RETRY_ATTEMPTS": str(attempt.number),
        }
        if exhausted:
            attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
        try:
            self._clients.send_dead_letter(queue_arn, attempt.payload, attributes)
        except (ClientError, BotoCoreError) as failure:
            _log.warning("an event for dead-letter queue %s is lost: %s", queue_arn, failure)

    # --- one method for each kind of target

    def _to_function(self, attempt: _DeliveryAttempt) -> None:
        self._functions.accept(
            attempt.target.arn,
            attempt.payload.encode(),
            caller="events.amazonaws.com",
            source_arn=attempt.rule_arn,
        )

    def _to_sqs_queue(self, attempt: _DeliveryAttempt) -> None:
        sqs, url = self._clients.get("sqs"), self._clients.queue_url(attempt.target.arn)
        if parameters := attempt.target.sqs_parameters:
            group = parameters.message_group_id
            sqs.send_message(QueueUrl=url, MessageBody=attempt.payload, MessageGroupId=group)
        else:
            sqs.send_message(QueueUrl=url, MessageBody=attempt.payload)

    def _to_topic(self, attempt: _DeliveryAttempt) -> None:
        self._clients.get("sns").publish(TopicArn=attempt.target.arn, Message=attempt.payload)

    def _to_log_group(self, attempt: _DeliveryAttempt) -> None:
        group = attempt.target.arn.partition(":log-group:")[2].removesuffix(":*")
        self._clients.get("logs").put_log_events(
            logGroupName=group,
            logStreamName=self._stream(group),
            logEvents=[{"timestamp": time.time_ns() // 1_000_000, "message": attempt.payload}],
        )

    def _to_bus(self, attempt: _DeliveryAttempt) -> None:
        self._forward(attempt.event, attempt.target.arn)

    def _stream(self, group: str) -> str:
        """The stream that this process writes to; only the group's own thread calls this."""
        if group not in self._streams:
            name = f"events-{time.time_ns():x}"
            self._clients.get("logs").create_log_stream(logGroupName=group, logStreamName=name)
            self._streams[group] = name
        return self._streams[group]


@contextmanager
def _as_delivery_errors() -> "Iterator[None]":
    """Turn a client's errors into errors that say whether a retry may help."""
    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        if code in _MISSING:
            raise UndeliverableError("NO_RESOURCE", message) from error
        raise DeliveryError("SDK_CLIENT_ERROR", f"{code}: {message}") from error
    except BotoCoreError as error:
        raise DeliveryError("CONNECTION_FAILURE", str(error)) from error
    except ServiceError as error:
        raise UndeliverableError("NO_RESOURCE", error.message) from error
