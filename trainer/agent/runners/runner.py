"""What the agent needs of a runner, and of the place that provides one.

A runner keeps its state where it survives the agent: in the cluster, or on disk. So a restarted
agent finds the active runs, the ended ones and what it has reported about them.
"""

from collections.abc import Callable
from threading import Event
from typing import Protocol

from trainer.agent.core.runs import Announced, RunStatus, TrainingRun


class Runner(Protocol):
    """Runs training somewhere; every method may raise `trainer.agent.errors.RunnerError`."""

    @property
    def template(self) -> str:
        """Names what runs are started with besides their data: image, resources, limits.

        A run that failed under another template is worth another start.
        """

    def start(self, run: TrainingRun) -> None:
        """Start a run, durably; a run that is known already stays as it is."""

    def runs(self) -> tuple[RunStatus, ...]:
        """Every known run, active or ended."""

    def mark_announced(self, run_id: str, announced: Announced) -> None:
        """Remember durably how much of a run has been reported."""

    def forget(self, run_id: str) -> None:
        """Drop an ended run, so that it can be started again; unknown or active ones stay."""

    def close(self) -> None:
        """Release everything before the agent exits."""


class LeaderElection(Protocol):
    """Decides which of several replicas of the agent acts."""

    name: str
    identity: str
    lost: Event
    """Set when this replica must no longer act."""

    def acquire(self, stop: Event, on_wait: Callable[[], None]) -> bool:
        """Wait until this replica leads; False if ``stop`` is set before.

        Args:
            stop: ends the waiting.
            on_wait: called before each pause: this replica is in stand-by.
        """

    def keep(self, on_lost: Callable[[], None]) -> None:
        """Stay the leader in the background until `release`; call out when that is lost."""

    def release(self) -> None:
        """Let the next replica lead."""


class RunnerBackend(Protocol):
    """A place where training can run; made once per process of the agent."""

    @property
    def election(self) -> LeaderElection | None:
        """How replicas agree who acts; None where there is only one."""

    def make_runner(self, artifact_bucket: str) -> Runner:
        """Make a runner, once this replica leads."""

    def watcher(self, stop: Event) -> Callable[[], None] | None:
        """A function that wakes the agent whenever a run changes, until ``stop`` is set.

        None if the runner itself does so.
        """
