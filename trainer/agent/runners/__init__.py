"""What the agent asks of whatever runs training, shaped after Kubernetes Jobs.

A runner keeps what it knows where it survives the agent: in the cluster, or on disk. So a restarted
agent finds what runs, what ended and what it has said about it already.
"""

from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from events.manifests import RunSpec, Text
from trainer.training.job.outcome import RunOutcome
from trainer.training.settings import JobSettings

DEADLINE_EXCEEDED = "DeadlineExceeded"
"""Kubernetes' own word for a Job that was stopped because it took too long."""


class TrainingRun(BaseModel):
    """One run to be started: all that its process, and later reports about it, need."""

    model_config = ConfigDict(frozen=True)

    spec: RunSpec
    snapshot_key: Text
    surveys: int = Field(ge=1)
    correlation_id: Text

    @property
    def id(self) -> str:
        """The run's name."""
        return self.spec.run_id


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Announced(IntEnum):
    """How much of a run's story is on the bus."""

    NOTHING = 0
    START = 1
    END = 2


class RunStatus(BaseModel):
    """What a runner knows about one run."""

    model_config = ConfigDict(frozen=True)

    run: TrainingRun
    state: RunState
    exit_code: int | None = None
    """Of the last attempt; None while it runs, or if a deadline or a signal ended it."""
    reason: str | None = None
    """Why it failed if no exit code says so, in Kubernetes' words, such as DeadlineExceeded."""
    outcome: RunOutcome | None = None
    """The note that the training process left; None if it could not."""
    log_tail: tuple[str, ...] = ()
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    announced: Announced = Announced.NOTHING
    template: str = ""
    """The runner's `Runner.template` when it was started."""
    start: str = ""
    """Names this very start of the run: one that ended may be started again."""

    @property
    def active(self) -> bool:
        """Whether it still has an end to come."""
        return self.state in {RunState.PENDING, RunState.RUNNING}


class JobTemplate(BaseModel):
    """What every run's process is told, whatever the run."""

    model_config = ConfigDict(frozen=True)

    artifact_bucket: Text
    image: Text
    data_endpoint_url: str | None = None
    data_profile: str | None = None
    data_ca_bundle: str | None = None

    def settings(self, run: TrainingRun, attempt: str, note: Path | None) -> JobSettings:
        """What the process of one attempt at one run is told.

        Args:
            run: the run.
            attempt: unique per attempt, such as the pod's name.
            note: where the process leaves its outcome; None for the place Kubernetes provides.
        """
        return JobSettings(
            site=run.spec.site,
            run_id=run.id,
            run_spec=run.spec,
            snapshot=run.snapshot_key,
            artifact_bucket=self.artifact_bucket,
            attempt=attempt,
            image=self.image,
            correlation_id=run.correlation_id,
            termination_log=note,
            data_endpoint_url=self.data_endpoint_url,
            data_profile=self.data_profile,
            data_ca_bundle=self.data_ca_bundle,
        )


class Runner(Protocol):
    """Runs training somewhere; every method may raise `trainer.agent.errors.RunnerError`."""

    @property
    def template(self) -> str:
        """Names what runs are started with besides their data: image, resources, limits.

        A run that failed under another one is worth another start.
        """

    def start(self, run: TrainingRun) -> None:
        """Start a run, durably; a run that is known already stays as it is."""

    def runs(self) -> tuple[RunStatus, ...]:
        """Every run that is known, whether it runs or has ended."""

    def mark_announced(self, run_id: str, announced: Announced) -> None:
        """Remember durably how much of a run's story has been told."""

    def forget(self, run_id: str) -> None:
        """Drop an ended run, so that it can be started again; unknown or active ones stay."""

    def close(self) -> None:
        """Let go of everything before the agent exits."""
