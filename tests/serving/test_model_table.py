"""The table of models that workers share: two of them write, one of them dies, and all read on."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from types import FrameType
from typing import Any

from tests.serving.running_server import PATIENCE_S
from trainer.serving.models.model_table import ModelTable

NAMES = [f"site-{number}" for number in range(4)]


def filled() -> ModelTable:
    table = ModelTable()
    for name in NAMES:
        assert table.add(name, f"/{name}", size=1, limit=100) is not None
    return table


def forked(work: Callable[[], object]) -> int:
    """Fork as the server does, to do some work; returns the process's id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def in_another_process(work: Callable[[], object]) -> int:
    """Returns the signal that ended it, or 0."""
    _, status = os.waitpid(forked(work), 0)
    return os.WTERMSIG(status)


def killed_at_line(number: int, work: Callable[[], object]) -> None:
    """Do some work on the table, and die before line ``number`` of its execution."""
    lines = count(1)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith("model_table.py"):
            return None
        if event == "line" and next(lines) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    work()


def deaths(work: Callable[[], object]) -> Iterator[None]:
    """Let other processes do some work and die ever later in it, until one completes it."""
    for number in count(1):
        if in_another_process(partial(killed_at_line, number, work)) == 0:
            return
        yield


def test_the_least_recently_used_models_are_evicted_for_another() -> None:
    table = ModelTable()
    added = table.add("a", "/a", size=10, limit=100)
    assert added is not None
    assert (added.entry.url, added.evicted) == ("/a", [])
    assert table.add("a", "/b", size=10, limit=100) is None

    other = table.add("b", "/b", size=95, limit=100)

    assert other is not None
    assert other.evicted == ["a"]
    assert [*table.entries()] == ["b"]
    assert table.remove("b")
    assert not table.remove("b")


def test_what_one_process_writes_the_others_read() -> None:
    table = filled()

    assert in_another_process(lambda: table.remove(NAMES[0])) == 0
    assert in_another_process(lambda: table.add("new", "/new", size=1, limit=100)) == 0

    assert {*table.entries()} == {*NAMES[1:], "new"}


def test_a_worker_that_dies_while_it_writes_leaves_the_table_as_it_was_or_as_it_should_be() -> None:
    table = filled()
    before = {*NAMES}
    seen = []
    for _ in deaths(lambda: table.add("new", "/new", size=1, limit=100)):
        seen.append({*table.entries()})
        # The next change continues from there, and so does a first reader.
        table.remove("new")
        assert {*table.entries()} == before

    assert len(seen) > 20
    assert before in seen
    assert before | {"new"} in seen
    assert all(names in (before, before | {"new"}) for names in seen)


def test_a_reader_sees_whole_tables_while_others_write() -> None:
    table = filled()

    def add_and_remove() -> None:
        for number in count():
            table.add(f"new-{number}", "/new", size=1, limit=100)
            table.remove(f"new-{number}")

    pid = forked(add_and_remove)
    try:
        reads, others = 0, set[str]()
        deadline = time.monotonic() + PATIENCE_S
        while reads < 2000 or len(others) < 10:
            names = {*table.entries()}
            assert names >= {*NAMES}
            assert len(names) <= len(NAMES) + 1
            others |= names.difference(NAMES)
            reads += 1
            assert time.monotonic() < deadline
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
