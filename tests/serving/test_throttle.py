"""A load's pace: it steps back while others work, and goes on at once when they don't."""

import os
from itertools import count

from trainer.serving.models.throttle import Throttle


class Work:
    """A thread that works for two seconds between its rests, and what others do meanwhile."""

    def __init__(self, others_per_s: float) -> None:
        self._others_per_s = others_per_s
        self._own = count(0.0, 2.0)
        self._all = 0.0
        self.rests: list[float] = []

    def pace(self) -> Throttle:
        return Throttle(lambda: next(self._own), lambda: self._all, self._rest)

    def _rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self._all += seconds * self._others_per_s


def test_where_nobody_else_works_a_rest_is_half_of_the_work() -> None:
    work = Work(others_per_s=0.0)

    with work.pace() as pace:
        pace.rest()
        pace.rest()

    assert work.rests == [1.0, 1.0]


def test_where_others_work_it_is_longer_but_not_without_end() -> None:
    work = Work(others_per_s=0.9)

    with work.pace() as pace:
        pace.rest()

    assert len(work.rests) > 3
    assert set(work.rests) == {1.0}


def test_whoever_keeps_pace_pushes_nobody_off_a_processor_and_is_as_before_afterwards() -> None:
    before = os.sched_getscheduler(0)

    with Throttle():
        assert os.sched_getscheduler(0) == os.SCHED_BATCH

    assert os.sched_getscheduler(0) == before
