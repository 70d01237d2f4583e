"""The interface of a runner, and what every training process gets from the agent's settings.

A runner keeps its state where it survives the agent: in the cluster, or on disk. So a restarted
agent finds the active runs, the ended ones and what it has reported about them.
"""

from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from events.manifests import Text
from trainer.agent.core.runs import Announced, RunStatus, TrainingRun
from trainer.training.settings import JobSettings


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
