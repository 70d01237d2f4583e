"""Makes what the agent uses of a cluster from its settings."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from structlog.typing import FilteringBoundLogger

from trainer.agent.runners.factory import RunnerContext
from trainer.agent.runners.kubernetes.access import Access, find_access
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.lease import LeaderLease, LeaseTimes
from trainer.agent.runners.kubernetes.runner import KubernetesRunner
from trainer.agent.runners.kubernetes.template import PodTemplate, read_pod_template
from trainer.agent.runners.kubernetes.watch import JobWatch
from trainer.agent.settings import AgentSettings

_LEASE_TIMEOUT_S = (2.0, 3.0)
"""A renewal that hangs must not outlast the lease."""
_FOR_PODS = (
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_DISABLED"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
)
"""What the pods get of the agent's own environment; nothing here is a secret."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of a cluster; a `RunnerBackend`."""

    api: Api
    pods: PodTemplate
    aws: Mapping[str, str]
    """``AWS_*`` variables for the pods, without secrets."""
    election: LeaderLease | None
    settings: AgentSettings
    on_change: Callable[[], None]
    log: FilteringBoundLogger

    def make_runner(self, artifact_bucket: str) -> KubernetesRunner:
        """Make the runner that starts Jobs here."""
        return KubernetesRunner(
            api=self.api,
            pods=self.pods,
            limits=self.settings.job_limits,
            job_template=self.settings.job_template(artifact_bucket, self.pods.image),
            aws=self.aws,
            log=self.log,
        )

    def watcher(self, stop: Event) -> Callable[[], None]:
        """A watch on the agent's Jobs."""
        return JobWatch(self.api, self.on_change, stop, self.log).run


def open_backend(context: RunnerContext) -> Cluster:
    """Find the cluster that the settings and the environment point at; sends no request yet.

    Raises:
        ConfigurationError: there is none, or the pod template can't be used.
    """
    settings, stop, log = context.settings, context.stop, context.log
    access = find_access(context.environment, settings.namespace)
    return Cluster(
        api=Api(access, stop.wait, on_failure=context.on_failure),
        pods=read_pod_template(settings.pod_template),
        aws={name: context.environment[name] for name in _FOR_PODS if name in context.environment},
        election=_lease(settings, access, stop, log),
        settings=settings,
        on_change=context.on_change,
        log=log,
    )


def _lease(
    settings: AgentSettings, access: Access, stop: Event, log: FilteringBoundLogger
) -> LeaderLease | None:
    if settings.lease is None:
        return None
    return LeaderLease(
        api=Api(access, stop.wait, attempts=1, timeout_s=_LEASE_TIMEOUT_S),
        name=settings.lease,
        identity=settings.identity,
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        log=log,
        times=LeaseTimes.of(settings.lease_duration_s),
    )
