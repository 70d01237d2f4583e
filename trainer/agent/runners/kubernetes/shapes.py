"""The fields of Kubernetes' objects that the agent reads.

Never write through these models, as they drop all other fields: objects are created from manifests
and changed by patches.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

Item = TypeVar("Item", bound=BaseModel)
JsonObject = Mapping[str, JsonValue]
"""A document for the API server."""


class KubernetesModel(BaseModel):
    """Base of what is read from the API server."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class Metadata(KubernetesModel):
    """An object's metadata."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Condition(KubernetesModel):
    """One statement about an object: ``status`` is True, False or Unknown, as text."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: AwareDatetime | None = None


class JobSpec(KubernetesModel):
    """A Job's specification."""

    suspend: bool | None = None
    active_deadline_seconds: int | None = None
    completions: int | None = None


class JobStatus(KubernetesModel):
    """A Job's status."""

    conditions: tuple[Condition, ...] | None = None
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    succeeded: int | None = None
    """How many pods succeeded; for an Indexed Job, how many numbers are done."""


class Job(KubernetesModel):
    """A batch/v1 Job."""

    metadata: Metadata
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, if it holds."""
        conditions = self.status.conditions or ()
        return next((c for c in conditions if c.type == kind and c.status == "True"), None)


class Terminated(KubernetesModel):
    """How a container ended."""

    exit_code: int
    reason: str = ""
    message: str = ""
    finished_at: AwareDatetime | None = None


class Waiting(KubernetesModel):
    """Why a container is not running yet."""

    reason: str = ""
    message: str = ""


class ContainerState(KubernetesModel):
    """A container's state; neither is set while it runs."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(KubernetesModel):
    """A container's status."""

    name: str
    state: ContainerState = ContainerState()


class PodStatus(KubernetesModel):
    """A pod's status."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(KubernetesModel):
    """A pod."""

    metadata: Metadata
    status: PodStatus = PodStatus()


class InvolvedObject(KubernetesModel):
    """The object that an event is about."""

    name: str = ""
    uid: str = ""


class KubernetesEvent(KubernetesModel):
    """An event; its times are not read, since old and new API servers set different ones."""

    involved_object: InvolvedObject = InvolvedObject()
    reason: str = ""
    message: str = ""


class LeaseSpec(KubernetesModel):
    """Who holds a lease."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    renew_time: AwareDatetime | None = None
    lease_transitions: int | None = None


class Lease(KubernetesModel):
    """A coordination.k8s.io/v1 Lease."""

    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()


class ListMetadata(KubernetesModel):
    """A page's version and the token of the next page."""

    resource_version: str = ""
    continue_: str = Field(default="", alias="continue")


class Page(KubernetesModel, Generic[Item]):
    """One page of a listing."""

    metadata: ListMetadata = ListMetadata()
    items: tuple[Item, ...] = ()


class Status(KubernetesModel):
    """The API server's description of an error."""

    reason: str = ""
    message: str = ""
    code: int | None = None


class WatchEvent(KubernetesModel):
    """One event of a watch."""

    type: str
    object: dict[str, JsonValue] = {}


class ReviewStatus(KubernetesModel):
    """Whether a permission is granted."""

    allowed: bool = False


class AccessReview(KubernetesModel):
    """An answered SelfSubjectAccessReview."""

    status: ReviewStatus = ReviewStatus()
