"""The pace of work that may take its time, beside an event loop in the same process.

A load computes for some milliseconds in all, most of them with Python's lock held. What may go
wrong is that all who ask meanwhile feel it: so the work is done in parts, rests between them for as
long as the event loop has much to do, and takes a processor only when it is its turn.
"""

import contextlib
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_RESTS = 8
"""At most, each half as long as was worked before."""
_IDLE = 0.1
"""Of that, what others of this process may work without being held to have much to do."""


class Throttle:
    """How one thread works while it is in this block."""

    def __init__(
        self,
        worked: Callable[[], float] = time.thread_time,
        worked_by_all: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Measure by two clocks of processor time, in seconds: this thread's, the process's."""
        self._worked = worked
        self._worked_by_all = worked_by_all
        self._sleep = sleep

    def __enter__(self) -> Self:
        self._before = os.sched_getscheduler(0), os.sched_getparam(0)
        # A thread of this kind pushes nobody off a processor when it wakes; but, unlike one of low
        # priority, it is not kept from going on while it holds Python's lock.
        _schedule(os.SCHED_BATCH, os.sched_param(0))
        self._since = self._worked()
        return self

    def rest(self) -> None:
        """Let others in: once, and again while they work."""
        nap = (self._worked() - self._since) / 2
        for _ in range(_RESTS):
            before = self._worked_by_all()
            self._sleep(nap)
            if self._worked_by_all() - before < nap * _IDLE:
                break
        self._since = self._worked()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _schedule(*self._before)


def _schedule(policy: int, parameter: os.sched_param) -> None:
    # Where a container may not choose, the rests alone have to do.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, policy, parameter)
