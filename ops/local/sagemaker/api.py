"""Request models of the SageMaker operations that are emulated, and paging of lists."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue

from ops.local.gateway.protocol import ApiModel, JsonObject

_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


def _check_name(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"Value '{name}' failed to satisfy constraint: Member must satisfy regular expression "
            f"pattern: {_NAME}"
        )
    return name


ResourceName = Annotated[str, AfterValidator(_check_name)]


class Tag(ApiModel):
    """One tag."""

    key: str
    value: str


class S3DataSource(ApiModel):
    """A model archive in S3; only a gzipped tar file is emulated."""

    s3_uri: str
    s3_data_type: Literal["S3Object"] = "S3Object"
    compression_type: Literal["Gzip"] = "Gzip"


class ModelDataSource(ApiModel):
    """Another way to name a model archive."""

    s3_data_source: S3DataSource


class ImageConfig(ApiModel):
    """From where the image is pulled."""

    repository_access_mode: Literal["Platform", "Vpc"]


class ContainerDefinition(ApiModel):
    """A model's container."""

    image: str
    model_data_url: str | None = None
    model_data_source: ModelDataSource | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    mode: Literal["SingleModel"] = "SingleModel"
    container_hostname: str | None = None
    image_config: ImageConfig | None = None

    @property
    def pulls_through_vpc(self) -> bool:
        """Whether the image may come from a registry other than ECR."""
        return self.image_config is not None and self.image_config.repository_access_mode == "Vpc"

    @property
    def archive_url(self) -> str | None:
        """The ``s3://`` URL of the model archive."""
        if self.model_data_source:
            return self.model_data_source.s3_data_source.s3_uri
        return self.model_data_url


class CreateModel(ApiModel):
    """A new model; VPC and network isolation are stored and ignored."""

    model_name: ResourceName
    primary_container: ContainerDefinition
    execution_role_arn: str
    enable_network_isolation: bool = False
    vpc_config: JsonValue = None
    tags: tuple[Tag, ...] = ()


class ServerlessConfig(ApiModel):
    """Memory and concurrency of a serverless variant."""

    memory_size_in_m_b: Literal[1024, 2048, 3072, 4096, 5120, 6144] = Field(alias="MemorySizeInMB")
    max_concurrency: int = Field(ge=1, le=200)
    provisioned_concurrency: int | None = Field(None, ge=1, le=200)


class ProductionVariant(ApiModel):
    """A variant; its instance type is stored and ignored: an instance is a process here."""

    variant_name: ResourceName
    model_name: str
    initial_instance_count: int | None = Field(None, ge=1)
    instance_type: str | None = None
    initial_variant_weight: float = 1.0
    model_data_download_timeout_in_seconds: int | None = None
    container_startup_health_check_timeout_in_seconds: int | None = None
    enable_s_s_m_access: bool | None = Field(None, alias="EnableSSMAccess")
    volume_size_in_g_b: int | None = Field(None, alias="VolumeSizeInGB")
    serverless_config: ServerlessConfig | None = None
    inference_ami_version: str | None = None


class CaptureOption(ApiModel):
    """What is captured."""

    capture_mode: Literal["Input", "Output", "InputAndOutput"]


class DataCaptureConfig(ApiModel):
    """Capture of a sample of requests and answers."""

    enable_capture: bool = False
    initial_sampling_percentage: int = Field(ge=0, le=100)
    destination_s3_uri: str = Field(pattern=r"^(https|s3)://([^/]+)/?(.*)$")
    kms_key_id: str | None = None
    capture_options: tuple[CaptureOption, ...] = Field(min_length=1, max_length=32)
    capture_content_type_header: JsonValue = None

    def summary(self) -> JsonObject:
        """The capture as DescribeEndpoint shows it."""
        summary: JsonObject = {
            "EnableCapture": self.enable_capture,
            "CaptureStatus": "Started" if self.enable_capture else "Stopped",
            "CurrentSamplingPercentage": self.initial_sampling_percentage,
            "DestinationS3Uri": self.destination_s3_uri,
        }
        return {**summary, "KmsKeyId": self.kms_key_id} if self.kms_key_id else summary


class CreateEndpointConfig(ApiModel):
    """A new endpoint configuration; encryption is stored and ignored."""

    endpoint_config_name: ResourceName
    production_variants: list[ProductionVariant] = Field(min_length=1, max_length=1)
    data_capture_config: DataCaptureConfig | None = None
    kms_key_id: str | None = None
    execution_role_arn: str | None = None
    tags: tuple[Tag, ...] = ()


class CapacitySize(ApiModel):
    """A percentage of the capacity, or a number of instances."""

    type: Literal["INSTANCE_COUNT", "CAPACITY_PERCENT"]
    value: int = Field(ge=1)


class TrafficRoutingConfiguration(ApiModel):
    """How traffic shifts to the new fleet."""

    type: Literal["ALL_AT_ONCE", "CANARY", "LINEAR"]
    wait_interval_in_seconds: int = Field(0, ge=0, le=3600)
    canary_size: CapacitySize | None = None
    linear_step_size: CapacitySize | None = None


class BlueGreenUpdatePolicy(ApiModel):
    """The blue/green policy."""

    traffic_routing_configuration: TrafficRoutingConfiguration
    termination_wait_in_seconds: int = Field(0, ge=0, le=3600)
    maximum_execution_timeout_in_seconds: int = Field(28800, ge=600, le=28800)

    @classmethod
    def all_at_once(cls) -> Self:
        """The policy of an update that names none."""
        routing = TrafficRoutingConfiguration(type="ALL_AT_ONCE")
        return cls(traffic_routing_configuration=routing)


class RollingUpdatePolicy(ApiModel):
    """The rolling policy; here, too, the new fleet starts whole and gets traffic by batches."""

    maximum_batch_size: CapacitySize
    wait_interval_in_seconds: int = Field(ge=0, le=3600)
    maximum_execution_timeout_in_seconds: int = Field(28800, ge=600, le=28800)
    rollback_maximum_batch_size: CapacitySize | None = None


class AlarmReference(ApiModel):
    """An alarm's name."""

    alarm_name: str


class AutoRollbackConfiguration(ApiModel):
    """The alarms that roll an update back."""

    alarms: tuple[AlarmReference, ...] = Field(default=(), max_length=10)


class DeploymentConfig(ApiModel):
    """Deployment guardrails."""

    blue_green_update_policy: BlueGreenUpdatePolicy | None = None
    rolling_update_policy: RollingUpdatePolicy | None = None
    auto_rollback_configuration: AutoRollbackConfiguration = AutoRollbackConfiguration()


class CreateEndpoint(ApiModel):
    """A new endpoint."""

    endpoint_name: ResourceName
    endpoint_config_name: str
    deployment_config: DeploymentConfig | None = None
    tags: tuple[Tag, ...] = ()


class VariantProperty(ApiModel):
    """A property that an update takes from the new configuration after all."""

    variant_property_type: Literal["DesiredInstanceCount", "DesiredWeight", "DataCaptureConfig"]


class DesiredWeightAndCapacity(ApiModel):
    """The new size of a variant; with one variant its weight means nothing."""

    variant_name: str
    desired_weight: float | None = Field(None, ge=0)
    desired_instance_count: int | None = Field(None, ge=1)


class UpdateWeightsAndCapacities(ApiModel):
    """New sizes of an endpoint's variants."""

    endpoint_name: str
    desired_weights_and_capacities: tuple[DesiredWeightAndCapacity, ...] = Field(
        min_length=1, max_length=1
    )


class UpdateEndpoint(ApiModel):
    """A new configuration for an endpoint."""

    endpoint_name: str
    endpoint_config_name: str
    retain_all_variant_properties: bool = False
    exclude_retained_variant_properties: tuple[VariantProperty, ...] = Field((), max_length=3)
    retain_deployment_config: bool = False
    deployment_config: DeploymentConfig | None = None

    def retains(self, kind: str) -> bool:
        """Whether the endpoint keeps a property that it has now."""
        excluded = {each.variant_property_type for each in self.exclude_retained_variant_properties}
        return self.retain_all_variant_properties and kind not in excluded


class ModelName(ApiModel):
    """A model's name."""

    model_name: str


class EndpointConfigName(ApiModel):
    """An endpoint configuration's name."""

    endpoint_config_name: str


class EndpointName(ApiModel):
    """An endpoint's name."""

    endpoint_name: str


class ListRequest(ApiModel):
    """Filters, order and page of every List operation."""

    name_contains: str = ""
    max_results: int = Field(100, ge=1, le=100)
    next_token: str = "0"  # noqa: S105 - a page, not a secret
    sort_by: Literal["Name", "CreationTime", "Status"] = "CreationTime"
    sort_order: Literal["Ascending", "Descending"] = "Descending"
    status_equals: str | None = None
    creation_time_before: float | None = None
    creation_time_after: float | None = None


class TagsRequest(ApiModel):
    """The resource whose tags are listed."""

    resource_arn: str
    max_results: int | None = None


class AddTags(TagsRequest):
    """Tags to set."""

    tags: list[Tag]


class DeleteTags(TagsRequest):
    """Tags to remove."""

    tag_keys: list[str]


def page(rows: Sequence[JsonObject], kind: str, request: ListRequest, name_key: str) -> JsonObject:
    """One page of a list, filtered and sorted.

    Args:
        rows: each with ``CreationTime``, a name and perhaps ``EndpointStatus``.
        kind: the member of the response that holds the rows.
        request: filters, order and page.
        name_key: the member of a row that holds its name.
    """
    key = {"Name": name_key, "Status": "EndpointStatus"}.get(request.sort_by, request.sort_by)
    matching = sorted(
        (row for row in rows if _matches(row, request, name_key)),
        key=lambda row: (row[key], row[name_key]),
        reverse=request.sort_order == "Descending",
    )
    start = int(request.next_token)
    end = start + request.max_results
    response: JsonObject = {kind: [*matching[start:end]]}
    if end < len(matching):
        response["NextToken"] = str(end)
    return response


def _matches(row: JsonObject, request: ListRequest, name_key: str) -> bool:
    created = float(str(row["CreationTime"]))
    return (
        request.name_contains.lower() in str(row[name_key]).lower()
        and request.status_equals in {None, row.get("EndpointStatus")}
        and (request.creation_time_before is None or created < request.creation_time_before)
        and (request.creation_time_after is None or created > request.creation_time_after)
    )
