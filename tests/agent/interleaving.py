"""Several workers that take turns, one at a time, at every touch of the world they share.

Threads, of which a baton lets one run; who comes next is drawn, so an order can be repeated from
its seed. What is atomic in the real systems (a conditional put, a create) is one step here too.
"""

import random
import threading
from collections.abc import Callable, Sequence


class Baton:
    """Lets one of several tasks run at a time."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._turns: dict[int, threading.Lock] = {}
        self._failures: list[BaseException] = []
        self._all_done = threading.Event()
        self.passes = 0

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run tasks until all have ended."""
        threads = [threading.Thread(target=self._task, args=(task,)) for task in tasks]
        ready = threading.Barrier(len(tasks) + 1)
        self._ready = ready
        for thread in threads:
            thread.start()
        ready.wait()
        self._pass_to(self._someone())
        self._all_done.wait()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def pass_on(self) -> None:
        """Let someone else go on, or nobody; called at each touch of what is shared."""
        me = threading.get_ident()
        if me not in self._turns:
            return
        self.passes += 1
        other = self._someone()
        if other != me:
            self._pass_to(other)
            self._turns[me].acquire()

    def _task(self, task: Callable[[], None]) -> None:
        me = threading.get_ident()
        turn = threading.Lock()
        turn.acquire()
        self._turns[me] = turn
        self._ready.wait()
        turn.acquire()
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it again
            self._failures.append(error)
        del self._turns[me]
        if self._turns:
            self._pass_to(self._someone())
        else:
            self._all_done.set()

    def _someone(self) -> int:
        return self._draw.choice(sorted(self._turns))

    def _pass_to(self, thread: int) -> None:
        self._turns[thread].release()
