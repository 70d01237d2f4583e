"""Throttles slow work, such as loading a model, that runs beside an event loop in one process.

A load computes for some milliseconds, mostly with Python's lock held, which would delay every
request meanwhile. So it runs in parts, pauses between them for as long as the event loop is busy,
and is scheduled as batch work.
"""

import contextlib
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_MAX_PAUSES = 8
"""In a row, each half as long as the work before it."""
_IDLE_SHARE = 0.1
"""The share of a pause in which other threads may work and the process still counts as idle."""


class Throttle:
    """A block in which the current thread is scheduled as batch work and may pause."""

    def __init__(
        self,
        thread_time: Callable[[], float] = time.thread_time,
        process_time: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Measure by two clocks of CPU time, in seconds: of this thread and of the process."""
        self._thread_time = thread_time
        self._process_time = process_time
        self._sleep = sleep

    def __enter__(self) -> Self:
        self._before = os.sched_getscheduler(0), os.sched_getparam(0)
        # SCHED_BATCH preempts no other thread when it wakes. So does a low priority, but it would
        # also keep this thread from running while it holds Python's lock.
        _schedule(os.SCHED_BATCH, os.sched_param(0))
        self._since = self._thread_time()
        return self

    def pause(self) -> None:
        """Let other threads run: once, and again for as long as they are busy."""
        length = (self._thread_time() - self._since) / 2
        for _ in range(_MAX_PAUSES):
            before = self._process_time()
            self._sleep(length)
            if self._process_time() - before < length * _IDLE_SHARE:
                break
        self._since = self._thread_time()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _schedule(*self._before)


def _schedule(policy: int, parameter: os.sched_param) -> None:
    # Where a container may not choose a policy, the pauses alone have to do.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, policy, parameter)
