"""EventBridge: buses, rules and targets, and PutEvents.

Publishing only matches and queues; `event_delivery` does the rest. Events that are published one
after the other are queued for a target in that order. An entry for a bus that does not exist fails
here, so that a wrong name shows at once; input transformers and paths are refused.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid4

from pydantic import JsonValue

from ops.local.errors import ServiceError
from ops.local.events.bus_event import BusEvent, bus_event, utc_text
from ops.local.events.event_pattern import EventPattern
from ops.local.events.schedule import ScheduleExpression
from ops.local.gateway.protocol import ApiModel, JsonObject, JsonService, operation
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

DEFAULT_BUS = "default"
_MAX_ENTRIES = 10
_MAX_BYTES = 256 * 1024


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


class EventDeliverer(Protocol):
    """What takes an event for one target from here on."""

    def deliver(self, rule_arn: str, target: EventTarget, event: JsonObject) -> None:
        """Queue ``event`` for ``target``; never waits."""


class BusRequest(ApiModel):
    name: str = DEFAULT_BUS
    description: str | None = None
    tags: tuple[JsonValue, ...] = ()


class ListByPrefix(ApiModel):
    name_prefix: str = ""
    event_bus_name: str = DEFAULT_BUS
    limit: int | None = None


class PutRule(ApiModel):
    name: str
    event_pattern: str | None = None
    schedule_expression: str | None = None
    state: str = "ENABLED"
    description: str | None = None
    role_arn: str | None = None
    tags: tuple[JsonValue, ...] = ()
    event_bus_name: str = DEFAULT_BUS


class RuleRequest(ApiModel):
    name: str
    event_bus_name: str = DEFAULT_BUS
    force: bool = False


class RuleTargetsRequest(ApiModel):
    rule: str
    event_bus_name: str = DEFAULT_BUS
    limit: int | None = None


class PutTargets(RuleTargetsRequest):
    targets: list[EventTarget]


class RemoveTargets(RuleTargetsRequest):
    ids: list[str]
    force: bool = False


class PutEventsEntry(ApiModel):
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
    entries: list[PutEventsEntry]


@dataclass(frozen=True, slots=True)
class EventRule:
    request: PutRule
    arn: str
    pattern: EventPattern | None
    targets: Mapping[str, EventTarget] = field(default_factory=dict)
    put: UUID = field(default_factory=uuid4)

    def description(self) -> JsonObject:
        described = self.request.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"tags"}
        )
        return {**described, "Arn": self.arn}


@dataclass(slots=True)
class EventBus:
    name: str
    arn: str
    description: str | None = None
    rules: dict[str, EventRule] = field(default_factory=dict)

    def summary(self) -> JsonObject:
        return {"Name": self.name, "Arn": self.arn, "Description": self.description or ""}


class EventBridgeService:
    """Every bus of the cloud.

    Args:
        settings: region and account.
        delivery: takes events for targets.
        timer: fires rules with a schedule.
    """

    def __init__(self, settings: CloudSettings, delivery: EventDeliverer, timer: Timer) -> None:
        self._settings = settings
        self._delivery = delivery
        self._timer = timer
        self._lock = threading.RLock()
        self._buses = {DEFAULT_BUS: self._new_bus(DEFAULT_BUS)}
        self.service = JsonService(
            "events",
            {
                "CreateEventBus": operation(BusRequest, self._create_bus),
                "DescribeEventBus": operation(BusRequest, self._describe_bus),
                "ListEventBuses": operation(ListByPrefix, self._list_buses),
                "DeleteEventBus": operation(BusRequest, self._delete_bus),
                "PutRule": operation(PutRule, self._put_rule),
                "DescribeRule": operation(RuleRequest, self._describe_rule),
                "ListRules": operation(ListByPrefix, self._list_rules),
                "EnableRule": operation(RuleRequest, self._enable_rule),
                "DisableRule": operation(RuleRequest, self._disable_rule),
                "DeleteRule": operation(RuleRequest, self._delete_rule),
                "PutTargets": operation(PutTargets, self._put_targets),
                "RemoveTargets": operation(RemoveTargets, self._remove_targets),
                "ListTargetsByRule": operation(RuleTargetsRequest, self._list_targets),
                "PutEvents": operation(PutEvents, self._put_events),
            },
        )

    def publish(self, event: BusEvent, bus: str = DEFAULT_BUS) -> None:
        """Match an event against the rules of a bus and queue it for their targets.

        Raises:
            ServiceError: there is no such bus.
        """
        self._route(event.as_json(), self._bus(bus))

    def forward(self, event: JsonObject, bus: str) -> None:
        """Take an event from a rule whose target is another bus.

        Raises:
            ServiceError: there is no such bus.
        """
        self._route(event, self._bus(bus))

    def _route(self, event: JsonObject, bus: EventBus) -> None:
        with self._lock:
            for rule in bus.rules.values():
                if rule.pattern and rule.request.state == "ENABLED" and rule.pattern.matches(event):
                    self._deliver(rule, event)

    def _deliver(self, rule: EventRule, event: JsonObject) -> None:
        for target in rule.targets.values():
            self._delivery.deliver(rule.arn, target, event)

    # --- buses

    def _new_bus(self, name: str, description: str | None = None) -> EventBus:
        return EventBus(name, self._settings.arn("events", f"event-bus/{name}"), description)

    def _bus(self, name_or_arn: str) -> EventBus:
        name = name_or_arn.rpartition("event-bus/")[2]
        bus = self._buses.get(name)
        if bus is None:
            raise ServiceError("ResourceNotFoundException", f"Event bus {name} does not exist.")
        return bus

    def _create_bus(self, request: BusRequest) -> JsonObject:
        with self._lock:
            if request.name in self._buses:
                raise ServiceError(
                    "ResourceAlreadyExistsException", f"Event bus {request.name} already exists."
                )
            bus = self._buses[request.name] = self._new_bus(request.name, request.description)
        return {"EventBusArn": bus.arn}

    def _describe_bus(self, request: BusRequest) -> JsonObject:
        return self._bus(request.name).summary()

    def _list_buses(self, request: ListByPrefix) -> JsonObject:
        with self._lock:
            names = [name for name in self._buses if name.startswith(request.name_prefix)]
            return {"EventBuses": [self._buses[name].summary() for name in names]}

    def _delete_bus(self, request: BusRequest) -> JsonObject:
        with self._lock:
            if request.name == DEFAULT_BUS:
                raise ServiceError("ValidationException", "Cannot delete event bus default.")
            bus = self._buses.get(request.name)
            if bus and bus.rules:
                raise ServiceError(
                    "ValidationException", f"Cannot delete event bus {bus.name}: it has rules."
                )
            self._buses.pop(request.name, None)
        return {}

    # --- rules

    def _put_rule(self, request: PutRule) -> JsonObject:
        if not request.event_pattern and not request.schedule_expression:
            raise ServiceError(
                "ValidationException",
                "Parameter(s) EventPattern or ScheduleExpression must be specified.",
            )
        pattern = EventPattern(request.event_pattern) if request.event_pattern else None
        schedule = self._schedule(request)
        with self._lock:
            bus = self._bus(request.event_bus_name)
            request = request.model_copy(update={"event_bus_name": bus.name})
            old = bus.rules.get(request.name)
            rule = EventRule(request, self._rule_arn(request), pattern, old.targets if old else {})
            bus.rules[request.name] = rule
            if schedule:
                self._schedule_next(schedule, rule)
        return {"RuleArn": rule.arn}

    def _schedule(self, request: PutRule) -> ScheduleExpression | None:
        if not request.schedule_expression:
            return None
        if request.event_bus_name.rpartition("event-bus/")[2] != DEFAULT_BUS:
            raise ServiceError(
                "ValidationException", "ScheduleExpression is supported only on the default bus."
            )
        return ScheduleExpression(request.schedule_expression)

    def _rule_arn(self, request: PutRule) -> str:
        path = "" if request.event_bus_name == DEFAULT_BUS else f"{request.event_bus_name}/"
        return self._settings.arn("events", f"rule/{path}{request.name}")

    def _rule(self, bus_name: str, name: str) -> tuple[EventBus, EventRule]:
        bus = self._bus(bus_name)
        rule = bus.rules.get(name)
        if rule is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Rule {name} does not exist on EventBus {bus.name}.",
            )
        return bus, rule

    def _describe_rule(self, request: RuleRequest) -> JsonObject:
        with self._lock:
            return self._rule(request.event_bus_name, request.name)[1].description()

    def _list_rules(self, request: ListByPrefix) -> JsonObject:
        with self._lock:
            rules = self._bus(request.event_bus_name).rules
            names = [name for name in rules if name.startswith(request.name_prefix)]
            return {"Rules": [rules[name].description() for name in names]}

    def _enable_rule(self, request: RuleRequest) -> JsonObject:
        return self._set_state(request, "ENABLED")

    def _disable_rule(self, request: RuleRequest) -> JsonObject:
        return self._set_state(request, "DISABLED")

    def _set_state(self, request: RuleRequest, state: str) -> JsonObject:
        with self._lock:
            bus, rule = self._rule(request.event_bus_name, request.name)
            changed = rule.request.model_copy(update={"state": state})
            bus.rules[request.name] = replace(rule, request=changed)
        return {}

    def _delete_rule(self, request: RuleRequest) -> JsonObject:
        with self._lock:
            bus = self._bus(request.event_bus_name)
            rule = bus.rules.get(request.name)
            if rule and rule.targets:
                raise ServiceError(
                    "ValidationException", "Rule can't be deleted since it has targets."
                )
            bus.rules.pop(request.name, None)
        return {}

    # --- targets

    def _put_targets(self, request: PutTargets) -> JsonObject:
        with self._lock:
            bus, rule = self._rule(request.event_bus_name, request.rule)
            targets = {**rule.targets, **{target.id: target for target in request.targets}}
            bus.rules[request.rule] = replace(rule, targets=targets)
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def _remove_targets(self, request: RemoveTargets) -> JsonObject:
        with self._lock:
            bus, rule = self._rule(request.event_bus_name, request.rule)
            kept = {name: t for name, t in rule.targets.items() if name not in request.ids}
            bus.rules[request.rule] = replace(rule, targets=kept)
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def _list_targets(self, request: RuleTargetsRequest) -> JsonObject:
        with self._lock:
            _, rule = self._rule(request.event_bus_name, request.rule)
            return {"Targets": [target.wire() for target in rule.targets.values()]}

    # --- events

    def _put_events(self, request: PutEvents) -> JsonObject:
        if not 1 <= len(request.entries) <= _MAX_ENTRIES:
            raise ServiceError(
                "ValidationException",
                f"{len(request.entries)} entries: the list 'entries' must have 1 to "
                f"{_MAX_ENTRIES} of them.",
            )
        if sum(entry.size() for entry in request.entries) > _MAX_BYTES:
            raise ServiceError(
                "ValidationException",
                "Total size of the entries in the request is over the limit.",
            )
        with self._lock:
            results = [self._put_event(entry) for entry in request.entries]
        failed = sum("ErrorCode" in result for result in results)
        return {"FailedEntryCount": failed, "Entries": [*results]}

    def _put_event(self, entry: PutEventsEntry) -> JsonObject:
        try:
            event = self._event(entry)
            self.publish(event, entry.event_bus_name)
        except ServiceError as error:
            return {"ErrorCode": error.code, "ErrorMessage": error.message}
        return {"EventId": event.id}

    def _event(self, entry: PutEventsEntry) -> BusEvent:
        source = _given(entry.source, "Source")
        if source.startswith("aws."):
            raise ServiceError("NotAuthorizedForSourceException", "Not authorized for the source.")
        return bus_event(
            self._settings,
            source,
            _given(entry.detail_type, "DetailType"),
            _detail(_given(entry.detail, "Detail")),
            entry.resources,
            utc_text(datetime.fromtimestamp(entry.time, UTC)) if entry.time else None,
        )

    # --- schedules

    def _schedule_next(self, schedule: ScheduleExpression, rule: EventRule) -> None:
        seconds = schedule.seconds_until_next(datetime.now(UTC)) * self._settings.schedule_scale
        self._timer.after(seconds, lambda: self._fire(schedule, rule))

    def _fire(self, schedule: ScheduleExpression, rule: EventRule) -> None:
        """Send the scheduled event, unless the rule was deleted or put anew meanwhile."""
        with self._lock:
            current = self._buses[DEFAULT_BUS].rules.get(rule.request.name)
            if current is None or current.put != rule.put:
                return
            if current.request.state == "ENABLED":
                event = bus_event(self._settings, "aws.events", "Scheduled Event", {}, [rule.arn])
                self._deliver(current, event.as_json())
        self._schedule_next(schedule, rule)


def _given(value: str | None, name: str) -> str:
    if not value:
        raise ServiceError(
            "InvalidArgument",
            f"Parameter {name} is not valid. Reason: {name} is a required argument.",
        )
    return value


def _detail(text: str) -> JsonObject:
    try:
        detail = json.loads(text)
    except json.JSONDecodeError as error:
        raise ServiceError("MalformedDetail", "Detail is malformed.") from error
    if not isinstance(detail, dict):
        raise ServiceError("MalformedDetail", "Detail is malformed.")
    return detail
