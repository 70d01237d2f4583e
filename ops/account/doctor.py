"""Checks whether the on-prem agent has all that it needs, and says how to mend what it lacks.

Uses the agent's own settings, credentials and clients, and leaves nothing behind: permission to
write is tested by uploads that are aborted and by an event that no bus accepts.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, ValidationError

from aws.clients import Clients
from aws.event_publisher import BusEntry, EventPublisher, PublishingError
from events.names import snapshot_key
from events.outbound import EventSource
from events.stack import Stack
from ops.account.agent import agent_environment, agent_settings
from ops.errors import OpsError, UsageError
from trainer.agent.errors import AgentError
from trainer.agent.runners.factory import RunnerContext
from trainer.agent.runners.kubernetes.cluster import Cluster, open_backend
from trainer.agent.runners.kubernetes.permissions import (
    NEEDED,
    NEEDED_TO_LEAD,
    Needed,
    is_allowed,
)
from trainer.agent.runners.kubernetes.runner import BATCH
from trainer.agent.runners.kubernetes.shapes import Job
from trainer.agent.settings import AgentResources, AgentSettings

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.literals import QueueAttributeFilterType

_PROBE_SITE = "doctor"
_CHECK_ERRORS = (ClientError, BotoCoreError, AgentError, PublishingError, ValidationError)


class CheckStatus(StrEnum):
    """How one check ended."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    MISSING = "missing"


class CheckResult(BaseModel):
    """What one check found, and how to mend it if it is not good."""

    model_config = ConfigDict(frozen=True)

    what: str
    health: CheckStatus
    seen: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class _Check:
    what: str
    mend: str
    look: Callable[[], str]
    """Returns what it saw; raises what is wrong."""

    def run(self) -> CheckResult:
        try:
            return CheckResult(what=self.what, health=CheckStatus.GOOD, seen=self.look())
        except _DoubtfulError as doubt:
            return CheckResult(
                what=self.what, health=CheckStatus.DOUBTFUL, seen=str(doubt), mend=self.mend
            )
        except _CHECK_ERRORS as error:
            return CheckResult(
                what=self.what, health=CheckStatus.MISSING, seen=str(error), mend=self.mend
            )


class _DoubtfulError(Exception):
    """Something works, but is not as it should be."""


class Doctor:
    """Checks what the agent would use, one thing after the other.

    Args:
        settings: the agent's settings.
        environment: the process's environment variables.
        clients: the agent's AWS clients.
    """

    def __init__(
        self, settings: AgentSettings, environment: Mapping[str, str], clients: Clients
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._clients = clients
        self._resources: AgentResources | None = None
        self._cluster: Cluster | None = None

    def check(self) -> Iterator[CheckResult]:
        """Run all checks; those that depend on something missing are left out."""
        yield self._identity().run()
        yield _Check(
            "settings",
            "set RSSI_STACK_PARAMETER, or RSSI_DATA_BUCKET, RSSI_ARTIFACT_BUCKET and RSSI_BUS; "
            "`rssi doctor` uses the same variables as the agent",
            self._look_up_names,
        ).run()
        if self._resources is not None:
            yield from (check.run() for check in self._aws_checks(self._resources))
        if self._settings.runner == "kubernetes":
            yield _Check(
                "cluster",
                "mount the pod template and set KUBECONFIG, or run this in the agent's pod: "
                "kubectl -n rssi exec deploy/rssi-agent -- ...",
                self._find_cluster,
            ).run()
            if self._cluster is not None:
                yield from (check.run() for check in self._cluster_checks(self._cluster))

    def _identity(self) -> _Check:
        def look() -> str:
            known = self._clients.credentials()
            arn = str(self._clients.client("sts").get_caller_identity()["Arn"])
            if known.static and "AWS_ENDPOINT_URL" not in self._environment:
                raise _DoubtfulError(f"{arn}, with keys that never expire")
            until = f", until {known.expires_at:%Y-%m-%d %H:%M} UTC" if known.expires_at else ""
            return f"{arn}{until}"

        return _Check(
            "identity",
            "use IAM Roles Anywhere (credential_process in AWS_CONFIG_FILE) or a web identity; "
            "see trainer/deploy/overlays",
            look,
        )

    def _look_up_names(self) -> str:
        parameter = self._settings.stack_parameter
        stack = None
        if parameter:
            answer = self._clients.client("ssm").get_parameter(Name=parameter)
            stack = Stack.model_validate_json(answer["Parameter"]["Value"])
        self._settings.recipe()
        self._resources = self._settings.resources(stack)
        return f"from {parameter}" if parameter else "from variables"

    def _aws_checks(self, resources: AgentResources) -> Iterator[_Check]:
        data = self._clients.data_client(self._settings.data_store)
        artifacts = self._clients.client("s3")
        policy = "attach the stack's agent policy to the role"
        yield _Check(
            "data bucket",
            f"{policy}: s3:ListBucket; for a store other than S3 check RSSI_DATA_ENDPOINT_URL, "
            "RSSI_DATA_PROFILE and RSSI_DATA_CA_BUNDLE",
            lambda: _list(data, resources.data_bucket, resources.sites),
        )
        yield _Check(
            "artifact bucket, reading",
            f"{policy}: s3:ListBucket and s3:GetObject on sites/",
            lambda: _list(artifacts, resources.artifact_bucket, resources.sites),
        )
        yield _Check(
            "artifact bucket, writing",
            f"{policy}: s3:PutObject and s3:AbortMultipartUpload on sites/*/releases and so on",
            lambda: _begin_upload(artifacts, resources.artifact_bucket, resources.sites),
        )
        yield _Check(
            "bus",
            f"{policy}: events:PutEvents for the source {EventSource.AGENT.value}",
            lambda: _put_unacceptable(self._clients.client("events"), resources.bus),
        )
        yield _Check(
            "queue",
            f"{policy}: sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility. "
            "Without a queue surveys are found at each resync",
            lambda: _look_at_queue(self._clients.client("sqs"), resources.queue_url),
        )

    def _find_cluster(self) -> str:
        context = RunnerContext(self._settings, self._environment, Event(), structlog.get_logger())
        self._cluster = cluster = open_backend(context)
        host = cluster.api.access.client.configuration.host
        return f"{host}, namespace {cluster.api.namespace}, image {cluster.pods.image}"

    def _cluster_checks(self, cluster: Cluster) -> Iterator[_Check]:
        apply = "kubectl apply -k trainer/deploy/overlays/..., which grants the role rssi-agent"
        yield _Check("Jobs", apply, lambda: _list_jobs(cluster))
        lease = self._settings.lease
        for needed in NEEDED:
            yield _Check(f"may {needed}", apply, partial(_may, cluster, needed, ""))
        for needed in NEEDED_TO_LEAD if lease else ():
            yield _Check(
                f"may {needed}",
                apply,
                partial(_may, cluster, needed, lease or ""),
            )


def check_agent(stage: str) -> Iterator[CheckResult]:
    """Check the agent that this process's environment describes.

    Args:
        stage: where to look names up that the environment does not give.

    Raises:
        OpsError: the agent's settings can't be used, so nothing can be checked.
    """
    try:
        settings = agent_settings(agent_environment(stage))
    except UsageError as error:  # not the words of the command: the environment
        raise OpsError(str(error)) from error
    yield from Doctor(settings, os.environ, Clients()).check()


def _list(client: "S3Client", bucket: str, sites: Collection[str]) -> str:
    """List as the agent would: all sites, or each of its own."""
    for site in sorted(sites):
        client.list_objects_v2(Bucket=bucket, Prefix=f"sites/{site}/", MaxKeys=1)
    if sites:
        return f"{bucket}, for {', '.join(sorted(sites))}"
    answer = client.list_objects_v2(Bucket=bucket, Prefix="sites/", Delimiter="/", MaxKeys=1000)
    return f"{bucket}, {len(answer.get('CommonPrefixes', ()))} sites"


def _begin_upload(client: "S3Client", bucket: str, sites: Collection[str]) -> str:
    for site in sorted(sites) or (_PROBE_SITE,):
        key = snapshot_key(site, "0" * 64)
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    return bucket


def _put_unacceptable(client: "EventBridgeClient", bus: str) -> str:
    """Put an event whose detail is no JSON: with the permission, that is the only complaint."""
    publisher = EventPublisher(client, bus, EventSource.AGENT.value, attempts=1)
    try:
        publisher.publish([BusEntry("Probe", "{")])
    except PublishingError as error:
        if [refused.code for refused in error.refused] == ["MalformedDetail"]:
            return bus
        raise
    raise AgentError(f"{bus} accepted an event that is no JSON")


def _look_at_queue(client: "SQSClient", url: str | None) -> str:
    if url is None:
        raise _DoubtfulError("there is none")
    wanted: list[QueueAttributeFilterType] = ["ApproximateNumberOfMessages", "RedrivePolicy"]
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    if "RedrivePolicy" not in found:
        raise _DoubtfulError(f"{url} has no dead-letter queue")
    return f"{url}, {found['ApproximateNumberOfMessages']} messages"


def _list_jobs(cluster: Cluster) -> str:
    jobs, _ = cluster.api.list(Job, cluster.api.path(BATCH, "jobs"))
    return f"{len(jobs)} in the namespace"


def _may(cluster: Cluster, needed: Needed, name: str) -> str:
    if not is_allowed(cluster.api, needed, name):
        raise AgentError("not allowed")
    return "allowed"
