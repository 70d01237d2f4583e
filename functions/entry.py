"""What every handler has in common: reading the event, log context, metrics, dead letters.

A handler raises only what a retry may mend: Lambda retries, and then moves the event to the
function's dead-letter queue. An event that can't be read goes there at once, with the reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, ValidationError

from events.inbound import Envelope
from functions.core.outcomes import StepOutcome, Summary
from functions.services import Services
from functions.settings import FunctionSettings

S = TypeVar("S", bound=FunctionSettings)
# Quoted, here and in the handlers: pydantic would build a class for each such annotation.
Step = Callable[["Envelope[Any]", Services[S]], StepOutcome | Summary]


@cache
def _logger() -> Logger:
    return Logger()


@cache
def _metrics() -> Metrics:
    return Metrics()


@dataclass(frozen=True)
class Handler(Generic[S]):
    """A Lambda handler: one step, for events of these detail-types.

    Attributes:
        settings: the model of the function's environment.
        kinds: the model of the detail, by detail-type.
    """

    settings: type[S]
    kinds: Mapping[str, type[BaseModel]]
    step: Step[S]

    def __call__(self, event: dict[str, Any], context: Any) -> str:
        """Handle one invocation by the Lambda runtime."""
        _logger().append_keys(
            event_id=event.get("id"),
            detail_type=event.get("detail-type"),
            function_request_id=context.aws_request_id,
            correlation_id=None,
        )
        summary = self.run(event, self._services)
        log_details(
            "handled", outcome=summary.outcome.value, summary=summary.text, **summary.counts
        )
        _publish_metrics(summary)
        return summary.text

    @cached_property
    def _services(self) -> Services[S]:
        return Services(self.settings.from_environment())

    def run(self, event: dict[str, Any], services: Services[S]) -> Summary:
        """Handle one event as it was received."""
        detail = self.kinds.get(event.get("detail-type", ""), BaseModel)
        try:
            envelope = Envelope[detail].model_validate(event)  # type: ignore[valid-type]  # chosen by the event
        except ValidationError as error:
            return Summary.of(_dead_letter(event, error, services))
        if envelope.detail_type not in self.kinds:
            return Summary.of(StepOutcome.NOT_FOR_THIS_FUNCTION)
        return Summary.of(self.step(envelope, services))


def handles(
    settings: type[S], kinds: Mapping[str, type[BaseModel]]
) -> Callable[[Step[S]], Handler[S]]:
    """Turn a step into a Lambda handler for events of these detail-types."""
    return lambda step: Handler(settings, kinds, step)


def set_log_context(correlation_id: str, **context: object) -> None:
    """Put the correlation id, and what else tells lines apart, on every following log line."""
    _logger().append_keys(correlation_id=correlation_id, **context)


def log_details(message: str, **details: object) -> None:
    """Write a line to the function's log, with details that can be searched for."""
    _logger().info(message, extra=details)


def _dead_letter(
    event: dict[str, Any], error: ValidationError, services: Services[S]
) -> StepOutcome:
    reasons = "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    )
    _logger().error("the event can't be read; it is in the dead-letter queue", reason=reasons)
    services.dead_letters.send(event, reasons)
    return StepOutcome.UNREADABLE


def _publish_metrics(summary: Summary) -> None:
    metrics = _metrics()
    metrics.add_dimension(name="outcome", value=summary.outcome.value)
    metrics.add_metric(name="Handled", unit=MetricUnit.Count, value=1)
    for name, value in summary.counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    metrics.flush_metrics()
