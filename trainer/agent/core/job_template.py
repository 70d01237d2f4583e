"""What every training process gets from the agent's settings, whatever its run. Pure."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from events.manifests import Text
from trainer.agent.core.runs import TrainingRun
from trainer.training.settings import JobSettings


class JobTemplate(BaseModel):
    """The part of a training process's settings that all runs share."""

    model_config = ConfigDict(frozen=True)

    artifact_bucket: Text
    image: Text
    data_endpoint_url: str | None = None
    data_profile: str | None = None
    data_ca_bundle: str | None = None

    def settings(self, run: TrainingRun, attempt: str, note: Path | None) -> JobSettings:
        """The settings of the process of one attempt at one run.

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
