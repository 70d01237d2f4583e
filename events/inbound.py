"""The events that AWS sends, with the fields that we read.

S3 and SageMaker deliver at least once, unordered and late: an event is a hint, never the truth.
"""

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Detail = TypeVar("Detail", bound=BaseModel)


class Inbound(BaseModel):
    """Base of the events of AWS, which have no schema version of ours."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)


def _time(value: object) -> object:
    """SageMaker sends ``time`` as ISO 8601 or as epoch milliseconds in a string."""
    if isinstance(value, str) and value.isdigit():
        return datetime.fromtimestamp(int(value) / 1000, UTC)
    return value


class Envelope(Inbound, Generic[Detail]):
    """What EventBridge puts around every event."""

    id: str
    source: str
    detail_type: Annotated[str, Field(alias="detail-type")]
    account: str
    region: str
    time: Annotated[datetime, BeforeValidator(_time)]
    resources: tuple[str, ...] = ()
    detail: Detail


class S3Bucket(Inbound):
    """The bucket of an S3 event."""

    name: str


class S3Object(Inbound):
    """The object of an S3 event; ``key`` is not URL-encoded, ``etag`` has no quotes."""

    key: str
    size: int = 0
    etag: str | None = None
    version_id: Annotated[str | None, Field(alias="version-id")] = None
    sequencer: str | None = None


class ObjectCreated(Inbound):
    """Detail of ``Object Created``."""

    bucket: S3Bucket
    object: S3Object
    reason: str = ""


class EndpointChanged(Inbound):
    """Detail of SageMaker's endpoint and endpoint deployment state changes."""

    endpoint_name: Annotated[str, Field(alias="EndpointName")]
    endpoint_status: Annotated[str, Field(alias="EndpointStatus")]
    endpoint_config_name: Annotated[str | None, Field(alias="EndpointConfigName")] = None


class ModelPackageChanged(Inbound):
    """Detail of a model package's state change in SageMaker's registry."""

    model_package_arn: Annotated[str, Field(alias="ModelPackageArn")]
    model_package_group_name: Annotated[str, Field(alias="ModelPackageGroupName")]
    model_package_status: Annotated[str, Field(alias="ModelPackageStatus")]
    model_approval_status: Annotated[str | None, Field(alias="ModelApprovalStatus")] = None


class Tick(Inbound):
    """Detail of a schedule's ``Scheduled Event``: empty."""


class NightlyTick(Tick):
    """Detail of the event that starts the clean-up: the schedule's, or a person's dry run."""

    dry_run: bool = False
    """Only report what would be deleted."""
