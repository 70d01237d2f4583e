"""Evaluates alarms, and reports every change of state: as an event, and to the alarm's actions.

A state that a client set with SetAlarmState holds for one period, as on AWS until the next
evaluation. Composite alarms keep the state that clients set.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.local.cloudwatch.evaluation import AlarmState, statistic
from ops.local.cloudwatch.expressions import evaluate
from ops.local.cloudwatch.metric_store import MetricStore
from ops.local.cloudwatch.moto_cloudwatch import AlarmView, MetricQuery, MotoCloudWatch
from ops.local.events.bus_event import BusEvent, bus_event
from ops.local.gateway.protocol import JsonObject
from ops.local.settings import CloudSettings

_log = logging.getLogger(__name__)
_PAUSE = 0.1  # seconds between evaluations
_SHOW_PAUSE = 1.0  # seconds between data points that clients can read
_SHORTEST_PERIOD = 0.25  # seconds, however short the scale makes it
_SHORTEST_HOLD = 1.0  # seconds that a state set by a client lasts at least
_ACTIONS = {
    "ALARM": "alarm_actions",
    "OK": "ok_actions",
    "INSUFFICIENT_DATA": "insufficient_data_actions",
}


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """The state that was last reported of an alarm, and until when it holds."""

    source: Any
    state: AlarmState
    reason: str
    since: str
    held_until: float = 0.0


class AlarmMonitor:
    """Evaluates every alarm about ten times a second, in a thread.

    Args:
        settings: the scale of periods, region and account.
        store: the metric data.
        cloudwatch: moto's alarms.
        publish: puts an event on the default bus.
        send: hands a message to an action, by its ARN.
    """

    def __init__(
        self,
        settings: CloudSettings,
        store: MetricStore,
        cloudwatch: MotoCloudWatch,
        publish: Callable[[BusEvent], None],
        send: Callable[[str, JsonObject], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._cloudwatch = cloudwatch
        self._publish = publish
        self._send = send
        self._reported: dict[str, _Evaluated] = {}
        self._unsupported: set[str] = set()
        self._next_show = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop evaluating."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_PAUSE):
            try:
                self._round()
            except Exception:  # noqa: BLE001 - the outermost edge of this thread: the next round may do
                _log.exception("the alarms were not evaluated")

    def _round(self) -> None:
        for key, values in self._cloudwatch.new_data():
            self._store.record(key, values, shown=True)
        if time.monotonic() >= self._next_show:
            self._next_show = time.monotonic() + _SHOW_PAUSE
            self._cloudwatch.show(self._store.take_unshown())
        alarms = self._cloudwatch.alarms()
        for alarm in alarms:
            self._evaluate(alarm)
        names = {alarm.name for alarm in alarms}
        self._reported = {name: each for name, each in self._reported.items() if name in names}

    def _evaluate(self, alarm: AlarmView) -> None:
        now = time.monotonic()
        last = self._reported.get(alarm.name)
        if last is None or last.source is not alarm.source:
            last = self._begin(alarm, last)
        elif alarm.state != last.state or alarm.source.state_reason != last.reason:
            hold = max(_SHORTEST_HOLD, alarm.period * self._settings.clock_scale)
            self._report(alarm, last, now + hold)
            return
        if not alarm.queries or not alarm.rule.is_supported or now < last.held_until:
            return
        try:
            points = self._points(alarm, now)
        except ValueError as error:
            if alarm.name not in self._unsupported:
                self._unsupported.add(alarm.name)
                _log.warning("alarm %s is not evaluated: %s", alarm.name, error)
            return
        state = alarm.rule.state(points, last.state)
        if state != last.state:
            self._cloudwatch.set_state(alarm, state, alarm.rule.reason(points, state))
            self._report(alarm, last, 0.0)

    def _begin(self, alarm: AlarmView, last: _Evaluated | None) -> _Evaluated:
        """Take up an alarm that is new or was put again, which keeps its state."""
        if alarm.is_new:
            state: AlarmState = last.state if last else "INSUFFICIENT_DATA"
            reason = last.reason if last else "Unchecked: Initial alarm creation."
            self._cloudwatch.set_state(alarm, state, reason)
            begun = _Evaluated(alarm.source, state, reason, _now())
            self._reported[alarm.name] = begun
            return begun
        begun = last or _Evaluated(alarm.source, "INSUFFICIENT_DATA", "", _now())
        hold = max(_SHORTEST_HOLD, alarm.period * self._settings.clock_scale)
        return self._report(alarm, begun, time.monotonic() + hold)

    def _points(self, alarm: AlarmView, now: float) -> Sequence[float | None]:
        """The value of each period, the newest last.

        Raises:
            ValueError: an expression uses what is not emulated.
        """
        length = max(_SHORTEST_PERIOD, alarm.period * self._settings.clock_scale)
        count = alarm.rule.periods
        ends = [now - length * (count - number) for number in range(1, count + 1)]
        return [self._value(alarm, end - length, end) for end in ends]

    def _value(self, alarm: AlarmView, start: float, end: float) -> float | None:
        """The series that an alarm returns, in one period."""
        values: dict[str, float | None] = {}
        for query in alarm.queries:
            if query.key:
                between = self._store.between(query.key, start, end)
                values[query.id] = statistic(query.statistic, between)
        for query in alarm.queries:
            if query.expression:
                values[query.id] = evaluate(query.expression, values)
        return next((values[query.id] for query in alarm.queries if query.returned), None)

    def _report(self, alarm: AlarmView, last: _Evaluated, held_until: float) -> _Evaluated:
        source = alarm.source
        new = _Evaluated(source, source.state_value, source.state_reason, _now(), held_until)
        self._reported[alarm.name] = new
        if new.state == last.state:
            return new
        detail: JsonObject = {
            "alarmName": alarm.name,
            "state": _state(new),
            "previousState": _state(last),
            "configuration": _configuration(alarm),
        }
        kind = "CloudWatch Alarm State Change"
        arns = [str(source.alarm_arn)]
        self._publish(bus_event(self._settings, "aws.cloudwatch", kind, detail, arns))
        if source.actions_enabled:
            message = self._message(alarm, last, new)
            for action in getattr(source, _ACTIONS[new.state]):
                self._send(str(action), message)
        return new

    def _message(self, alarm: AlarmView, last: _Evaluated, new: _Evaluated) -> JsonObject:
        source = alarm.source
        return {
            "AlarmName": alarm.name,
            "AlarmDescription": source.description,
            "AWSAccountId": self._settings.account_id,
            "AlarmArn": str(source.alarm_arn),
            "NewStateValue": new.state,
            "NewStateReason": new.reason,
            "StateChangeTime": new.since,
            "Region": self._settings.region,
            "OldStateValue": last.state,
            "AlarmActions": [*source.alarm_actions],
            "OKActions": [*source.ok_actions],
            "InsufficientDataActions": [*source.insufficient_data_actions],
            "Trigger": {
                "MetricName": source.metric_name,
                "Namespace": source.namespace,
                "Statistic": source.statistic or source.extended_statistic,
                "Dimensions": [{"name": d.name, "value": d.value} for d in source.dimensions],
                "Period": alarm.period,
                "EvaluationPeriods": alarm.rule.periods,
                "DatapointsToAlarm": alarm.rule.to_alarm,
                "ComparisonOperator": alarm.rule.comparison,
                "Threshold": alarm.rule.threshold,
                "TreatMissingData": alarm.rule.missing,
            },
        }


def _state(evaluated: _Evaluated) -> JsonObject:
    return {"value": evaluated.state, "reason": evaluated.reason, "timestamp": evaluated.since}


def _configuration(alarm: AlarmView) -> JsonObject:
    configuration: JsonObject = {
        "metrics": [_metric(query, alarm.period) for query in alarm.queries]
    }
    if alarm.source.description:
        configuration["description"] = alarm.source.description
    return configuration


def _metric(query: MetricQuery, period: float) -> JsonObject:
    described: JsonObject = {"id": query.id, "returnData": query.returned}
    if query.expression:
        described["expression"] = query.expression
    if query.key:
        metric: JsonObject = {
            "namespace": query.key.namespace,
            "name": query.key.name,
            "dimensions": dict(query.key.dimensions),
        }
        stat: JsonObject = {"metric": metric, "period": period, "stat": query.statistic}
        described["metricStat"] = stat
    return described


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
