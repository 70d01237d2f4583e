"""A runner for one machine (Linux): each attempt at a run is a process of its own.

Gives a run what a Kubernetes Job gives it: a clean environment, retries with a growing pause, a
deadline, and a record that survives the agent. An agent that is killed leaves processes behind,
whose ids may since have been reused, so a process is identified by its start time too.

On disk::

    WORK_DIR/RUN/record.json         the run's status
    WORK_DIR/RUN/ATTEMPT.log, .json  an attempt's log, and the note that it left
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, RLock, Thread

from pydantic import BaseModel, ConfigDict, ValidationError
from structlog.typing import FilteringBoundLogger

from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import ProcessLimits
from trainer.agent.core.runs import DEADLINE_EXCEEDED, Announced, RunState, RunStatus, TrainingRun
from trainer.agent.errors import RunnerError
from trainer.training.job.outcome import ExitCode, RunOutcome, worth_retrying

TRAINING = (sys.executable, "-m", "trainer.training")
_TAIL_LINES = 20
_GRACE_S = 1.0
_RECORD = "record.json"


class _Process(BaseModel):
    """A process id with the process's start in ticks since boot: unique on a machine."""

    model_config = ConfigDict(frozen=True)

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _start_ticks(self.pid) == self.start_ticks

    def signal(self, kind: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        # It may have ended in the meantime.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, kind)


class _Record(BaseModel):
    """A run's record on disk."""

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    failures: int = 0
    attempt: str | None = None
    process: _Process | None = None


class _End(BaseModel):
    """The end of an attempt: an exit code, or the reason without one."""

    model_config = ConfigDict(frozen=True)

    exit_code: int | None
    reason: str | None = None


@dataclass(slots=True)
class ProcessRunner:
    """Runs training in processes of this machine and records them in ``work_dir``.

    Call `resume` once before anything else: it takes up the runs of an earlier agent.
    """

    work_dir: Path
    job_template: JobTemplate
    environment: Mapping[str, str]
    """What a process gets besides its settings: credentials and the search path."""
    clock: Callable[[], datetime]
    log: FilteringBoundLogger
    on_change: Callable[[], None]
    """Called, from another thread, whenever a run has ended."""
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    command: Sequence[str] = TRAINING
    _records: dict[str, _Record] = field(default_factory=dict, init=False)
    _threads: list[Thread] = field(default_factory=list, init=False)
    _lock: RLock = field(default_factory=RLock, init=False)
    _closing: Event = field(default_factory=Event, init=False)

    @property
    def template(self) -> str:
        """The trainer's image."""
        return self.job_template.image

    def resume(self) -> None:
        """Take up the recorded runs: wait for what still runs, and start again what does not."""
        for path in sorted(self.work_dir.glob(f"*/{_RECORD}")):
            try:
                record = _Record.model_validate_json(path.read_bytes())
            except ValidationError as error:
                raise RunnerError(
                    f"{path} is no record of this agent; move it away to go on: {error}"
                ) from error
            self._records[record.status.run.id] = record
            if record.status.active:
                self._supervise(record.status.run.id)

    def start(self, run: TrainingRun) -> None:
        """Start a run; a run that is known already stays as it is.

        Raises:
            RunnerError: the work directory can't be written to.
        """
        with self._lock:
            if run.id in self._records:
                return
            status = RunStatus(
                run=run,
                state=RunState.PENDING,
                started_at=self.clock(),
                start=uuid.uuid4().hex,
                template=self.template,
            )
            self._keep(_Record(status=status))
        self._supervise(run.id)

    def runs(self) -> tuple[RunStatus, ...]:
        """Every known run."""
        with self._lock:
            return tuple(record.status for record in self._records.values())

    def mark_announced(self, run_id: str, announced: Announced) -> None:
        """Record on disk how much of a run has been reported."""
        self._change_status(run_id, announced=announced)

    def forget(self, run_id: str) -> None:
        """Drop an ended run with its files."""
        with self._lock:
            record = self._records.get(run_id)
            if record is None or record.status.active:
                return
            del self._records[run_id]
            shutil.rmtree(self._folder(run_id), ignore_errors=True)

    def close(self) -> None:
        """Stop every process; the next agent on this directory starts their runs again."""
        self._closing.set()
        for kind in (signal.SIGTERM, signal.SIGKILL):
            for process in self._running():
                process.signal(kind)
            for thread in self._threads:
                thread.join(timeout=_GRACE_S)

    def _running(self) -> tuple[_Process, ...]:
        with self._lock:
            processes = [
                record.process for record in self._records.values() if record.status.active
            ]
        return tuple(process for process in processes if process and process.alive)

    def _supervise(self, run_id: str) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = Thread(target=self._supervise_run, args=(run_id,), name=run_id, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _supervise_run(self, run_id: str) -> None:
        try:
            self._make_attempts(run_id)
        except (RunnerError, OSError) as error:
            # Nothing joins this thread: without this, the run would seem active for ever.
            self.log.exception("run given up", run_id=run_id)
            self._give_up(run_id, str(error))

    def _make_attempts(self, run_id: str) -> None:
        """Make attempts until one is final, as a Job's controller does."""
        end = self._adopt(self._records[run_id])
        while not self._closing.is_set():
            if end is None:
                end = self._attempt(run_id)
                continue
            record = self._records[run_id]
            failed_again = end.exit_code is not None and worth_retrying(end.exit_code)
            if not failed_again or record.failures >= self.limits.backoff_limit:
                self._finish(record, end)
                return
            # Counted now: an agent that restarts during the pause must not count it again.
            self._change(run_id, failures=record.failures + 1, attempt=None, process=None)
            self._closing.wait(self.limits.backoff_s * 2**record.failures)
            end = None

    def _attempt(self, run_id: str) -> _End | None:
        """Run the process once; None if the agent is closing, which does not count as an end."""
        attempt = f"process-{uuid.uuid4().hex[:12]}"
        run = self._records[run_id].status.run
        settings = self.job_template.settings(run, attempt, self._file(run_id, attempt, "json"))
        with self._file(run_id, attempt, "log").open("wb") as output, self._lock:
            if self._closing.is_set():
                return None
            try:
                child = subprocess.Popen(
                    self.command,
                    env={**self.environment, **settings.environment()},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return _End(exit_code=None, reason=f"the process could not be started: {error}")
            process = _Process(pid=child.pid, start_ticks=_start_ticks(child.pid) or 0)
            self._change(run_id, attempt=attempt, process=process)
            self._change_status(run_id, state=RunState.RUNNING)
        self.log.info("attempt started", run_id=run_id, attempt=attempt, pid=child.pid)
        in_time = self._wait_or_kill(process)
        code = child.wait()
        if self._closing.is_set():
            return None
        if not in_time:
            return _End(exit_code=None, reason=DEADLINE_EXCEEDED)
        return _End(exit_code=code if code >= 0 else 128 - code)

    def _adopt(self, record: _Record) -> _End | None:
        """Wait for the process that an earlier agent started, if it still runs.

        Its exit code is lost, but its note has the same code. Without a note it was killed or it
        crashed; either way another attempt is due.
        """
        if record.process is None or record.attempt is None:
            return None
        if record.process.alive:
            self.log.info("attempt found running", run_id=record.status.run.id)
            if not self._wait_or_kill(record.process):
                return _End(exit_code=None, reason=DEADLINE_EXCEEDED)
        outcome = self._outcome(record)
        return _End(exit_code=int(outcome.exit_code)) if outcome else None

    def _wait_or_kill(self, process: _Process) -> bool:
        """Wait for a process's end; False if it had to be killed at its deadline."""
        in_time = _wait_for(process.pid, self.limits.deadline_s)
        if not in_time:
            process.signal(signal.SIGKILL)
        return in_time

    def _finish(self, record: _Record, end: _End) -> None:
        self._change_status(
            record.status.run.id,
            state=RunState.SUCCEEDED if end.exit_code == ExitCode.DONE else RunState.FAILED,
            exit_code=end.exit_code,
            reason=end.reason,
            outcome=self._outcome(record),
            log_tail=self._log_tail(record),
            ended_at=self.clock(),
        )
        self.log.info("run ended", run_id=record.status.run.id, exit_code=end.exit_code)
        self.on_change()

    def _give_up(self, run_id: str, reason: str) -> None:
        with self._lock:
            record = self._records[run_id]
            changes = {"state": RunState.FAILED, "reason": reason, "ended_at": self.clock()}
            status = record.status.model_copy(update=changes)
            self._records[run_id] = record.model_copy(update={"status": status})
        self.on_change()

    def _outcome(self, record: _Record) -> RunOutcome | None:
        if record.attempt is None:
            return None
        try:
            note = self._file(record.status.run.id, record.attempt, "json").read_bytes()
            return RunOutcome.model_validate_json(note)
        except (OSError, ValidationError):  # none left, or killed while writing it
            return None

    def _log_tail(self, record: _Record) -> tuple[str, ...]:
        if record.attempt is None:
            return ()
        path = self._file(record.status.run.id, record.attempt, "log")
        with path.open(encoding="utf-8", errors="replace") as lines:
            return tuple(line.rstrip("\n") for line in deque(lines, maxlen=_TAIL_LINES))

    def _change_status(self, run_id: str, **changes: object) -> None:
        with self._lock:
            status = self._records[run_id].status.model_copy(update=changes)
            self._change(run_id, status=status)

    def _change(self, run_id: str, **changes: object) -> None:
        with self._lock:
            self._keep(self._records[run_id].model_copy(update=changes))

    def _keep(self, record: _Record) -> None:
        """Write the record so that a kill leaves the old one or the new one, then use it."""
        folder = self._folder(record.status.run.id)
        with self._lock:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                draft = folder / f"{_RECORD}.new"
                draft.write_text(record.model_dump_json())
                draft.replace(folder / _RECORD)
            except OSError as error:
                raise RunnerError(f"the work directory can't be written to: {error}") from error
            self._records[record.status.run.id] = record

    def _folder(self, run_id: str) -> Path:
        return self.work_dir / run_id

    def _file(self, run_id: str, attempt: str, kind: str) -> Path:
        return self._folder(run_id) / f"{attempt}.{kind}"


def _wait_for(pid: int, seconds: float) -> bool:
    """Wait until any process, child or not, has ended; False if it still runs."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _start_ticks(pid: int) -> int | None:
    """A process's start in ticks since boot (proc(5), stat, field 22); None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses, which may itself hold spaces and parentheses.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])
