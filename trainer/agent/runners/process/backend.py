"""Makes the process runner from the agent's settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from trainer.agent.runners.factory import RunnerContext
from trainer.agent.runners.process.runner import ProcessRunner

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a training process gets of the agent's environment, besides ``AWS_*``."""


@dataclass(frozen=True, slots=True)
class ProcessBackend:
    """This machine; its only agent always leads, and its runner itself reports changes."""

    context: RunnerContext
    election: None = None

    def make_runner(self, artifact_bucket: str) -> ProcessRunner:
        """Make a runner and take up the runs that an earlier agent left.

        Raises:
            RunnerError: the work directory can't be used.
        """
        settings = self.context.settings
        runner = ProcessRunner(
            work_dir=settings.work_dir,
            job_template=settings.job_template(artifact_bucket, settings.trainer_image),
            environment=_for_training(self.context.environment),
            clock=lambda: datetime.now(UTC),
            log=self.context.log,
            on_change=self.context.on_change,
            limits=settings.limits,
        )
        runner.resume()
        return runner

    def watcher(self, stop: Event) -> Callable[[], None] | None:  # noqa: ARG002 - nothing to watch
        """None: the runner calls out when a run ends."""
        return None


def open_backend(context: RunnerContext) -> ProcessBackend:
    """The backend for `trainer.agent.runners.factory`."""
    return ProcessBackend(context)


def _for_training(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith("AWS_")
    }
