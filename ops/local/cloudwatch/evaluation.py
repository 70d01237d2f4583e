"""The state of an alarm, from the values of its newest periods.

The rules are those of "Configuring how CloudWatch alarms treat missing data" in its guide.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

AlarmState = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Average": lambda values: sum(values) / len(values),
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """When an alarm is in ALARM: ``to_alarm`` of ``periods`` data points breach the threshold."""

    threshold: float
    comparison: str
    periods: int
    to_alarm: int
    missing: str

    @property
    def is_supported(self) -> bool:
        """Whether the threshold is static; anomaly detection is not emulated."""
        return self.comparison in _COMPARISONS

    def state(self, points: Sequence[float | None], current: AlarmState) -> AlarmState:
        """The alarm's state.

        Args:
            points: one for each period, None where no data arrived.
            current: the present state, which `ignore` keeps when data are missing.
        """
        known = [point for point in points if point is not None]
        breaching = sum(self._breaches(point) for point in known)
        missing = len(points) - len(known)
        if self.missing == "breaching":
            return "ALARM" if breaching + missing >= self.to_alarm else "OK"
        if self.missing == "notBreaching":
            return "ALARM" if breaching >= self.to_alarm else "OK"
        if self.missing == "ignore":
            if breaching >= self.to_alarm:
                return "ALARM"
            return "OK" if len(known) - breaching > self.periods - self.to_alarm else current
        if not known:
            return "INSUFFICIENT_DATA"
        return "ALARM" if breaching >= min(self.to_alarm, len(known)) else "OK"

    def reason(self, points: Sequence[float | None], state: AlarmState) -> str:
        """Why the alarm changed to ``state``, in CloudWatch's words."""
        known = [f"{point:g}" for point in points if point is not None]
        if state == "INSUFFICIENT_DATA":
            return "Insufficient Data: no data points were received for the evaluated periods."
        was = "was" if state == "ALARM" else "was not"
        return (
            f"Threshold Crossed: {self.to_alarm} out of the last {self.periods} datapoints "
            f"[{', '.join(known) or 'missing'}] {was} breaching the threshold ({self.threshold:g}) "
            f"(minimum {self.to_alarm} datapoint(s) for the transition)."
        )

    def _breaches(self, value: float) -> bool:
        return _COMPARISONS[self.comparison](value, self.threshold)


def statistic(name: str, values: Sequence[float]) -> float | None:
    """A statistic such as ``Sum`` or ``p99`` of some values; None if there are none."""
    if not values:
        return None
    if name in _STATISTICS:
        return float(_STATISTICS[name](values))
    ordered, rank = sorted(values), float(name.removeprefix("p")) / 100 * (len(values) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])
