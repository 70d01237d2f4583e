"""Writes the Job of a run: its name, retries, limits and security. Pure.

The name is the run's id, so no run has two Jobs; and everything that reports need is in the Job's
annotations, so no database is needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import JobLimits
from trainer.agent.core.runs import TrainingRun
from trainer.agent.runners.kubernetes.shapes import JsonObject
from trainer.agent.runners.kubernetes.template import (
    SCRATCH,
    TOKEN_FOLDER,
    Files,
    PodTemplate,
    WebIdentity,
)
from trainer.training.job.outcome import FINAL_FAILURES

CONTAINER = "trainer"
TRAINING = ("python", "-m", "trainer.training")
DISTRIBUTED_TRAINING = ("python", "-m", "trainer.training.job.worker")
SUBDOMAIN = "rssi-workers"
"""The headless Service of trainer/deploy/components/workers."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "rssi-agent"
SITE_LABEL = "rssi-mlops/site"
RUN_LABEL = "rssi-mlops/run"
TEMPLATE_LABEL = "rssi-mlops/template"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
RUN_ANNOTATION = "rssi-mlops/training-run"
"""The `TrainingRun`, as JSON."""
ANNOUNCED_ANNOTATION = "rssi-mlops/announced"
"""How much of the run has been reported: `Announced`, as a number."""
ENDING_ANNOTATION = "rssi-mlops/ending"
"""How the run ended, as JSON: it outlives the pods and their logs."""
TROUBLE_ANNOTATION = "rssi-mlops/trouble"
"""What last kept the pod from running, as JSON: a deadline deletes the pods that show it."""

_USER_ID = 65532
"""The user of the image; restricted pods must not be root."""
_TOKEN_LIFETIME_S = 3600


def job_manifest(
    run: TrainingRun,
    pods: PodTemplate,
    limits: JobLimits,
    job_template: JobTemplate,
    aws: Mapping[str, str],
) -> JsonObject:
    """The Job of a run, as it is sent to the API server.

    Args:
        run: the run.
        pods: what the cluster's owner decides about the pods.
        limits: what the Job is allowed.
        job_template: the settings that all runs share.
        aws: ``AWS_*`` variables without secrets.
    """
    labels = _labels(run, pods)
    queue: dict[str, JsonValue] = {QUEUE_LABEL: pods.queue_name} if pods.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": run.id,
            "labels": {**labels, **queue},
            "annotations": {RUN_ANNOTATION: run.model_dump_json(), ANNOUNCED_ANNOTATION: "0"},
        },
        "spec": {
            **_extent(pods, limits),
            "activeDeadlineSeconds": limits.deadline_s,
            "ttlSecondsAfterFinished": limits.keep_s,
            # A pod that is being deleted may still train; another one beside it gains nothing.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules()[: 1 if pods.workers > 1 else None]},
            # Kueue resumes what is suspended. Until it does, or if it is absent, nothing starts.
            "suspend": pods.queue_name is not None,
            "template": {
                "metadata": {
                    "labels": {**labels},
                    **({"annotations": {**pods.annotations}} if pods.annotations else {}),
                },
                "spec": _trainer(run, pods, job_template, aws),
            },
        },
    }


def _labels(run: TrainingRun, pods: PodTemplate) -> dict[str, JsonValue]:
    return {
        "app.kubernetes.io/name": "rssi-trainer",
        MANAGED_BY: MANAGER,
        SITE_LABEL: run.spec.site,
        RUN_LABEL: run.id,
        TEMPLATE_LABEL: pods.digest,
    }


def _extent(pods: PodTemplate, limits: JobLimits) -> dict[str, JsonValue]:
    """How many pods there are, and how often one that fails is replaced."""
    if pods.workers == 1:
        return {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": limits.backoff_limit,
        }
    return {
        "completionMode": "Indexed",
        "completions": pods.workers,
        "parallelism": pods.workers,
        # A lost worker is not replaced: a new one does not have the others' parameters.
        "backoffLimit": 0,
    }


def _trainer(
    run: TrainingRun, pods: PodTemplate, job_template: JobTemplate, aws: Mapping[str, str]
) -> dict[str, JsonValue]:
    environment = [*_environment(run, pods, job_template, aws)]
    if pods.workers == 1:
        return pod_spec(pods, TRAINING, environment)
    group: list[JsonValue] = [
        {"name": "RSSI_WORKERS", "value": str(pods.workers)},
        {"name": "RSSI_MEETING_HOST", "value": f"{run.id}-0.{SUBDOMAIN}"},
        {
            "name": "RSSI_OWN_HOST",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}},
        },
    ]
    spec = pod_spec(pods, DISTRIBUTED_TRAINING, [*environment, *group])
    # With it, the pods of an Indexed Job have host names that the others can resolve.
    return {**spec, "subdomain": SUBDOMAIN}


def failure_rules() -> list[JsonValue]:
    """Fail the Job at once where another attempt can't help; don't count a drained node."""
    return [
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": [*map(int, FINAL_FAILURES)],
            },
        },
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]


def pod_spec(
    pods: PodTemplate, command: Sequence[str], environment: Iterable[JsonValue]
) -> dict[str, JsonValue]:
    """A pod with one container, as Pod Security's restricted profile and the template want it.

    Args:
        pods: what the cluster's owner decides about the pods.
        command: what the container runs.
        environment: its variables, see :func:`variables`.
    """
    chosen: dict[str, JsonValue] = {
        "imagePullSecrets": [{"name": name} for name in pods.image_pull_secrets],
        "nodeSelector": {**pods.node_selector},
        "tolerations": [
            toleration.model_dump(by_alias=True, exclude_none=True)
            for toleration in pods.tolerations
        ],
        "priorityClassName": pods.priority_class_name,
        "runtimeClassName": pods.runtime_class_name,
    }
    return {
        **{name: value for name, value in chosen.items() if value},
        "serviceAccountName": pods.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "fsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [*_volumes(pods)],
        "containers": [_container(pods, command, environment)],
    }


def _container(
    pods: PodTemplate, command: Sequence[str], environment: Iterable[JsonValue]
) -> dict[str, JsonValue]:
    secret: dict[str, JsonValue] = (
        {"envFrom": [{"secretRef": {"name": pods.credentials_secret}}]}
        if pods.credentials_secret
        else {}
    )
    return {
        "name": CONTAINER,
        "image": pods.image,
        "command": [*command],
        "env": [*environment],
        **secret,
        "resources": pods.resources.model_dump(mode="json"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # Where the process could not leave its note, the end of its log replaces it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(pods)],
    }


def _environment(
    run: TrainingRun, pods: PodTemplate, job_template: JobTemplate, aws: Mapping[str, str]
) -> Iterator[JsonValue]:
    settings = job_template.settings(run, attempt="of-the-pod", note=None).environment()
    del settings["RSSI_ATTEMPT"]
    yield from variables(pods, {**aws, **settings})
    # The uid, not the name: it is never reused, and becomes a part of object keys.
    yield {
        "name": "RSSI_ATTEMPT",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}},
    }


def variables(pods: PodTemplate, values: Mapping[str, str]) -> Iterator[JsonValue]:
    """A container's variables: ``values``, and what its identity and its disk need."""
    fixed = {**values, "HOME": SCRATCH}
    if pods.web_identity:
        fixed |= _web_identity_environment(pods.web_identity)
    for name, value in sorted(fixed.items()):
        yield {"name": name, "value": value}


def _web_identity_environment(identity: WebIdentity) -> dict[str, str]:
    return {
        "AWS_ROLE_ARN": identity.role_arn,
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
    }


def _volumes(pods: PodTemplate) -> Iterator[JsonValue]:
    yield {"name": "scratch", "emptyDir": {"sizeLimit": pods.scratch_size}}
    if pods.web_identity:
        token: JsonValue = {
            "audience": pods.web_identity.audience,
            "expirationSeconds": _TOKEN_LIFETIME_S,
            "path": "token",
        }
        yield {"name": "identity", "projected": {"sources": [{"serviceAccountToken": token}]}}
    for place, files in enumerate(pods.files):
        yield {"name": f"files-{place}", **_source(files)}


def _source(files: Files) -> dict[str, JsonValue]:
    if files.secret:
        # The group may read: the process is not root, and the files belong to root.
        return {"secret": {"secretName": files.secret, "defaultMode": 0o440}}
    return {"configMap": {"name": files.config_map, "defaultMode": 0o444}}


def _mounts(pods: PodTemplate) -> Iterator[JsonValue]:
    yield {"name": "scratch", "mountPath": SCRATCH}
    if pods.web_identity:
        yield {"name": "identity", "mountPath": TOKEN_FOLDER, "readOnly": True}
    for place, files in enumerate(pods.files):
        yield {"name": f"files-{place}", "mountPath": files.mount_path, "readOnly": True}
