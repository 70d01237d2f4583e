"""Training runs and their states, shaped after Kubernetes Jobs. Pure."""

from enum import IntEnum, StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from events.manifests import RunSpec, Text
from trainer.training.job.outcome import RunOutcome

DEADLINE_EXCEEDED = "DeadlineExceeded"
"""Kubernetes' own word for a Job that was stopped because it took too long."""


class TrainingRun(BaseModel):
    """A run to start, with all that its process and its reports need."""

    model_config = ConfigDict(frozen=True)

    spec: RunSpec
    snapshot_key: Text
    surveys: int = Field(ge=1)
    correlation_id: Text

    @property
    def id(self) -> str:
        """The run's id."""
        return self.spec.run_id


class RunState(StrEnum):
    """The state of a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Announced(IntEnum):
    """How much of a run has been reported on the bus."""

    NOTHING = 0
    START = 1
    END = 2


class RunStatus(BaseModel):
    """The status of one run."""

    model_config = ConfigDict(frozen=True)

    run: TrainingRun
    state: RunState
    exit_code: int | None = None
    """The last attempt's; None while it runs, or if a deadline or a signal ended it."""
    reason: str | None = None
    """Why it failed if no exit code shows it, in Kubernetes' words, such as DeadlineExceeded."""
    outcome: RunOutcome | None = None
    """The note that the training process left; None if it could not."""
    log_tail: tuple[str, ...] = ()
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    announced: Announced = Announced.NOTHING
    template: str = ""
    """The runner's template when it was started."""
    start: str = ""
    """Identifies this start of the run, as an ended run may be started again."""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in {RunState.PENDING, RunState.RUNNING}
