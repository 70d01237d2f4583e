"""Metric data of the last minutes, bounded, in the order of arrival.

Alarms are evaluated from it, in this cloud's time; a data point counts from when it arrives,
whatever its own time stamp says.
"""

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_POINTS = 2000  # kept of one metric
_METRICS = 5000  # kept at all; the oldest goes


@dataclass(frozen=True, slots=True)
class MetricKey:
    """A metric's identity."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


@dataclass(slots=True)
class MetricSummary:
    """Some values of a metric that were not shown to clients yet."""

    count: int = 0
    total: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, value: float) -> None:
        """Take one more value."""
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)


class MetricStore:
    """Takes data points from any thread."""

    def __init__(self) -> None:
        self._points: dict[MetricKey, deque[tuple[float, float]]] = {}
        self._unshown: defaultdict[MetricKey, MetricSummary] = defaultdict(MetricSummary)
        self._lock = threading.Lock()

    def record(self, key: MetricKey, values: Iterable[float], *, shown: bool = False) -> None:
        """Add values that arrive now; ``shown`` ones are known to clients already."""
        now = time.monotonic()
        with self._lock:
            points = self._points.get(key)
            if points is None:
                if len(self._points) >= _METRICS:
                    del self._points[next(iter(self._points))]
                points = self._points[key] = deque(maxlen=_POINTS)
            for value in values:
                points.append((now, value))
                if not shown:
                    self._unshown[key].add(value)

    def between(self, key: MetricKey, start: float, end: float) -> list[float]:
        """The values that arrived in a span of monotonic seconds."""
        with self._lock:
            return [value for moment, value in self._points.get(key, ()) if start < moment <= end]

    def take_unshown(self) -> Mapping[MetricKey, MetricSummary]:
        """What arrived since the last call."""
        with self._lock:
            taken, self._unshown = self._unshown, defaultdict(MetricSummary)
            return taken

    def read_log_line(self, line: str) -> None:
        """Record the metrics of a log line in the Embedded Metric Format; ignore any other line."""
        if '"CloudWatchMetrics"' not in line:
            return
        try:
            metrics = _embedded_metrics(json.loads(line))
        except (ValueError, KeyError, TypeError):
            return  # CloudWatch ignores what it can't read, too
        for key, values in metrics:
            self.record(key, values)


def _embedded_metrics(blob: Any) -> list[tuple[MetricKey, list[float]]]:
    metrics = []
    for directive in blob["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = frozenset((name, str(blob[name])) for name in names)
            for metric in directive["Metrics"]:
                key = MetricKey(directive["Namespace"], metric["Name"], dimensions)
                value = blob[metric["Name"]]
                values = value if isinstance(value, list) else [value]
                metrics.append((key, [float(number) for number in values]))
    return metrics
