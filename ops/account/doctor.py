"""`rssi doctor`: looks whether the agent has all it needs, and says how to mend what it lacks.

Asks with the agent's own settings, credentials and clients, and leaves nothing behind: whether it
may write is found out by uploads that are given up, and by an event that no bus takes.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from aws.clients import Clients
from aws.event_publisher import BusEntry, EventPublisher, PublishingError
from events.names import snapshot_key
from events.outbound import EventSource
from events.stack import Stack
from ops.cli.agent import agent_environment
from ops.errors import OpsError
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
    from botocore.client import BaseClient
    from types_boto3_events import EventBridgeClient

_PROBE_SITE = "doctor"
_TROUBLES = (ClientError, BotoCoreError, AgentError, PublishingError, ValidationError)


class Health(StrEnum):
    """How it is with one thing."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    MISSING = "missing"


class CheckResult(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)

    what: str
    health: Health
    seen: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class _Check:
    what: str
    mend: str
    look: Callable[[], str]
    """Tells what it saw; raises what is wrong."""

    def finding(self) -> CheckResult:
        try:
            return CheckResult(what=self.what, health=Health.GOOD, seen=self.look())
        except _DoubtfulError as doubt:
            return CheckResult(
                what=self.what, health=Health.DOUBTFUL, seen=str(doubt), mend=self.mend
            )
        except _TROUBLES as error:
            return CheckResult(
                what=self.what, health=Health.MISSING, seen=str(error), mend=self.mend
            )


class _DoubtfulError(Exception):
    """Something works and should be otherwise."""


class Doctor:
    """Looks at what the agent would use.

    Args:
        settings: the agent's settings.
        environment: the process's environment variables.
        clients: what asks AWS.
    """

    def __init__(
        self, settings: AgentSettings, environment: Mapping[str, str], clients: Clients
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._clients = clients

    def findings(self) -> Iterator[CheckResult]:
        """Look at one thing after the other; what rests on something that is missing is left."""
        yield self._identity().finding()
        places: list[AgentResources] = []
        yield _Check(
            "settings",
            "set RSSI_STACK_PARAMETER, or RSSI_DATA_BUCKET, RSSI_ARTIFACT_BUCKET and RSSI_BUS; "
            "`rssi doctor` uses the same variables as the agent",
            lambda: self._settle(places),
        ).finding()
        for found in places:
            yield from (check.finding() for check in self._of_aws(found))
        if self._settings.runner == "kubernetes":
            clusters: list[Cluster] = []
            yield _Check(
                "cluster",
                "mount the pod template and set KUBECONFIG, or run this in the agent's pod: "
                "kubectl -n rssi exec deploy/rssi-agent -- ...",
                lambda: self._find_cluster(clusters),
            ).finding()
            for cluster in clusters:
                yield from (check.finding() for check in self._of_cluster(cluster))

    def _identity(self) -> _Check:
        def look() -> str:
            known = self._clients.credentials()
            who = str(self._clients.client("sts").get_caller_identity()["Arn"])
            if known.static and "AWS_ENDPOINT_URL" not in self._environment:
                raise _DoubtfulError(f"{who}, with keys that never expire")
            until = f", until {known.expires_at:%Y-%m-%d %H:%M} UTC" if known.expires_at else ""
            return f"{who}{until}"

        return _Check(
            "identity",
            "use IAM Roles Anywhere (credential_process in AWS_CONFIG_FILE) or a web identity; "
            "see trainer/deploy/overlays",
            look,
        )

    def _settle(self, places: list[AgentResources]) -> str:
        parameter = self._settings.stack_parameter
        stack = None
        if parameter:
            answer = self._clients.client("ssm").get_parameter(Name=parameter)
            stack = Stack.model_validate_json(answer["Parameter"]["Value"])
        self._settings.recipe()
        places.append(self._settings.resources(stack))
        return f"from {parameter}" if parameter else "from variables"

    def _of_aws(self, places: AgentResources) -> Iterator[_Check]:
        data = self._clients.data_client(self._settings.data_store)
        artifacts, policy = (
            self._clients.client("s3"),
            "attach the stack's agent policy to the role",
        )
        yield _Check(
            "data bucket",
            f"{policy}: s3:ListBucket; for a store of your own check RSSI_DATA_ENDPOINT_URL, "
            "RSSI_DATA_PROFILE and RSSI_DATA_CA_BUNDLE",
            lambda: _list(data, places.data_bucket, places.sites),
        )
        yield _Check(
            "artifact bucket, reading",
            f"{policy}: s3:ListBucket and s3:GetObject on sites/",
            lambda: _list(artifacts, places.artifact_bucket, places.sites),
        )
        yield _Check(
            "artifact bucket, writing",
            f"{policy}: s3:PutObject and s3:AbortMultipartUpload on sites/*/releases and the like",
            lambda: _begin_upload(artifacts, places.artifact_bucket, places.sites),
        )
        yield _Check(
            "bus",
            f"{policy}: events:PutEvents for the source {EventSource.AGENT.value}",
            lambda: _put_unacceptable(self._clients.client("events"), places.bus),
        )
        yield _Check(
            "queue",
            f"{policy}: sqs:ReceiveMessage and its kin. Without a queue surveys are found all the "
            "same, at each resync",
            lambda: _look_at_queue(self._clients.client("sqs"), places.queue_url),
        )

    def _find_cluster(self, clusters: list[Cluster]) -> str:
        context = RunnerContext(self._settings, self._environment, Event(), structlog.get_logger())
        cluster = open_backend(context)
        host = cluster.api.access.client.configuration.host
        clusters.append(cluster)
        return f"{host}, namespace {cluster.api.namespace}, image {cluster.pods.image}"

    def _of_cluster(self, cluster: Cluster) -> Iterator[_Check]:
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


def run_doctor(console: Console) -> list[CheckResult]:
    """Look at everything, print it as it comes, and return it.

    Raises:
        OpsError: the settings can't be used, so nothing can be looked at.
    """
    os.environ.update(agent_environment(os.environ.get("RSSI_STAGE", "dev")))
    try:
        settings = AgentSettings()
    except ValidationError as error:
        raise OpsError(f"The agent's settings can't be used: {error}") from error
    findings = []
    for finding in Doctor(settings, os.environ, Clients()).findings():
        findings.append(finding)
        _print(console, finding)
    return findings


def complain(findings: Sequence[CheckResult]) -> None:
    """Fail if the agent can't work with what was found.

    Raises:
        OpsError: something that it can't do without is missing.
    """
    missing = sum(finding.health is Health.MISSING for finding in findings)
    if missing:
        raise OpsError(f"{missing} of {len(findings)} things that the agent needs are missing.")


def _print(console: Console, finding: CheckResult) -> None:
    mark, style = {
        Health.GOOD: ("ok", "green"),
        Health.DOUBTFUL: ("but", "yellow"),
        Health.MISSING: ("no", "red"),
    }[finding.health]
    console.print(f"[{style}]{mark:>3}[/] [bold]{finding.what}[/]", end="  ")
    console.print(finding.seen, markup=False, highlight=False)
    if finding.mend:
        console.print(f"    to mend it: {finding.mend}", markup=False, highlight=False)


def _list(client: "BaseClient", bucket: str, sites: Collection[str]) -> str:
    """List what the agent would: all sites, or each of those that it is for."""
    for site in sorted(sites):
        client.list_objects_v2(Bucket=bucket, Prefix=f"sites/{site}/", MaxKeys=1)
    if sites:
        return f"{bucket}, for {', '.join(sorted(sites))}"
    answer = client.list_objects_v2(Bucket=bucket, Prefix="sites/", Delimiter="/", MaxKeys=1000)
    return f"{bucket}, {len(answer.get('CommonPrefixes', ()))} sites"


def _begin_upload(client: "BaseClient", bucket: str, sites: Collection[str]) -> str:
    for site in sorted(sites) or (_PROBE_SITE,):
        key = snapshot_key(site, "0" * 64)
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    return bucket


def _put_unacceptable(client: "EventBridgeClient", bus: str) -> str:
    """Put an event whose detail is no JSON: who may put events hears just that."""
    publisher = EventPublisher(client, bus, EventSource.AGENT.value, attempts=1)
    try:
        publisher.publish([BusEntry("Probe", "{")])
    except PublishingError as error:
        if [refused.code for refused in error.refused] == ["MalformedDetail"]:
            return bus
        raise
    raise AgentError(f"{bus} took an event that is no JSON")


def _look_at_queue(client: "BaseClient", url: str | None) -> str:
    if url is None:
        raise _DoubtfulError("there is none")
    wanted = ["ApproximateNumberOfMessages", "RedrivePolicy"]
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
