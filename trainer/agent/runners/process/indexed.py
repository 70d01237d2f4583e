"""Numbered processes on one machine (Linux), like an Indexed Job of a cluster.

Each attempt at a number has a clean environment, a log, a note and a deadline, and is followed by
another one as in a Job. Results are in the bucket, not here: work that is started again after its
runner is gone finds them there.
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
    """Work that has not been forgotten."""

    work: IndexedWork
    pool: ThreadPoolExecutor
    futures: list[Future[None]] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    failure: IndexedStatus | None = None
    stopped: Event = field(default_factory=Event)
    """Set when no further attempt is to be made."""
    children: set[subprocess.Popen[bytes]] = field(default_factory=set)


@dataclass(slots=True)
class IndexedProcesses:
    """Runs numbered processes of this machine; their logs and notes are in ``work_dir``."""

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
        # One thread waits for each process.
        pool = ThreadPoolExecutor(min(work.parallelism, work.completions))
        active = self._works[work.name] = _ActiveWork(work, pool)
        active.futures = [
            pool.submit(self._supervise_index, active, index) for index in range(work.completions)
        ]

    def look(self, name: str) -> IndexedStatus | None:
        """The status of work; None if it is not known."""
        active = self._works.get(name)
        if active is None:
            return None
        with self._lock:
            done, failure = len(active.done), active.failure
        if failure is not None:
            return failure.model_copy(update={"succeeded": done})
        is_done = done == active.work.completions
        state = RunState.SUCCEEDED if is_done else RunState.RUNNING
        return IndexedStatus(name=name, state=state, succeeded=done)

    def forget(self, name: str) -> None:
        """Drop ended work; its logs stay."""
        status = self.look(name)
        if status is not None and not status.active:
            self._end(self._works.pop(name))

    def close(self) -> None:
        """Stop every process."""
        for active in self._works.values():
            self._end(active)

    def _end(self, active: _ActiveWork) -> None:
        active.stopped.set()
        with self._lock:
            for child in active.children:
                _kill(child)
        active.pool.shutdown(cancel_futures=True)

    def _supervise_index(self, active: _ActiveWork, index: int) -> None:
        try:
            self._make_attempts(active, index)
        except OSError as error:
            # Nothing joins this thread: without this, the work would seem active for ever.
            self._fail(active, f"a process could not be started: {error}", ())
            self.log.exception("numbered work given up", name=active.work.name, index=index)

    def _make_attempts(self, active: _ActiveWork, index: int) -> None:
        """Make attempts at a number until one is final."""
        for attempt in range(self.limits.backoff_limit + 1):
            if active.stopped.is_set():
                return
            code = self._attempt(active, index, attempt)
            if code == ExitCode.DONE:
                with self._lock:
                    active.done.add(index)
                return
            if active.stopped.is_set():
                return
            last = attempt == self.limits.backoff_limit
            if code is None or last or not worth_retrying(code):
                self._give_up(active, index, attempt, code)
                return
            active.stopped.wait(self.limits.backoff_s * 2**attempt)

    def _attempt(self, active: _ActiveWork, index: int, attempt: int) -> int | None:
        """Run the process once; its exit code, None if it reached its deadline."""
        environment = {
            **self.environment,
            **active.work.environment,
            INDEX_VARIABLE: str(index),
            "RSSI_TERMINATION_LOG": str(self._file(active, index, attempt, "json")),
        }
        with self._file(active, index, attempt, "log").open("wb") as output, self._lock:
            if active.stopped.is_set():
                return None
            child = subprocess.Popen(
                (sys.executable, "-m", active.work.module),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            active.children.add(child)
        try:
            code = child.wait(self.limits.deadline_s)
        except subprocess.TimeoutExpired:
            _kill(child)
            child.wait()
            return None
        finally:
            with self._lock:
                active.children.discard(child)
        return code if code >= 0 else 128 - code

    def _give_up(self, active: _ActiveWork, index: int, attempt: int, code: int | None) -> None:
        """Fail the work, because one number has failed for good."""
        why = DEADLINE_EXCEEDED if code is None else f"exit code {code}"
        reason = _reason(self._file(active, index, attempt, "json")) or why
        with self._file(active, index, attempt, "log").open(errors="replace") as lines:
            tail = tuple(line.rstrip("\n") for line in deque(lines, maxlen=_TAIL_LINES))
        self._fail(active, reason, tail)
        self.log.info("numbered work failed", name=active.work.name, index=index, reason=reason)

    def _fail(self, active: _ActiveWork, reason: str, tail: tuple[str, ...]) -> None:
        status = IndexedStatus(
            name=active.work.name, state=RunState.FAILED, reason=reason, log_tail=tail
        )
        with self._lock:
            active.failure = active.failure or status
            active.stopped.set()
            for child in active.children:
                _kill(child)

    def _folder(self, name: str) -> Path:
        return self.work_dir / name

    def _file(self, active: _ActiveWork, index: int, attempt: int, kind: str) -> Path:
        return self._folder(active.work.name) / f"{index}-{attempt}.{kind}"


def _kill(child: subprocess.Popen[bytes]) -> None:
    # It may have ended in the meantime.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _reason(note: Path) -> str:
    try:
        return RunOutcome.model_validate_json(note.read_bytes()).reason
    except (OSError, ValidationError):  # none left, or killed while writing it
        return ""
