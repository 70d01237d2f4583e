"""Runners in memory: the test ends each run itself.

They pass the same contract tests as the real runners.
"""

from collections.abc import Callable
from datetime import datetime

from trainer.agent.core.runs import Announced, RunState, RunStatus, TrainingRun
from trainer.agent.errors import ForeignJobError
from trainer.agent.runners.indexed import IndexedStatus, IndexedWork
from trainer.training.job.outcome import ExitCode, RunOutcome, worth_retrying


class MemoryRunner:
    """Training runs that end when `end` is called."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Take the time of starts and ends from ``clock``."""
        self._clock = clock
        self._runs: dict[str, RunStatus] = {}
        self.template = "one"
        self.started: list[str] = []
        """Ids of the runs that were started, in order."""

    def start(self, run: TrainingRun) -> None:
        """Start a run; a run that is known already stays as it is."""
        if run.id in self._runs:
            return
        self.started.append(run.id)
        self._runs[run.id] = RunStatus(
            run=run,
            state=RunState.RUNNING,
            started_at=self._clock(),
            template=self.template,
            start=f"{len(self.started)}",
        )

    def runs(self) -> tuple[RunStatus, ...]:
        """Every known run."""
        return tuple(self._runs.values())

    def mark_announced(self, run_id: str, announced: Announced) -> None:
        """Remember how much of a run has been reported."""
        self._change(run_id, announced=announced)

    def forget(self, run_id: str) -> None:
        """Drop an ended run."""
        if run_id in self._runs and not self._runs[run_id].active:
            del self._runs[run_id]

    def close(self) -> None:
        """Do nothing: the runs go on, as in a cluster."""

    def end(self, run_id: str, exit_code: ExitCode, outcome: RunOutcome | None = None) -> None:
        """End a run with this exit code."""
        self._change(
            run_id,
            state=RunState.SUCCEEDED if exit_code is ExitCode.DONE else RunState.FAILED,
            exit_code=int(exit_code),
            outcome=outcome,
            ended_at=self._clock(),
        )

    def _change(self, run_id: str, **changes: object) -> None:
        self._runs[run_id] = self._runs[run_id].model_copy(update=changes)


class MemoryIndexed:
    """Numbered processes that end when `end` is called."""

    def __init__(self) -> None:
        """Know no work yet."""
        self._works: dict[str, IndexedWork] = {}
        self._done: dict[str, set[int]] = {}
        self._failed: dict[str, ExitCode] = {}

    def start(self, work: IndexedWork) -> None:
        """Start work; work that is known already stays as it is.

        Raises:
            ForeignJobError: something else has its name.
        """
        if not work.is_same_as(self._works.setdefault(work.name, work)):
            raise ForeignJobError(f"{work.name} is the name of other work: forget that first")

    def look(self, name: str) -> IndexedStatus | None:
        """Where work stands; None if it is not known."""
        if name not in self._works:
            return None
        done = len(self._done.get(name, ()))
        state = RunState.RUNNING
        if name in self._failed:
            state = RunState.FAILED
        elif done == self._works[name].completions:
            state = RunState.SUCCEEDED
        code = self._failed.get(name)
        reason = None if code is None else f"exit code {int(code)}"
        return IndexedStatus(name=name, state=state, succeeded=done, reason=reason)

    def forget(self, name: str) -> None:
        """Drop ended work."""
        status = self.look(name)
        if status is not None and not status.active:
            self._done.pop(name, None)
            self._failed.pop(name, None)
            del self._works[name]

    def close(self) -> None:
        """Do nothing."""

    def end(self, name: str, index: int, exit_code: ExitCode) -> None:
        """End one number with this exit code; one that is worth another attempt goes on."""
        if exit_code is ExitCode.DONE:
            self._done.setdefault(name, set()).add(index)
        elif not worth_retrying(exit_code):
            self._failed[name] = exit_code
