"""Asynchronous invocations: queued, retried, then sent to a destination or dead-letter queue.

AWS waits one and two minutes before the retries; `CloudSettings.clock_scale` shortens that here.
Source: the Lambda developer guide, "Asynchronous invocation".
"""

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from pydantic import JsonValue

from ops.local.events.bus_event import BusEvent, bus_event
from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.protocol import JsonObject
from ops.local.lambdas.function import FunctionGoneError, LambdaFunction
from ops.local.lambdas.runtime_api import InvocationOutcome
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

_log = logging.getLogger(__name__)
_WAITS = (60.0, 120.0)  # seconds before the first and the second retry


@dataclass(frozen=True, slots=True)
class AsyncPolicy:
    """How a function's events are retried, and where they end; the defaults are Lambda's.

    Destinations and the dead-letter queue are ARNs.
    """

    maximum_retry_attempts: int = 2
    maximum_event_age: float = 21600.0
    on_failure: str | None = None
    on_success: str | None = None
    dead_letter: str | None = None


@dataclass(frozen=True, slots=True)
class _QueuedInvocation:
    function: str
    request_id: str
    payload: bytes
    accepted_at: float
    attempts: int = 0


class InvocationDestinations:
    """Sends records of finished invocations to a queue, a topic, a function or a bus.

    Args:
        settings: region and account.
        send: delivers a JSON object to an ARN, with retries.
        publish: puts an event on a bus, named by its ARN.
    """

    def __init__(
        self,
        settings: CloudSettings,
        send: Callable[[str, JsonObject], None],
        publish: Callable[[BusEvent, str], None],
    ) -> None:
        self._settings = settings
        self._send = send
        self._publish = publish

    def report(self, arn: str, record: JsonObject, *, succeeded: bool) -> None:
        """Send a record in the form that its destination takes."""
        if arn.split(":")[2] != "events":
            self._send(arn, record)
            return
        result = "Success" if succeeded else "Failure"
        event = bus_event(
            self._settings, "lambda", f"Lambda Function Invocation Result - {result}", record, [arn]
        )
        self._publish(event, arn)


class AsyncInvocations:
    """The event queues of all functions.

    Args:
        settings: scales the waits.
        timer: for retries.
        clients: for dead-letter queues.
        destinations: for records of finished invocations.
        find: returns the function of a name and its policy; None if it was deleted.
    """

    def __init__(
        self,
        settings: CloudSettings,
        timer: Timer,
        clients: ServiceClients,
        destinations: InvocationDestinations,
        find: Callable[[str], tuple[LambdaFunction, AsyncPolicy] | None],
    ) -> None:
        self._settings = settings
        self._timer = timer
        self._clients = clients
        self._destinations = destinations
        self._find = find
        self._executors: dict[str, ThreadPoolExecutor] = {}

    def open(self, name: str) -> None:
        """Open the queue of a function."""
        if name not in self._executors:
            self._executors[name] = ThreadPoolExecutor(
                max_workers=self._settings.concurrency, thread_name_prefix=f"events of {name}"
            )

    def accept(self, name: str, payload: bytes) -> str:
        """Queue one event for a function; returns the request id."""
        event = _QueuedInvocation(name, str(uuid4()), payload, time.monotonic())
        self._submit(event)
        return event.request_id

    def close(self) -> None:
        """Start no more invocations."""
        for executor in self._executors.values():
            executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, event: _QueuedInvocation) -> None:
        with suppress(RuntimeError):  # the executor was shut down: the cloud is closing
            self._executors[event.function].submit(self._attempt, event)

    def _attempt(self, event: _QueuedInvocation) -> None:
        found = self._find(event.function)
        if found is None:
            _log.warning("an event for %s is lost: the function was deleted", event.function)
            return
        function, policy = found
        try:
            outcome = function.invoke(event.payload)
        except FunctionGoneError:
            self._submit(event)
            return
        event = replace(event, attempts=event.attempts + 1)
        if outcome.failed:
            self._failed(event, function, policy, outcome)
        elif policy.on_success:
            record = _record(event, function, outcome, "Success")
            self._destinations.report(policy.on_success, record, succeeded=True)

    def _failed(
        self,
        event: _QueuedInvocation,
        function: LambdaFunction,
        policy: AsyncPolicy,
        outcome: InvocationOutcome,
    ) -> None:
        condition = self._exhausted_condition(event, policy)
        if condition is None:
            wait = _WAITS[event.attempts - 1] * self._settings.clock_scale
            self._timer.after(wait, lambda: self._submit(event))
            return
        if policy.on_failure:
            record = _record(event, function, outcome, condition)
            self._destinations.report(policy.on_failure, record, succeeded=False)
        if policy.dead_letter:
            self._send_to_dead_letter_queue(event, policy.dead_letter, outcome)
        if not policy.on_failure and not policy.dead_letter:
            _log.warning("an event for %s is lost: %s", event.function, outcome.payload.decode())

    def _exhausted_condition(self, event: _QueuedInvocation, policy: AsyncPolicy) -> str | None:
        """Why there is no further attempt, in Lambda's words; None if there is one."""
        if event.attempts > policy.maximum_retry_attempts:
            return "RetriesExhausted"
        age = time.monotonic() - event.accepted_at
        if age > policy.maximum_event_age * self._settings.clock_scale:
            return "EventAgeExceeded"
        return None

    def _send_to_dead_letter_queue(
        self, event: _QueuedInvocation, queue_arn: str, outcome: InvocationOutcome
    ) -> None:
        attributes = {
            "RequestID": event.request_id,
            "ErrorCode": "200",
            "ErrorMessage": outcome.payload.decode()[:1024],
        }
        self._clients.send_dead_letter(queue_arn, event.payload.decode(), attributes)


def _record(
    event: _QueuedInvocation, function: LambdaFunction, outcome: InvocationOutcome, condition: str
) -> JsonObject:
    response: JsonObject = {"statusCode": 200, "executedVersion": "$LATEST"}
    if outcome.failed:
        response["functionError"] = "Unhandled"
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "version": "1.0",
        "timestamp": moment,
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": f"{function.spec.arn}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": event.attempts,
        },
        "requestPayload": _json_or_text(event.payload),
        "responseContext": response,
        "responsePayload": _json_or_text(outcome.payload),
    }


def _json_or_text(payload: bytes) -> JsonValue:
    try:
        content: JsonValue = json.loads(payload)
    except json.JSONDecodeError:
        return payload.decode(errors="replace")
    return content
