"""What is read of the API server's answers: only the fields that are used, whatever else comes.

Writing never goes through these models: what they don't know they drop, so objects are created from
manifests and changed by patches.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

Item = TypeVar("Item", bound=BaseModel)
JsonObject = Mapping[str, JsonValue]
"""A document for the API server."""


class KubernetesModel(BaseModel):
    """Base of everything that Kubernetes writes."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class Metadata(KubernetesModel):
    """What every object has."""

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
    """What a Job was asked for."""

    suspend: bool | None = None
    active_deadline_seconds: int | None = None
    completions: int | None = None


class JobStatus(KubernetesModel):
    """Where a Job stands."""

    conditions: tuple[Condition, ...] | None = None
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    succeeded: int | None = None
    """How many pods have; of an Indexed Job, how many numbers are done."""


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
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class ContainerState(KubernetesModel):
    """One of the three states of a container; running has nothing that is used."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(KubernetesModel):
    """Where a container stands."""

    name: str
    state: ContainerState = ContainerState()


class PodStatus(KubernetesModel):
    """Where a pod stands."""

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
    """What an event is about."""

    name: str = ""
    uid: str = ""


class KubernetesEvent(KubernetesModel):
    """An event; old and new API servers fill different times, so none is read."""

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
    """Where a listing stands."""

    resource_version: str = ""
    continue_: str = Field(default="", alias="continue")


class Page(KubernetesModel, Generic[Item]):
    """One page of a listing."""

    metadata: ListMetadata = ListMetadata()
    items: tuple[Item, ...] = ()


class Status(KubernetesModel):
    """The API server's own description of what went wrong."""

    reason: str = ""
    message: str = ""
    code: int | None = None


class WatchEvent(KubernetesModel):
    """One line of a watch."""

    type: str
    object: dict[str, JsonValue] = {}


class ReviewStatus(KubernetesModel):
    """Whether something is allowed."""

    allowed: bool = False


class AccessReview(KubernetesModel):
    """A SelfSubjectAccessReview that was answered."""

    status: ReviewStatus = ReviewStatus()
