"""InvokeEndpoint: one request through an endpoint, and SageMaker's words for what goes wrong."""

from collections.abc import Mapping
from uuid import uuid4

from ops.local.errors import ServiceError
from ops.local.gateway.protocol import AwsRequest, AwsResponse, error_response
from ops.local.sagemaker.endpoint import Endpoint
from ops.local.sagemaker.endpoint_process import (
    ContainerRequest,
    ContainerResponse,
    ContainerTimeoutError,
)
from ops.local.settings import CloudSettings

_MAX_BODY = 6 * 1024 * 1024
_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_FORWARDED_HEADERS = ("content-type", "accept", _CUSTOM_ATTRIBUTES)


def invoke_endpoint(
    settings: CloudSettings, endpoints: Mapping[str, Endpoint], name: str, request: AwsRequest
) -> AwsResponse:
    """Let the endpoint ``name`` answer.

    Raises:
        ServiceError: the body is too large, or no such endpoint serves.
    """
    if len(request.body) > _MAX_BODY:
        raise ServiceError(
            "ValidationError",
            f"Body of {len(request.body)} bytes is over the limit of {_MAX_BODY}.",
            status=413,
        )
    endpoint = endpoints.get(name)
    if endpoint is None or not endpoint.serves:
        raise ServiceError(
            "ValidationError", f"Endpoint {name} of account {settings.account_id} not found."
        )
    headers = {key: request.headers[key] for key in _FORWARDED_HEADERS if key in request.headers}
    try:
        response, variant = endpoint.invoke(ContainerRequest(request.body, headers))
    except ContainerTimeoutError:
        text = "Your invocation timed out while waiting for a response from container primary"
        return error_response(_model_error(settings, name, 0, text))
    if response.status >= 400:
        text = response.body.decode(errors="replace")
        return error_response(_model_error(settings, name, response.status, text))
    return _inference(response, variant)


def _model_error(settings: CloudSettings, endpoint: str, status: int, text: str) -> ServiceError:
    kind = "client" if 400 <= status < 500 else "server"
    group = f"log-group:/aws/sagemaker/Endpoints/{endpoint}"
    return ServiceError(
        "ModelError",
        f'Received {kind} error ({status}) from primary with message "{text}".',
        status=424,
        details={
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": settings.arn("logs", group),
        },
    )


def _inference(response: ContainerResponse, variant: str) -> AwsResponse:
    headers = {
        "Content-Type": response.headers.get("content-type", "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": variant,
        "x-amzn-RequestId": str(uuid4()),
    }
    attributes = response.headers.get(_CUSTOM_ATTRIBUTES)
    if attributes:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    return AwsResponse(200, response.body, headers)
