"""Schedule expressions of rules: ``rate(5 minutes)`` or ``cron(30 2 * * ? *)``, in UTC.

Cron fields may be ``*``, ``?``, numbers, lists, ranges and steps. Names of months and days, ``L``,
``W`` and ``#`` are refused, and so is a schedule that does not fire within two years.
"""

import re
from datetime import datetime, timedelta

from ops.local.errors import ServiceError

_UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_HORIZON = 2 * 366  # days
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))


class ScheduleExpression:
    """One schedule expression.

    Raises:
        ServiceError: ``ValidationException``, the expression is not valid or not emulated.
    """

    def __init__(self, expression: str) -> None:
        self._expression = expression
        rate, cron = _RATE.fullmatch(expression), _CRON.fullmatch(expression)
        if rate and int(rate[1]):
            self._period: int | None = int(rate[1]) * _UNITS[rate[2]]
        elif cron:
            self._period = None
            self._fields = [
                self._values(text, *bounds)
                for text, bounds in zip(cron.groups(), _BOUNDS, strict=True)
            ]
        else:
            raise self._invalid()

    def seconds_until_next(self, now: datetime) -> float:
        """Seconds from ``now`` (UTC) to the next time it fires."""
        if self._period is not None:
            return self._period
        return (self._next(now) - now).total_seconds()

    def _next(self, now: datetime) -> datetime:
        minutes, hours, *_ = self._fields
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in (midnight + timedelta(days=n) for n in range(_HORIZON)):
            if not self._matches_day(day):
                continue
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    moment = day.replace(hour=hour, minute=minute)
                    if moment > now:
                        return moment
        raise self._invalid()

    def _matches_day(self, day: datetime) -> bool:
        _, _, days, months, weekdays, years = self._fields
        return (
            day.day in days
            and day.month in months
            and day.isoweekday() % 7 + 1 in weekdays  # AWS counts from Sunday, which is 1
            and day.year in years
        )

    def _values(self, text: str, low: int, high: int) -> frozenset[int]:
        return frozenset(
            value for part in text.split(",") for value in self._range(part, low, high)
        )

    def _range(self, part: str, low: int, high: int) -> range:
        match = re.fullmatch(r"(?:[*?]|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        if match is None:
            raise self._invalid()
        first = int(match[1]) if match[1] else low
        stepped_or_any = match[3] or not match[1]
        last = int(match[2]) if match[2] else (high if stepped_or_any else first)
        if not low <= first <= last <= high or match[3] == "0":
            raise self._invalid()
        return range(first, last + 1, int(match[3] or 1))

    def _invalid(self) -> ServiceError:
        return ServiceError(
            "ValidationException", f"Parameter ScheduleExpression is not valid: {self._expression}"
        )
