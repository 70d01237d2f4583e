"""InvokeEndpoint: one request through an endpoint, and SageMaker's words for what goes wrong."""

import time
from collections.abc import Mapping
from uuid import uuid4

from ops.local.cloudwatch.metric_store import MetricKey, MetricStore
from ops.local.errors import ServiceError
from ops.local.gateway.protocol import AwsRequest, AwsResponse, error_response
from ops.local.sagemaker.data_capture import CaptureTarget, DataCapture
from ops.local.sagemaker.endpoint import Endpoint
from ops.local.sagemaker.endpoint_process import (
    ContainerRequest,
    ContainerResponse,
    ContainerTimeoutError,
)
from ops.local.settings import CloudSettings

_MAX_BODY = 6 * 1024 * 1024
_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_TARGET_VARIANT = "x-amzn-sagemaker-target-variant"
_FORWARDED_HEADERS = ("content-type", "accept", _CUSTOM_ATTRIBUTES)


class EndpointInvoker:
    """Lets endpoints answer, and records their metrics.

    Args:
        settings: region and account.
        metrics: takes the metrics.
        capture: takes the data of those that capture it.
    """

    def __init__(self, settings: CloudSettings, metrics: MetricStore, capture: DataCapture) -> None:
        self._settings = settings
        self._metrics = metrics
        self._capture = capture

    def invoke(
        self, endpoints: Mapping[str, Endpoint], name: str, request: AwsRequest
    ) -> AwsResponse:
        """Let the endpoint ``name`` answer.

        Raises:
            ServiceError: the body is too large, the variant unknown, or no such endpoint serves.
        """
        started = time.monotonic()
        if len(request.body) > _MAX_BODY:
            raise ServiceError(
                "ValidationError",
                f"Body of {len(request.body)} bytes is over the limit of {_MAX_BODY}.",
                status=413,
            )
        endpoint = endpoints.get(name)
        if endpoint is None or not endpoint.serves:
            account = self._settings.account_id
            raise ServiceError(
                "ValidationError", f"Endpoint {name} of account {account} not found."
            )
        live = endpoint.state().live
        variant = live.variant
        if request.headers.get(_TARGET_VARIANT, variant) != variant:
            raise ServiceError(
                "ValidationError",
                f"Variant {request.headers[_TARGET_VARIANT]} not found for endpoint {name}.",
            )
        keys = (key for key in _FORWARDED_HEADERS if key in request.headers)
        forwarded = ContainerRequest(request.body, {key: request.headers[key] for key in keys})
        sent = time.monotonic()
        try:
            response = endpoint.invoke(forwarded)
        except ContainerTimeoutError:
            text = "Your invocation timed out while waiting for a response from container primary"
            response = ContainerResponse(0, text.encode(), {})
        answered = time.monotonic()
        self._record(name, variant, response.status, answered - sent, sent - started)
        if live.capture and response.status:
            self._capture.record(CaptureTarget(name, variant, live.capture), forwarded, response)
        if 200 <= response.status < 400:
            return _inference(response, variant)
        text = response.body.decode(errors="replace")
        return error_response(_model_error(self._settings, name, response.status, text))

    def _record(
        self, endpoint: str, variant: str, status: int, seconds: float, overhead: float
    ) -> None:
        """Record one invocation, with SageMaker's names and its microseconds."""
        values = {
            "Invocations": 1,
            "Invocation4XXErrors": 400 <= status < 500,
            "Invocation5XXErrors": status >= 500 or status == 0,
            "ModelLatency": seconds * 1e6,
            "OverheadLatency": overhead * 1e6,
        }
        dimensions = frozenset({("EndpointName", endpoint), ("VariantName", variant)})
        for metric, value in values.items():
            self._metrics.record(MetricKey("AWS/SageMaker", metric, dimensions), [float(value)])


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
