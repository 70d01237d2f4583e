"""Formats and combinations that SageMaker refuses in models and endpoint configurations."""

import gzip
import json
import re
from functools import cache
from pathlib import Path

import botocore

from ops.local.errors import ServiceError
from ops.local.sagemaker import api

_IMAGE = re.compile(
    r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/[a-z0-9]+([._/-][a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})?"
)
_ROLE = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
_API_MODEL = "data/sagemaker/2017-07-24/service-2.json.gz"


def check_model(request: api.CreateModel) -> None:
    """Refuse a role or an image that can't be one.

    Raises:
        ServiceError: ``ValidationException``.
    """
    if not _ROLE.fullmatch(request.execution_role_arn):
        raise _constraint(
            request.execution_role_arn,
            "executionRoleArn",
            f"satisfy regular expression pattern: ^{_ROLE.pattern}$",
        )
    container = request.primary_container
    if not _IMAGE.fullmatch(container.image) and not container.pulls_through_vpc:
        raise ServiceError(
            "ValidationException",
            f'Using non-ECR image "{container.image}" without Vpc repository access mode is not '
            "supported.",
        )


def check_config(request: api.CreateEndpointConfig, model: api.CreateModel) -> None:
    """Refuse a variant that no endpoint could have.

    Raises:
        ServiceError: ``ValidationException``.
    """
    variant = request.production_variants[0]
    if variant.serverless_config:
        _check_serverless(request, model)
        return
    if variant.instance_type is None or variant.initial_instance_count is None:
        raise ServiceError(
            "ValidationException",
            f"ProductionVariant {variant.variant_name} must specify InstanceType and "
            "InitialInstanceCount, or ServerlessConfig.",
        )
    if variant.instance_type not in _instance_types():
        raise _constraint(
            variant.instance_type,
            "productionVariants.1.member.instanceType",
            f"satisfy enum value set: [{', '.join(sorted(_instance_types()))}]",
        )


def refuse_conversion(live: api.CreateEndpointConfig, new: api.CreateEndpointConfig) -> None:
    """Refuse to turn an endpoint of instances into a serverless one.

    Raises:
        ServiceError: ``ValidationException``.
    """
    if new.production_variants[0].serverless_config and live.production_variants[0].instance_type:
        raise ServiceError(
            "ValidationException",
            "Cannot update an instance-based endpoint to a serverless endpoint.",
        )


def _check_serverless(request: api.CreateEndpointConfig, model: api.CreateModel) -> None:
    variant = request.production_variants[0]
    unsupported = {
        "InstanceType": variant.instance_type,
        "InitialInstanceCount": variant.initial_instance_count,
        "DataCaptureConfig": request.data_capture_config,
        "VpcConfig": model.vpc_config,
        "EnableNetworkIsolation": model.enable_network_isolation,
    }
    for member, value in unsupported.items():
        if value:
            raise ServiceError(
                "ValidationException", f"{member} is not supported for serverless variants."
            )


@cache
def _instance_types() -> frozenset[str]:
    """Every instance type of a production variant; the API's own model is 0.2 s of reading."""
    text = gzip.decompress((Path(botocore.__file__).parent / _API_MODEL).read_bytes())
    return frozenset(json.loads(text)["shapes"]["ProductionVariantInstanceType"]["enum"])


def _constraint(value: str, member: str, must: str) -> ServiceError:
    return ServiceError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
        f"Member must {must}",
    )
