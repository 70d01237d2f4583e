"""What every handler has in common: reading the event, the log's context, metrics, dead letters.

A handler raises only what a repeat may mend; Lambda repeats it and then keeps the event in the
function's dead-letter queue. An event that can't be read goes there at once, with its reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, ValidationError

from events.inbound import Envelope
from functions.services import Services
from functions.settings import Settings

Step = Callable[["Envelope[Any]", Services], str]
"""Handles one event and says in a few words what came of it.

Quoted, here and in the handlers: pydantic would build a class for each such annotation."""


@cache
def _logger() -> Logger:
    return Logger()


@cache
def _metrics() -> Metrics:
    return Metrics()


@cache
def _services() -> Services:
    return Services(Settings.from_environment())


@dataclass(frozen=True)
class Handler:
    """A Lambda handler: one step, for events of these detail-types."""

    kinds: Mapping[str, type[BaseModel]]
    step: Step

    def __call__(self, event: dict[str, Any], context: Any) -> str:
        """Handle one invocation by the Lambda runtime."""
        _logger().append_keys(
            event_id=event.get("id"),
            detail_type=event.get("detail-type"),
            function_request_id=context.aws_request_id,
            correlation_id=None,
        )
        outcome = self.run(event, _services())
        _logger().info("handled", outcome=outcome)
        _count(outcome)
        return outcome

    def run(self, event: dict[str, Any], services: Services) -> str:
        """Handle one event as it came over the wire, and say what came of it."""
        detail = self.kinds.get(event.get("detail-type", ""), BaseModel)
        try:
            envelope = Envelope[detail].model_validate(event)  # type: ignore[valid-type]  # chosen by the event
        except ValidationError as error:
            return _dead_letter(event, error, services)
        if envelope.detail_type not in self.kinds:
            return "not for this function"
        return self.step(envelope, services)


def handles(kinds: Mapping[str, type[BaseModel]]) -> Callable[[Step], Handler]:
    """Turn a step into a Lambda handler for events of these detail-types.

    Args:
        kinds: the model of the detail, by detail-type.
    """
    return lambda step: Handler(kinds, step)


def set_log_context(correlation_id: str, **context: object) -> None:
    """Put the chain of causes, and what else tells lines apart, on every following log line."""
    _logger().append_keys(correlation_id=correlation_id, **context)


def log_details(message: str, **details: object) -> None:
    """Write a line to the function's log, with details that can be searched for."""
    _logger().info(message, extra=details)


def _dead_letter(event: dict[str, Any], error: ValidationError, services: Services) -> str:
    reasons = "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    )
    _logger().error("the event can't be read; it is in the dead-letter queue", reason=reasons)
    services.dead_letters.send(event, reasons)
    return "unreadable"


def _count(outcome: str) -> None:
    metrics = _metrics()
    metrics.add_dimension(name="outcome", value=outcome)
    metrics.add_metric(name="Handled", unit=MetricUnit.Count, value=1)
    metrics.flush_metrics()
