"""Request models of the EventBridge operations that are emulated.

Input transformers and input paths are missing here, so a rule that uses them is refused.
"""

from pydantic import JsonValue

from ops.local.gateway.protocol import ApiModel

DEFAULT_BUS = "default"


class RetryPolicy(ApiModel):
    """How long a target is tried; the defaults are EventBridge's."""

    maximum_retry_attempts: int = 185
    maximum_event_age_in_seconds: int = 86400


class DeadLetterConfig(ApiModel):
    """Where events go that could not be delivered: the ARN of a queue."""

    arn: str | None = None


class SqsParameters(ApiModel):
    """The message group for a FIFO queue."""

    message_group_id: str


class EventTarget(ApiModel):
    """One target of a rule, as PutTargets gives it."""

    id: str
    arn: str
    role_arn: str | None = None
    input: str | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    dead_letter_config: DeadLetterConfig = DeadLetterConfig()
    sqs_parameters: SqsParameters | None = None


class BusRequest(ApiModel):
    """CreateEventBus, DescribeEventBus and DeleteEventBus."""

    name: str = DEFAULT_BUS
    description: str | None = None
    tags: tuple[JsonValue, ...] = ()


class ListByPrefix(ApiModel):
    """ListEventBuses and ListRules."""

    name_prefix: str = ""
    event_bus_name: str = DEFAULT_BUS
    limit: int | None = None


class PutRule(ApiModel):
    """A rule with a pattern or a schedule."""

    name: str
    event_pattern: str | None = None
    schedule_expression: str | None = None
    state: str = "ENABLED"
    description: str | None = None
    role_arn: str | None = None
    tags: tuple[JsonValue, ...] = ()
    event_bus_name: str = DEFAULT_BUS


class RuleRequest(ApiModel):
    """DescribeRule, EnableRule, DisableRule and DeleteRule."""

    name: str
    event_bus_name: str = DEFAULT_BUS
    force: bool = False


class RuleTargetsRequest(ApiModel):
    """ListTargetsByRule."""

    rule: str
    event_bus_name: str = DEFAULT_BUS
    limit: int | None = None


class PutTargets(RuleTargetsRequest):
    """Targets to add to a rule."""

    targets: list[EventTarget]


class RemoveTargets(RuleTargetsRequest):
    """Targets to remove from a rule."""

    ids: list[str]
    force: bool = False


class PutEventsEntry(ApiModel):
    """One event of a PutEvents call."""

    time: float | None = None
    source: str | None = None
    resources: tuple[str, ...] = ()
    detail_type: str | None = None
    detail: str | None = None
    event_bus_name: str = DEFAULT_BUS
    trace_header: str | None = None

    def size(self) -> int:
        """Bytes that count against the limit of a call."""
        texts = (self.source, self.detail_type, self.detail, *self.resources)
        return sum(len((text or "").encode()) for text in texts) + (14 if self.time else 0)


class PutEvents(ApiModel):
    """Up to ten events."""

    entries: list[PutEventsEntry]
