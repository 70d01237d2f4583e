"""The agent's settings, from environment variables that start with ``RSSI_``.

Physical names come one by one or, all at once, from the stack's SSM parameter; a single name wins
over the parameter's.
"""

import math
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aws.clients import DataStore
from events.manifests import Text
from events.names import Site
from events.stack import Stack
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import JobLimits, ProcessLimits
from trainer.agent.core.reconcile import Recipe, SchedulingPolicy
from trainer.agent.errors import ConfigurationError
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.settings import TRAINER_VERSION

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RUNNERS: Mapping[str, str] = {
    "process": "trainer.agent.runners.process.backend",
    "kubernetes": "trainer.agent.runners.kubernetes.cluster",
}
"""Runners by name, with the module whose ``open_backend`` makes them: as processes beside the
agent, or as Jobs in the cluster. A new runner is one package and one line here."""


class AgentResources(NamedTuple):
    """The stack's resources that the agent uses."""

    data_bucket: str
    artifact_bucket: str
    bus: str
    queue_url: str | None
    """Without a queue the agent only observes sites at every resync."""
    sites: frozenset[str] = frozenset()
    """The only sites to care for; empty for all."""


class AgentSettings(BaseSettings):
    """The agent's settings; times in seconds."""

    model_config = SettingsConfigDict(env_prefix="RSSI_", frozen=True, extra="ignore")

    stack_parameter: Text | None = None
    """Name of the SSM parameter that holds the stack's names."""
    data_bucket: Text | None = None
    artifact_bucket: Text | None = None
    bus: Text | None = None
    queue_url: Text | None = None
    sites: frozenset[Site] = frozenset()
    """The only sites to care for, as a JSON list; empty for those of the stack's parameter, or
    for every site in the data bucket."""
    quiet_period_s: Seconds = 20.0
    """How long nothing must have been uploaded before a site is trained. A thousand uploads in a
    minute, over twenty sites, leave no gap of that length, and so make one run per site, or two."""
    longest_wait_s: Seconds = 300.0
    resync_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    retry_after_s: Seconds = 300.0
    """How long after its end a run that failed only because of the network is started again."""
    max_parallel_runs: Annotated[int, Field(ge=1)] = 1
    runner: Text = "process"
    """Where training runs, a name in `RUNNERS`."""
    namespace: Text | None = None
    """The Jobs' namespace; the pod's own, or the kubeconfig's, if not given."""
    pod_template: Path = Path("/etc/rssi-agent/pod-template.yaml")
    job_keep_s: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    """How long an ended Job is kept: longer than the agent may ever be absent."""
    lease: Text | None = None
    """Name of the Lease that replicas share; without one, this agent acts alone."""
    lease_duration_s: Annotated[float, Field(ge=1)] = 15.0
    """How long after its last renewal a dead leader's lease holds."""
    identity: Text = Field(default_factory=socket.gethostname)
    """Unique among replicas; a pod's host name is its own."""
    health_address: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Port of /healthz, /readyz and /metrics; nothing listens if not given."""
    deadline_s: Annotated[float, Field(gt=0, le=86_400)] = 3600.0
    backoff_limit: Annotated[int, Field(ge=0)] = 2
    trainer_image: Text = "process"
    hyperparameters_file: Path | None = None
    data_endpoint_url: Text | None = None
    """Address of the store that holds the surveys, if that is not AWS's S3."""
    data_profile: Text | None = None
    data_ca_bundle: Path | None = None
    """Certificates of the authority that issued this store's certificate, if private."""
    work_dir: Path = Path("runs")

    @field_validator("runner")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in RUNNERS:
            raise ValueError(f"it must be one of {', '.join(RUNNERS)}")
        return value

    @property
    def policy(self) -> SchedulingPolicy:
        """When runs are started."""
        return SchedulingPolicy(
            quiet_period=timedelta(seconds=self.quiet_period_s),
            longest_wait=timedelta(seconds=self.longest_wait_s),
            retry_after=timedelta(seconds=self.retry_after_s),
            max_parallel_runs=self.max_parallel_runs,
        )

    @property
    def limits(self) -> ProcessLimits:
        """The limits of a run in processes."""
        return ProcessLimits(backoff_limit=self.backoff_limit, deadline_s=self.deadline_s)

    @property
    def job_limits(self) -> JobLimits:
        """The limits of a run's Job."""
        return JobLimits(
            backoff_limit=self.backoff_limit,
            deadline_s=math.ceil(self.deadline_s),
            keep_s=self.job_keep_s,
        )

    @property
    def data_store(self) -> DataStore:
        """The store of the surveys."""
        return DataStore(
            endpoint_url=self.data_endpoint_url,
            profile=self.data_profile,
            ca_bundle=str(self.data_ca_bundle) if self.data_ca_bundle else None,
        )

    def job_template(self, artifact_bucket: str, image: str) -> JobTemplate:
        """The part of a training process's settings that all runs share."""
        return JobTemplate(
            artifact_bucket=artifact_bucket,
            image=image,
            data_endpoint_url=self.data_store.endpoint_url,
            data_profile=self.data_store.profile,
            data_ca_bundle=self.data_store.ca_bundle,
        )

    def recipe(self) -> Recipe:
        """Everything besides the data that determines a run.

        Raises:
            ConfigurationError: the hyperparameters' file can't be used.
        """
        return Recipe(TRAINER_VERSION, self._hyperparameters().model_dump())

    def _hyperparameters(self) -> Hyperparameters:
        if self.hyperparameters_file is None:
            return Hyperparameters()
        try:
            return Hyperparameters.model_validate_json(self.hyperparameters_file.read_bytes())
        except (OSError, ValidationError) as error:
            raise ConfigurationError(
                f"RSSI_HYPERPARAMETERS_FILE can't be used, correct it or leave it out: {error}"
            ) from error

    def resources(self, stack: Stack | None) -> AgentResources:
        """Combine the names in these settings with those of the stack's parameter.

        Raises:
            ConfigurationError: a name is in neither.
        """
        return AgentResources(
            data_bucket=self.data_bucket or _of(stack, "data_bucket"),
            artifact_bucket=self.artifact_bucket or _of(stack, "artifact_bucket"),
            bus=self.bus or _of(stack, "bus"),
            queue_url=self.queue_url or (stack.queue_url if stack else None),
            sites=self.sites or frozenset(stack.sites if stack else ()),
        )


def _of(stack: Stack | None, name: str) -> str:
    if stack is None:
        raise ConfigurationError(
            f"the agent does not know its {name}: set RSSI_{name.upper()}, or "
            "RSSI_STACK_PARAMETER to the name of the SSM parameter that describes the stack"
        )
    return str(getattr(stack, name))
