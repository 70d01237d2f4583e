"""What the agent is told, by environment variables that start with ``RSSI_``.

Physical names come one by one or, all at once, from the stack's SSM parameter; a name that is given
on its own wins over the parameter's.
"""

import math
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from aws.clients import DataStore
from events.manifests import Text
from events.names import Site
from events.stack import Stack
from trainer.agent.core.reconcile import Recipe, SchedulingPolicy
from trainer.agent.errors import ConfigurationError
from trainer.agent.runners.limits import JobLimits
from trainer.agent.runners.process.runner import ProcessLimits
from trainer.agent.runners.runner import JobTemplate
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.settings import TRAINER_VERSION

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AgentResources(NamedTuple):
    """Where the agent finds what it works on."""

    data_bucket: str
    artifact_bucket: str
    bus: str
    queue_url: str | None
    """Without a queue the agent only looks at every resync."""
    sites: frozenset[str] = frozenset()
    """The only sites to look after; empty for all."""


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
    """The only sites to look after, as a JSON list; empty for those of the stack's parameter, or
    for every site in the data bucket."""
    quiet_period_s: Seconds = 20.0
    """How long nothing must have been uploaded before a site is trained. A thousand uploads in a
    minute, over twenty sites, leave no gap of so long, and so make one run a site, or two."""
    longest_wait_s: Seconds = 300.0
    resync_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    retry_after_s: Seconds = 300.0
    """When a run that only the network kept from succeeding is started once more."""
    max_parallel_runs: Annotated[int, Field(ge=1)] = 1
    runner: Literal["process", "kubernetes"] = "process"
    """Where training runs: as a process beside the agent, or as a Job in the cluster."""
    namespace: Text | None = None
    """The Jobs' namespace; the pod's own, or the kubeconfig's, if not given."""
    pod_template: Path = Path("/etc/rssi-agent/pod-template.yaml")
    job_keep_s: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    """How long an ended Job is kept: longer than the agent may ever be away."""
    lease: Text | None = None
    """Name of the Lease that replicas share; without one, this agent acts alone."""
    lease_duration_s: Annotated[float, Field(ge=1)] = 15.0
    """How long after its last renewal a leader that died is waited for."""
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
    """Certificates of the authority that this store's certificate is from, if it is an own one."""
    work_dir: Path = Path("runs")

    @property
    def policy(self) -> SchedulingPolicy:
        """How patient the agent is."""
        return SchedulingPolicy(
            quiet_period=timedelta(seconds=self.quiet_period_s),
            longest_wait=timedelta(seconds=self.longest_wait_s),
            retry_after=timedelta(seconds=self.retry_after_s),
            max_parallel_runs=self.max_parallel_runs,
        )

    @property
    def limits(self) -> ProcessLimits:
        """What a run is allowed."""
        return ProcessLimits(backoff_limit=self.backoff_limit, deadline_s=self.deadline_s)

    @property
    def job_limits(self) -> JobLimits:
        """What a run's Job is allowed."""
        return JobLimits(
            backoff_limit=self.backoff_limit,
            deadline_s=math.ceil(self.deadline_s),
            keep_s=self.job_keep_s,
        )

    @property
    def data_store(self) -> DataStore:
        """Where the surveys are."""
        return DataStore(
            endpoint_url=self.data_endpoint_url,
            profile=self.data_profile,
            ca_bundle=str(self.data_ca_bundle) if self.data_ca_bundle else None,
        )

    def job_template(self, artifact_bucket: str, image: str) -> JobTemplate:
        """What every run's process is told."""
        return JobTemplate(
            artifact_bucket=artifact_bucket,
            image=image,
            data_endpoint_url=self.data_store.endpoint_url,
            data_profile=self.data_store.profile,
            data_ca_bundle=self.data_store.ca_bundle,
        )

    def recipe(self) -> Recipe:
        """What, besides the data, decides what is trained.

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
        """Put together what is named here and what the stack's parameter says.

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
