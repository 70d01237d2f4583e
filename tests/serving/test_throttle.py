"""A throttled load pauses while other threads work, and goes on at once when they don't."""

import os
from itertools import count

from trainer.serving.models.throttle import Throttle


class Work:
    """A thread that works for two seconds between its pauses, and what others do meanwhile."""

    def __init__(self, others_per_s: float) -> None:
        self._others_per_s = others_per_s
        self._own = count(0.0, 2.0)
        self._all = 0.0
        self.pauses: list[float] = []

    def throttle(self) -> Throttle:
        return Throttle(lambda: next(self._own), lambda: self._all, self._pause)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._all += seconds * self._others_per_s


def test_a_pause_is_half_of_the_work_if_the_process_is_idle() -> None:
    work = Work(others_per_s=0.0)

    with work.throttle() as throttle:
        throttle.pause()
        throttle.pause()

    assert work.pauses == [1.0, 1.0]


def test_pauses_are_repeated_while_others_work_but_not_without_end() -> None:
    work = Work(others_per_s=0.9)

    with work.throttle() as throttle:
        throttle.pause()

    assert len(work.pauses) > 3
    assert set(work.pauses) == {1.0}


def test_the_block_is_scheduled_as_batch_work_and_restores_the_policy_afterwards() -> None:
    before = os.sched_getscheduler(0)

    with Throttle():
        assert os.sched_getscheduler(0) == os.SCHED_BATCH

    assert os.sched_getscheduler(0) == before
