"""Puts together what the agent uses of a cluster, from its settings."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from structlog.typing import FilteringBoundLogger

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
"""What the pods are told of the agent's own environment; nothing here is a secret."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster, and what is told to its pods."""

    api: Api
    pods: PodTemplate
    aws: Mapping[str, str]
    lease: LeaderLease | None

    def runner(
        self, settings: AgentSettings, artifact_bucket: str, log: FilteringBoundLogger
    ) -> KubernetesRunner:
        """The runner that starts Jobs here."""
        return KubernetesRunner(
            api=self.api,
            pods=self.pods,
            limits=settings.job_limits,
            job_template=settings.job_template(artifact_bucket, self.pods.image),
            aws=self.aws,
            log=log,
        )

    def watch(
        self, on_change: Callable[[], None], stop: Event, log: FilteringBoundLogger
    ) -> JobWatch:
        """A watch on our Jobs."""
        return JobWatch(self.api, on_change, stop, log)


def find_cluster(
    settings: AgentSettings,
    environment: Mapping[str, str],
    stop: Event,
    on_trouble: Callable[[], None],
    log: FilteringBoundLogger,
) -> Cluster:
    """Find the cluster that the settings and the environment point at; calls nobody yet.

    Raises:
        ConfigurationError: there is none, or the pod template can't be used.
    """
    access = find_access(environment, settings.namespace)
    return Cluster(
        api=Api(access, stop.wait, on_trouble=on_trouble),
        pods=read_pod_template(settings.pod_template),
        aws={name: environment[name] for name in _FOR_PODS if name in environment},
        lease=_lease(settings, access, stop, log),
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
