"""Event buses with their rules, as the EventBridge API keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from ops.local.events.api import EventTarget, PutRule
from ops.local.events.event_pattern import EventPattern
from ops.local.gateway.protocol import JsonObject


@dataclass(frozen=True, slots=True)
class EventRule:
    """One rule; ``version`` changes with each PutRule."""

    request: PutRule
    arn: str
    pattern: EventPattern | None
    targets: Mapping[str, EventTarget] = field(default_factory=dict)
    version: UUID = field(default_factory=uuid4)

    def description(self) -> JsonObject:
        """The rule as DescribeRule shows it."""
        described = self.request.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"tags"}
        )
        return {**described, "Arn": self.arn}


@dataclass(slots=True)
class EventBus:
    """One bus; ``rules`` are by name."""

    name: str
    arn: str
    description: str | None = None
    rules: dict[str, EventRule] = field(default_factory=dict)

    def summary(self) -> JsonObject:
        """The bus as DescribeEventBus shows it."""
        return {"Name": self.name, "Arn": self.arn, "Description": self.description or ""}
