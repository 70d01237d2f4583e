"""EventBridge: buses, rules, targets, schedules and PutEvents.

Publishing only matches and queues; `event_delivery` does the rest. A target gets events in the
order in which they were published. An entry for a bus that does not exist fails, so that a wrong
name shows at once.
"""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from ops.local.errors import ServiceError
from ops.local.events import api
from ops.local.events.api import DEFAULT_BUS
from ops.local.events.bus_event import BusEvent, bus_event, utc_text
from ops.local.events.event_pattern import EventPattern
from ops.local.events.rules import EventBus, EventRule
from ops.local.events.schedule import ScheduleExpression
from ops.local.gateway.protocol import JsonObject, JsonService, operation
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

_MAX_ENTRIES = 10
_MAX_BYTES = 256 * 1024


class EventDeliverer(Protocol):
    """Delivers events to targets."""

    def deliver(self, rule_arn: str, target: api.EventTarget, event: JsonObject) -> None:
        """Queue ``event`` for ``target``; never waits."""


class EventBridgeService:
    """Every bus of the cloud.

    Args:
        settings: region and account.
        delivery: delivers events to targets.
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
                "CreateEventBus": operation(api.BusRequest, self._create_bus),
                "DescribeEventBus": operation(api.BusRequest, self._describe_bus),
                "ListEventBuses": operation(api.ListByPrefix, self._list_buses),
                "DeleteEventBus": operation(api.BusRequest, self._delete_bus),
                "PutRule": operation(api.PutRule, self._put_rule),
                "DescribeRule": operation(api.RuleRequest, self._describe_rule),
                "ListRules": operation(api.ListByPrefix, self._list_rules),
                "EnableRule": operation(api.RuleRequest, self._enable_rule),
                "DisableRule": operation(api.RuleRequest, self._disable_rule),
                "DeleteRule": operation(api.RuleRequest, self._delete_rule),
                "PutTargets": operation(api.PutTargets, self._put_targets),
                "RemoveTargets": operation(api.RemoveTargets, self._remove_targets),
                "ListTargetsByRule": operation(api.RuleTargetsRequest, self._list_targets),
                "PutEvents": operation(api.PutEvents, self._put_events),
            },
        )

    def publish(self, event: BusEvent, bus: str = DEFAULT_BUS) -> None:
        """Match an event against the rules of a bus and queue it for their targets.

        Raises:
            ServiceError: there is no such bus.
        """
        self._route(event.as_json(), self._bus(bus))

    def forward(self, event: JsonObject, bus: str) -> None:
        """Accept an event from a rule whose target is another bus.

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

    def _create_bus(self, request: api.BusRequest) -> JsonObject:
        with self._lock:
            if request.name in self._buses:
                raise ServiceError(
                    "ResourceAlreadyExistsException", f"Event bus {request.name} already exists."
                )
            bus = self._buses[request.name] = self._new_bus(request.name, request.description)
        return {"EventBusArn": bus.arn}

    def _describe_bus(self, request: api.BusRequest) -> JsonObject:
        return self._bus(request.name).summary()

    def _list_buses(self, request: api.ListByPrefix) -> JsonObject:
        with self._lock:
            names = [name for name in self._buses if name.startswith(request.name_prefix)]
            return {"EventBuses": [self._buses[name].summary() for name in names]}

    def _delete_bus(self, request: api.BusRequest) -> JsonObject:
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

    def _put_rule(self, request: api.PutRule) -> JsonObject:
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

    def _schedule(self, request: api.PutRule) -> ScheduleExpression | None:
        if not request.schedule_expression:
            return None
        if request.event_bus_name.rpartition("event-bus/")[2] != DEFAULT_BUS:
            raise ServiceError(
                "ValidationException", "ScheduleExpression is supported only on the default bus."
            )
        return ScheduleExpression(request.schedule_expression)

    def _rule_arn(self, request: api.PutRule) -> str:
        path = "" if request.event_bus_name == DEFAULT_BUS else f"{request.event_bus_name}/"
        return self._settings.arn("events", f"rule/{path}{request.name}")

    def _rule(self, bus_name: str, name: str) -> tuple[EventBus, EventRule]:
        bus = self._bus(bus_name)
        rule = bus.rules.get(name)
        if rule is None:
            raise ServiceError(
                "ResourceNotFoundException", f"Rule {name} does not exist on EventBus {bus.name}."
            )
        return bus, rule

    def _describe_rule(self, request: api.RuleRequest) -> JsonObject:
        with self._lock:
            return self._rule(request.event_bus_name, request.name)[1].description()

    def _list_rules(self, request: api.ListByPrefix) -> JsonObject:
        with self._lock:
            rules = self._bus(request.event_bus_name).rules
            names = [name for name in rules if name.startswith(request.name_prefix)]
            return {"Rules": [rules[name].description() for name in names]}

    def _enable_rule(self, request: api.RuleRequest) -> JsonObject:
        return self._set_state(request, "ENABLED")

    def _disable_rule(self, request: api.RuleRequest) -> JsonObject:
        return self._set_state(request, "DISABLED")

    def _set_state(self, request: api.RuleRequest, state: str) -> JsonObject:
        with self._lock:
            bus, rule = self._rule(request.event_bus_name, request.name)
            changed = rule.request.model_copy(update={"state": state})
            bus.rules[request.name] = replace(rule, request=changed)
        return {}

    def _delete_rule(self, request: api.RuleRequest) -> JsonObject:
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

    def _put_targets(self, request: api.PutTargets) -> JsonObject:
        with self._lock:
            bus, rule = self._rule(request.event_bus_name, request.rule)
            targets = {**rule.targets, **{target.id: target for target in request.targets}}
            bus.rules[request.rule] = replace(rule, targets=targets)
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def _remove_targets(self, request: api.RemoveTargets) -> JsonObject:
        with self._lock:
            bus, rule = self._rule(request.event_bus_name, request.rule)
            kept = {name: t for name, t in rule.targets.items() if name not in request.ids}
            bus.rules[request.rule] = replace(rule, targets=kept)
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def _list_targets(self, request: api.RuleTargetsRequest) -> JsonObject:
        with self._lock:
            _, rule = self._rule(request.event_bus_name, request.rule)
            return {"Targets": [target.wire() for target in rule.targets.values()]}

    # --- events

    def _put_events(self, request: api.PutEvents) -> JsonObject:
        if not 1 <= len(request.entries) <= _MAX_ENTRIES:
            raise ServiceError(
                "ValidationException",
                f"{len(request.entries)} entries: the list 'entries' must have 1 to "
                f"{_MAX_ENTRIES} of them.",
            )
        if sum(entry.size() for entry in request.entries) > _MAX_BYTES:
            raise ServiceError(
                "ValidationException", "Total size of the entries in the request is over the limit."
            )
        with self._lock:
            results = [self._put_event(entry) for entry in request.entries]
        failed = sum("ErrorCode" in result for result in results)
        return {"FailedEntryCount": failed, "Entries": [*results]}

    def _put_event(self, entry: api.PutEventsEntry) -> JsonObject:
        try:
            event = self._event(entry)
            self.publish(event, entry.event_bus_name)
        except ServiceError as error:
            return {"ErrorCode": error.code, "ErrorMessage": error.message}
        return {"EventId": event.id}

    def _event(self, entry: api.PutEventsEntry) -> BusEvent:
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
        """Send the scheduled event, unless the rule was deleted or replaced meanwhile."""
        with self._lock:
            current = self._buses[DEFAULT_BUS].rules.get(rule.request.name)
            if current is None or current.version != rule.version:
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
