"""Numbered processes on one machine (Linux): what an Indexed Job is to a cluster.

Each attempt at a number has a clean environment, a log, a note and a deadline, and is followed by
another one as in a Job. What is done lies in the bucket and not here: work that is started again
after its runner has gone finds it there.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from trainer.agent.core.limits import ProcessLimits
from trainer.agent.core.runs import DEADLINE_EXCEEDED, RunState
from trainer.agent.errors import ForeignJobError, RunnerError
from trainer.agent.runners.indexed import INDEX_VARIABLE, IndexedStatus, IndexedWork
from trainer.training.job.outcome import ExitCode, RunOutcome, worth_retrying

_TAIL_LINES = 20


@dataclass(slots=True)
class _ActiveWork:
    """One piece of work as it goes on."""

    work: IndexedWork
    pool: ThreadPoolExecutor
    futures: list[Future[None]] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    failure: IndexedStatus | None = None
    over: Event = field(default_factory=Event)
    """No further attempt is to be made."""
    children: set[subprocess.Popen[bytes]] = field(default_factory=set)


@dataclass(slots=True)
class IndexedProcesses:
    """Runs numbered processes of this machine; what they leave lies in ``work_dir``."""

    work_dir: Path
    environment: Mapping[str, str]
    """What a process gets besides the work's variables: credentials and the search path."""
    log: FilteringBoundLogger
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    _works: dict[str, _ActiveWork] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def start(self, work: IndexedWork) -> None:
        """Start work; work that is known already stays as it is.

        Raises:
            ForeignJobError: something else has its name.
            RunnerError: the work directory can't be written to.
        """
        known = self._works.get(work.name)
        if known is not None:
            if not work.is_same_as(known.work):
                raise ForeignJobError(f"{work.name} is the name of other work: forget that first")
            return
        try:
            self._folder(work.name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunnerError(f"the work directory can't be written to: {error}") from error
        # Held by a thread each; the processes do the work.
        pool = ThreadPoolExecutor(min(work.parallelism, work.completions))
        works = self._works[work.name] = _ActiveWork(work, pool)
        works.futures = [
            pool.submit(self._see_through, works, index) for index in range(work.completions)
        ]

    def look(self, name: str) -> IndexedStatus | None:
        """Where work stands; None if it is not known."""
        works = self._works.get(name)
        if works is None:
            return None
        with self._lock:
            done, failure = len(works.done), works.failure
        if failure is not None:
            return failure.model_copy(update={"succeeded": done})
        over = done == works.work.completions
        state = RunState.SUCCEEDED if over else RunState.RUNNING
        return IndexedStatus(name=name, state=state, succeeded=done)

    def forget(self, name: str) -> None:
        """Drop ended work; its logs stay."""
        status = self.look(name)
        if status is not None and not status.active:
            self._end(self._works.pop(name))

    def close(self) -> None:
        """Stop every process."""
        for works in self._works.values():
            self._end(works)

    def _end(self, works: _ActiveWork) -> None:
        works.over.set()
        with self._lock:
            for child in works.children:
                _kill(child)
        works.pool.shutdown(cancel_futures=True)

    def _see_through(self, works: _ActiveWork, index: int) -> None:
        try:
            self._make_attempts(works, index)
        except OSError as error:
            # Nobody waits for this thread: work that it let go of would seem to go on for ever.
            self._fail(works, f"a process could not be started: {error}", ())
            self.log.exception("numbered work given up", name=works.work.name, index=index)

    def _make_attempts(self, works: _ActiveWork, index: int) -> None:
        """Make attempts at a number until one counts."""
        for attempt in range(self.limits.backoff_limit + 1):
            if works.over.is_set():
                return
            code = self._attempt(works, index, attempt)
            if code == ExitCode.DONE:
                with self._lock:
                    works.done.add(index)
                return
            if works.over.is_set():
                return
            last = attempt == self.limits.backoff_limit
            if code is None or last or not worth_retrying(code):
                self._give_up(works, index, attempt, code)
                return
            works.over.wait(self.limits.backoff_s * 2**attempt)

    def _attempt(self, works: _ActiveWork, index: int, attempt: int) -> int | None:
        """Run the process once; its exit code, None if its time was up."""
        told = {
            **self.environment,
            **works.work.environment,
            INDEX_VARIABLE: str(index),
            "RSSI_TERMINATION_LOG": str(self._file(works, index, attempt, "json")),
        }
        with self._file(works, index, attempt, "log").open("wb") as output, self._lock:
            if works.over.is_set():
                return None
            child = subprocess.Popen(
                (sys.executable, "-m", works.work.module),
                env=told,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            works.children.add(child)
        try:
            code = child.wait(self.limits.deadline_s)
        except subprocess.TimeoutExpired:
            _kill(child)
            child.wait()
            return None
        finally:
            with self._lock:
                works.children.discard(child)
        return code if code >= 0 else 128 - code

    def _give_up(self, works: _ActiveWork, index: int, attempt: int, code: int | None) -> None:
        """One number has failed for good, and the work with it."""
        why = DEADLINE_EXCEEDED if code is None else f"exit code {code}"
        reason = _reason(self._file(works, index, attempt, "json")) or why
        with self._file(works, index, attempt, "log").open(errors="replace") as lines:
            tail = tuple(line.rstrip("\n") for line in deque(lines, maxlen=_TAIL_LINES))
        self._fail(works, reason, tail)
        self.log.info("numbered work failed", name=works.work.name, index=index, reason=reason)

    def _fail(self, works: _ActiveWork, reason: str, tail: tuple[str, ...]) -> None:
        status = IndexedStatus(
            name=works.work.name, state=RunState.FAILED, reason=reason, log_tail=tail
        )
        with self._lock:
            works.failure = works.failure or status
            works.over.set()
            for child in works.children:
                _kill(child)

    def _folder(self, name: str) -> Path:
        return self.work_dir / name

    def _file(self, works: _ActiveWork, index: int, attempt: int, kind: str) -> Path:
        return self._folder(works.work.name) / f"{index}-{attempt}.{kind}"


def _kill(child: subprocess.Popen[bytes]) -> None:
    # It may have ended since it was looked at.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _reason(note: Path) -> str:
    try:
        return RunOutcome.model_validate_json(note.read_bytes()).reason
    except (OSError, ValidationError):  # none left, or killed while writing it
        return ""
