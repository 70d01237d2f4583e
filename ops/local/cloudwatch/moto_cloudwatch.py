"""moto's CloudWatch from inside: alarms and their states, and the data that clients read.

moto keeps every data point for ever and evaluates no alarm; here what it keeps is bounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.local.cloudwatch.evaluation import AlarmRule, AlarmState
from ops.local.cloudwatch.metric_store import MetricKey, MetricSummary
from ops.local.settings import CloudSettings

_KEPT_DATA = 20_000
_KEPT_HISTORY = 100
_NEVER_EVALUATED = "Unchecked: Initial alarm creation"


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """One series of an alarm: a statistic of a metric, or an expression over the others."""

    id: str
    key: MetricKey | None
    statistic: str
    expression: str | None
    returned: bool


@dataclass(frozen=True, slots=True)
class AlarmView:
    """An alarm as moto keeps it.

    Attributes:
        name: its name.
        state: its state, with reason and time.
        is_new: whether no one has evaluated or set it yet.
        queries: what it is evaluated from; none for an alarm on other alarms.
        period: in AWS's seconds.
        rule: when it is in ALARM.
        source: moto's own object.
    """

    name: str
    state: AlarmState
    is_new: bool
    queries: Sequence[MetricQuery]
    period: float
    rule: AlarmRule
    source: Any = field(repr=False)


class MotoCloudWatch:
    """The alarms and data of this cloud's account and region."""

    def __init__(self, settings: CloudSettings) -> None:
        from moto.cloudwatch.models import (  # noqa: PLC0415 - moto is slow to import
            MetricAggregatedDatum,
            cloudwatch_backends,
        )

        self._backend = cloudwatch_backends[settings.account_id][settings.region]
        self._summary_type = MetricAggregatedDatum
        self._read = 0

    def alarms(self) -> list[AlarmView]:
        """Every alarm."""
        return [_view(alarm) for alarm in list(self._backend.alarms.values())]

    def states(self, names: Sequence[str]) -> dict[str, AlarmState]:
        """The states of those alarms that exist."""
        alarms = self._backend.alarms
        return {name: alarms[name].state_value for name in names if name in alarms}

    def set_state(self, alarm: AlarmView, state: AlarmState, reason: str) -> None:
        """Change an alarm's state."""
        alarm.source.update_state(reason, "{}", state)

    def new_data(self) -> Iterator[tuple[MetricKey, list[float]]]:
        """What clients put since the last call."""
        data = self._backend.metric_data
        start, self._read = self._read, len(data)
        for datum in data[start : self._read]:
            if getattr(datum, "from_store", False):
                continue
            dimensions = frozenset((each.name, each.value) for each in datum.dimensions)
            values = [datum.value] if hasattr(datum, "value") else [datum.min, datum.max]
            yield MetricKey(datum.namespace, datum.name, dimensions), values

    def show(self, summaries: Mapping[MetricKey, MetricSummary]) -> None:
        """Let clients read what was recorded, and forget what is old."""
        for key, summary in summaries.items():
            datum = self._summary_type(
                namespace=key.namespace,
                name=key.name,
                min_stat=summary.low,
                max_stat=summary.high,
                sample_count=summary.count,
                sum_stat=summary.total,
                dimensions=[{"Name": name, "Value": value} for name, value in key.dimensions],
                timestamp=None,
            )
            datum.from_store = True
            self._backend.metric_data.append(datum)
        excess = min(self._read, len(self._backend.metric_data) - _KEPT_DATA)
        if excess > 0:
            del self._backend.metric_data[:excess]
            self._read -= excess
        for alarm in list(self._backend.alarms.values()):
            del alarm.history[:-_KEPT_HISTORY]


def _view(alarm: Any) -> AlarmView:
    periods = int(alarm.evaluation_periods or 1)
    queries = [] if alarm.rule else _queries(alarm)
    periods_of_queries = [
        float(query.metric_stat.period) for query in alarm.metric_data_queries if query.metric_stat
    ]
    return AlarmView(
        name=alarm.name,
        state=alarm.state_value,
        is_new=alarm.state_reason == _NEVER_EVALUATED,
        queries=queries,
        period=float(alarm.period or max(periods_of_queries, default=60)),
        rule=AlarmRule(
            threshold=float(alarm.threshold or 0),
            comparison=str(alarm.comparison_operator),
            periods=periods,
            to_alarm=int(alarm.datapoints_to_alarm or periods),
            missing=alarm.treat_missing_data or "missing",
        ),
        source=alarm,
    )


def _queries(alarm: Any) -> list[MetricQuery]:
    if not alarm.metric_data_queries:
        statistic = alarm.statistic or alarm.extended_statistic or "Average"
        only = _key(alarm.namespace, alarm.metric_name, alarm.dimensions)
        return [MetricQuery("m1", only, statistic, None, returned=True)]
    queries = []
    for query in alarm.metric_data_queries:
        stat = query.metric_stat
        metric = stat.metric if stat else None
        key = _key(metric.namespace, metric.metric_name, metric.dimensions) if metric else None
        # Without ReturnData a series is returned, as in the API.
        returned = str(query.return_data).lower() not in {"false", "0"}
        statistic = stat.stat if stat else ""
        queries.append(MetricQuery(query.id, key, statistic, query.expression, returned))
    return queries


def _key(namespace: str, name: str, dimensions: Sequence[Any]) -> MetricKey:
    return MetricKey(namespace, name, frozenset((each.name, each.value) for each in dimensions))
