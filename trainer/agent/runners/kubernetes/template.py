"""The pod template: what a platform engineer decides about the training pods.

A YAML document from a ConfigMap, with Kubernetes' own names. What the agent sets itself (names,
labels, environment, security) is refused here instead of ignored.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from events.base import canonical_digest
from trainer.agent.errors import ConfigurationError

Name = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, min_length=1)
]
Quantity = Annotated[
    str,
    # YAML reads `cpu: 2` as a number; Kubernetes takes both.
    Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?$", coerce_numbers_to_str=True),
]
ImageByDigest = Annotated[str, Field(pattern=r"^[a-z0-9][^@\s]*@sha256:[0-9a-f]{64}$")]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^:\s]+$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)]

_OWNED = {
    "metadata": "the Job's name and labels",
    "name": "the Job's name",
    "labels": "labels identify runs",
    "env": "the environment describes the run",
    "command": "what the container runs",
    "args": "what the container runs",
    "securityContext": "Pod Security's restricted profile",
    "restartPolicy": "retries are the Job's",
    "containers": "the only container is the trainer",
    "hostNetwork": "Pod Security's restricted profile",
    "automountServiceAccountToken": "a token only where an identity needs it",
}
"""What the agent sets itself, and why."""
SCRATCH = "/tmp"  # noqa: S108 - inside the container, a volume of its own
TOKEN_FOLDER = "/var/run/secrets/rssi-mlops/identity"  # noqa: S105 - a folder
_MOUNTED = frozenset({"", SCRATCH, TOKEN_FOLDER})


class _TemplateModel(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Resources(_TemplateModel):
    """A pod's requests and limits, by resource, such as ``nvidia.com/gpu``."""

    requests: dict[str, Quantity] = {"cpu": "1", "memory": "1Gi"}
    limits: dict[str, Quantity] = {"memory": "2Gi"}


class Toleration(_TemplateModel):
    """A taint that the pods tolerate."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class WebIdentity(_TemplateModel):
    """A role that is assumed with a projected service-account token."""

    role_arn: Annotated[str, Field(pattern=r"^arn:[^:]+:iam::\d{12}:role/.+$")]
    audience: str = "sts.amazonaws.com"


class Files(_TemplateModel):
    """A Secret or ConfigMap that is mounted, read-only: certificates, AWS configuration, a CA."""

    mount_path: AbsolutePath
    secret: Name | None = None
    config_map: Name | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Files":
        if (self.secret is None) == (self.config_map is None):
            raise ValueError("name either a secret or a configMap")
        return self


class PodTemplate(_TemplateModel):
    """The pods' part of every Job."""

    image: ImageByDigest
    """By digest, so that a run can be repeated and a release names what trained it."""
    image_pull_secrets: tuple[Name, ...] = ()
    resources: Resources = Resources()
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None
    service_account_name: Name = "rssi-trainer"
    queue_name: Label | None = None
    """A Kueue LocalQueue; Jobs then wait, suspended, for its quota."""
    annotations: dict[str, str] = {}
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods that train one run together; more than one need trainer/deploy/components/workers."""
    scratch_size: Quantity = "1Gi"
    """How much the trainer may write to ``/tmp``; the root file system is read-only."""
    web_identity: WebIdentity | None = None
    credentials_secret: Name | None = None
    """A Secret with ``AWS_ACCESS_KEY_ID`` and the like. For a trial: such keys don't expire."""
    files: tuple[Files, ...] = ()

    @field_validator("files")
    @classmethod
    def _distinct_mount_paths(cls, value: tuple[Files, ...]) -> tuple[Files, ...]:
        """Refuse what the API server would refuse at every start of a run."""
        paths = [files.mount_path.rstrip("/") for files in value]
        taken = sorted({path for path in paths if path in _MOUNTED or paths.count(path) > 1})
        if taken:
            raise ValueError(f"each needs a mountPath of its own; these are taken: {taken}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _owned(cls, value: object) -> object:
        taken = [name for name in _OWNED if isinstance(value, dict) and name in value]
        if taken:
            why = "; ".join(f"{name} ({_OWNED[name]})" for name in taken)
            raise ValueError(f"the agent sets these itself, remove them: {why}")
        return value

    @property
    def digest(self) -> str:
        """12 hex digits that identify the template."""
        return canonical_digest(self)[:12]


def read_pod_template(path: Path) -> PodTemplate:
    """Read and check a pod template.

    Raises:
        ConfigurationError: it is missing or can't be used; the text names each wrong field.
    """
    try:
        return PodTemplate.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigurationError(
            f"the pod template {path} can't be read, mount the ConfigMap there or correct "
            f"RSSI_POD_TEMPLATE: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"the pod template {path} is no YAML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'the document'}: {detail['msg']}"
            for detail in error.errors()
        )
        raise ConfigurationError(f"the pod template {path} can't be used: {wrong}") from error
