"""The SageMaker API: models, endpoint configurations, endpoints and InvokeEndpoint.

An image stands for a command (`CloudSettings.serving_commands`), an instance for a process. As on
AWS, whatever a live endpoint uses may be deleted, and its next update then fails.
"""

import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from botocore.exceptions import ClientError

from ops.local.errors import ChildFailedError, ServiceError
from ops.local.events.bus_event import BusEvent, bus_event
from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.protocol import (
    ApiModel,
    ApiRequest,
    ApiResponse,
    JsonObject,
    JsonService,
    error_response,
    operation,
)
from ops.local.log_shipper import LogShipper
from ops.local.processes import Processes
from ops.local.sagemaker import api
from ops.local.sagemaker.endpoint import Endpoint, EndpointRollout, EndpointState, TrafficStep
from ops.local.sagemaker.endpoint_process import (
    ContainerRequest,
    ContainerResponse,
    ContainerSpec,
    ContainerTimeoutError,
)
from ops.local.sagemaker.fleet import Fleet
from ops.local.settings import CloudSettings

_MAX_BODY = 6 * 1024 * 1024
_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_FORWARDED_HEADERS = ("content-type", "accept", _CUSTOM_ATTRIBUTES)
_INFERENCE = ("/endpoints/", "/invocations")

RequestT = TypeVar("RequestT", bound=ApiModel)
FoundT = TypeVar("FoundT")


@dataclass(frozen=True, slots=True)
class CreatedResource(Generic[RequestT]):
    """Something that was created and never changes; ``created`` is epoch seconds."""

    request: RequestT
    arn: str
    created: float


class SageMakerService:
    """Every model, configuration and endpoint of the cloud.

    Args:
        settings: commands, timeouts and the share of repeated events.
        clients: for model archives and alarms.
        processes: starts the serving processes.
        logs: takes their output.
        publish: puts an event on the default bus.
    """

    def __init__(
        self,
        settings: CloudSettings,
        clients: ServiceClients,
        processes: Processes,
        logs: LogShipper,
        publish: Callable[[BusEvent], None],
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._processes = processes
        self._logs = logs
        self._publish = publish
        self._random = random.Random(settings.seed)  # noqa: S311 - repeatable, not secret
        self._workspace = tempfile.TemporaryDirectory(
            prefix="rssi-endpoints-", ignore_cleanup_errors=True
        )
        self._lock = threading.RLock()
        self._models: dict[str, CreatedResource[api.CreateModel]] = {}
        self._configs: dict[str, CreatedResource[api.CreateEndpointConfig]] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._control = JsonService(
            "sagemaker",
            {
                "CreateModel": operation(api.CreateModel, self._create_model),
                "DescribeModel": operation(api.ModelName, self._describe_model),
                "ListModels": operation(api.ListRequest, self._list_models),
                "DeleteModel": operation(api.ModelName, self._delete_model),
                "CreateEndpointConfig": operation(api.CreateEndpointConfig, self._create_config),
                "DescribeEndpointConfig": operation(api.EndpointConfigName, self._describe_config),
                "ListEndpointConfigs": operation(api.ListRequest, self._list_configs),
                "DeleteEndpointConfig": operation(api.EndpointConfigName, self._delete_config),
                "CreateEndpoint": operation(api.CreateEndpoint, self._create_endpoint),
                "DescribeEndpoint": operation(api.EndpointName, self._describe_endpoint),
                "ListEndpoints": operation(api.ListRequest, self._list_endpoints),
                "UpdateEndpoint": operation(api.UpdateEndpoint, self._update_endpoint),
                "DeleteEndpoint": operation(api.EndpointName, self._delete_endpoint),
                "AddTags": operation(api.AddTags, self._add_tags),
                "DeleteTags": operation(api.DeleteTags, self._delete_tags),
                "ListTags": operation(api.TagsRequest, self._list_tags),
            },
        )

    def service(self, request: ApiRequest) -> ApiResponse:
        """Answer one request of the control plane or the runtime; they sign alike.

        Raises:
            ServiceError: the operation is not emulated, or refuses the request.
        """
        before, after = _INFERENCE
        if request.path.startswith(before) and request.path.endswith(after):
            return self._invoke(request.path.removeprefix(before).removesuffix(after), request)
        return self._control(request)

    def pids(self, endpoint: str) -> list[int]:
        """Process ids of the instances that have an endpoint's traffic.

        Raises:
            ServiceError: there is no such endpoint.
        """
        return self._endpoint(endpoint).pids()

    def close(self) -> None:
        """End every serving process at once."""
        with self._lock:
            endpoints, self._endpoints = self._endpoints, {}
        for endpoint in endpoints.values():
            endpoint.terminate()

    def clean_up(self) -> None:
        """Remove the files of serving processes, once all have ended."""
        self._workspace.cleanup()

    def _arn(self, kind: str, name: str) -> str:
        return self._settings.arn("sagemaker", f"{kind}/{name.lower()}")

    # --- models

    def _create_model(self, request: api.CreateModel) -> JsonObject:
        arn = self._arn("model", request.model_name)
        self._check_archive(request.primary_container)
        with self._lock:
            _refuse_existing(self._models, request.model_name, f'model "{arn}"')
            self._models[request.model_name] = CreatedResource(request, arn, time.time())
            self._tag(arn, request.tags)
        return {"ModelArn": arn}

    def _check_archive(self, container: api.ContainerDefinition) -> None:
        if container.archive_url is None:
            return
        bucket, key = _bucket_and_key(container.archive_url)
        try:
            self._clients.get("s3").head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise ServiceError(
                "ValidationException", f"Could not find model data at {container.archive_url}."
            ) from error

    def _model(self, name: str) -> CreatedResource[api.CreateModel]:
        return _find(self._models, name, f'model "{self._arn("model", name)}"')

    def _describe_model(self, request: api.ModelName) -> JsonObject:
        model = self._model(request.model_name)
        return {**_described(model), "ModelArn": model.arn}

    def _list_models(self, request: api.ListRequest) -> JsonObject:
        rows: list[JsonObject] = [
            {"ModelName": name, "ModelArn": model.arn, "CreationTime": model.created}
            for name, model in self._models.copy().items()
        ]
        return api.page(rows, "Models", request, "ModelName")

    def _delete_model(self, request: api.ModelName) -> JsonObject:
        with self._lock:
            self._tags.pop(self._model(request.model_name).arn, None)
            del self._models[request.model_name]
        return {}

    # --- endpoint configurations

    def _create_config(self, request: api.CreateEndpointConfig) -> JsonObject:
        name = request.endpoint_config_name
        arn = self._arn("endpoint-config", name)
        with self._lock:
            _refuse_existing(self._configs, name, f'endpoint configuration "{arn}"')
            self._model(request.production_variants[0].model_name)
            self._configs[name] = CreatedResource(request, arn, time.time())
            self._tag(arn, request.tags)
        return {"EndpointConfigArn": arn}

    def _config(self, name: str) -> CreatedResource[api.CreateEndpointConfig]:
        arn = self._arn("endpoint-config", name)
        return _find(self._configs, name, f'endpoint configuration "{arn}"')

    def _describe_config(self, request: api.EndpointConfigName) -> JsonObject:
        config = self._config(request.endpoint_config_name)
        return {**_described(config), "EndpointConfigArn": config.arn}

    def _list_configs(self, request: api.ListRequest) -> JsonObject:
        rows: list[JsonObject] = [
            {
                "EndpointConfigName": name,
                "EndpointConfigArn": config.arn,
                "CreationTime": config.created,
            }
            for name, config in self._configs.copy().items()
        ]
        return api.page(rows, "EndpointConfigs", request, "EndpointConfigName")

    def _delete_config(self, request: api.EndpointConfigName) -> JsonObject:
        with self._lock:
            self._tags.pop(self._config(request.endpoint_config_name).arn, None)
            del self._configs[request.endpoint_config_name]
        return {}

    # --- endpoints

    def _create_endpoint(self, request: api.CreateEndpoint) -> JsonObject:
        name = request.endpoint_name
        arn = self._arn("endpoint", name)
        with self._lock:
            _refuse_existing(self._endpoints, name, f'endpoint "{arn}"')
            rollout = self._rollout(name, request.endpoint_config_name, request.deployment_config)
            endpoint = Endpoint(name, arn, rollout, self._announce, self._alarms_firing)
            self._endpoints[name] = endpoint
            self._tag(arn, request.tags)
        endpoint.create()
        return {"EndpointArn": arn}

    def _update_endpoint(self, request: api.UpdateEndpoint) -> JsonObject:
        with self._lock:
            endpoint = self._endpoint(request.endpoint_name)
            live = endpoint.state().live
            self._config(live.config_name)
            deployment = request.deployment_config
            if request.retain_deployment_config and live.deployment:
                deployment = api.DeploymentConfig.model_validate(live.deployment)
            count = live.instances if request.retain_all_variant_properties else None
            rollout = self._rollout(
                request.endpoint_name, request.endpoint_config_name, deployment, count
            )
            endpoint.update(rollout)
        return {"EndpointArn": endpoint.arn}

    def _delete_endpoint(self, request: api.EndpointName) -> JsonObject:
        with self._lock:
            endpoint = self._endpoint(request.endpoint_name)
            endpoint.delete()
            del self._endpoints[request.endpoint_name]
            self._tags.pop(endpoint.arn, None)
        return {}

    def _endpoint(self, name: str) -> Endpoint:
        return _find(self._endpoints, name, f'endpoint "{self._arn("endpoint", name)}"')

    def _describe_endpoint(self, request: api.EndpointName) -> JsonObject:
        state = self._endpoint(request.endpoint_name).state()
        response: JsonObject = {
            "EndpointName": state.name,
            "EndpointArn": state.arn,
            "EndpointConfigName": state.config_name,
            "EndpointStatus": state.status,
            "CreationTime": state.created,
            "LastModifiedTime": state.modified,
        }
        if state.status not in {"Creating", "Failed"}:
            response["ProductionVariants"] = [_variant(state.live)]
        if state.failure_reason:
            response["FailureReason"] = state.failure_reason
        if state.live.deployment:
            response["LastDeploymentConfig"] = state.live.deployment
        if state.pending:
            response["PendingDeploymentSummary"] = {
                "EndpointConfigName": state.pending.config_name,
                "ProductionVariants": [_variant(state.pending)],
                "StartTime": state.pending_since,
            }
        return response

    def _list_endpoints(self, request: api.ListRequest) -> JsonObject:
        states = [endpoint.state() for endpoint in self._endpoints.copy().values()]
        rows: list[JsonObject] = [
            {
                "EndpointName": state.name,
                "EndpointArn": state.arn,
                "EndpointStatus": state.status,
                "CreationTime": state.created,
                "LastModifiedTime": state.modified,
            }
            for state in states
        ]
        return api.page(rows, "Endpoints", request, "EndpointName")

    # --- from a configuration to processes

    def _rollout(
        self,
        endpoint: str,
        config_name: str,
        deployment: api.DeploymentConfig | None,
        instances: int | None = None,
    ) -> EndpointRollout:
        config = self._config(config_name)
        variant = config.request.production_variants[0]
        container = self._model(variant.model_name).request.primary_container
        count = instances or variant.initial_instance_count
        deployment = deployment or api.DeploymentConfig()
        return EndpointRollout(
            config_name=config_name,
            variant=variant.variant_name,
            instances=count,
            image=container.image,
            make_fleet=lambda: self._fleet(endpoint, variant.variant_name, container, count),
            steps=self._steps(deployment.blue_green_update_policy, count),
            alarms=[alarm.alarm_name for alarm in deployment.auto_rollback_configuration.alarms],
            deployment=deployment.wire() or None,
        )

    def _steps(self, policy: api.BlueGreenUpdatePolicy | None, instances: int) -> list[TrafficStep]:
        """The traffic's way to the new fleet, in this cloud's time."""
        if policy is None:
            return [TrafficStep(1.0, 0.0)]
        routing = policy.traffic_routing_configuration
        wait = routing.wait_interval_in_seconds * self._settings.clock_scale
        bake = policy.termination_wait_in_seconds * self._settings.clock_scale
        last = TrafficStep(1.0, bake)
        if routing.type == "CANARY" and routing.canary_size:
            return [TrafficStep(routing.canary_size.share(instances), wait), last]
        if routing.type == "LINEAR" and routing.linear_step_size:
            share = routing.linear_step_size.share(instances)
            whole_steps = int((1 - 1e-9) / share)
            return [*(TrafficStep(share * n, wait) for n in range(1, whole_steps + 1)), last]
        return [last]

    def _fleet(
        self, endpoint: str, variant: str, container: api.ContainerDefinition, instances: int
    ) -> Fleet:
        """A fleet that is not started.

        Raises:
            ChildFailedError: the model archive can't be read.
        """
        spec = ContainerSpec(
            label=endpoint,
            command=self._settings.serving_commands.get(
                container.image, self._settings.default_serving_command
            ),
            archive=self._archive(container),
            environment={
                **self._settings.client_environment(self._clients.address),
                **container.environment,
            },
            workspace=Path(self._workspace.name),
            startup_timeout=self._settings.startup_timeout,
            request_timeout=self._settings.request_timeout,
        )
        group = f"/aws/sagemaker/Endpoints/{endpoint}"

        def write(output: str) -> None:
            for line in output.splitlines():
                self._logs.write(group, variant, line)

        return Fleet(spec, instances, self._processes, write)

    def _archive(self, container: api.ContainerDefinition) -> bytes:
        url = container.archive_url
        if url is None:
            raise ChildFailedError("The model names no archive: set ModelDataUrl.")
        bucket, key = _bucket_and_key(url)
        try:
            response = self._clients.get("s3").get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise ChildFailedError(f"Failed to download model data from {url}: {error}") from error
        content: bytes = response["Body"].read()
        return content

    def _alarms_firing(self, names: Sequence[str]) -> list[str]:
        response = self._clients.get("cloudwatch").describe_alarms(AlarmNames=list(names))
        alarms = [*response["MetricAlarms"], *response["CompositeAlarms"]]
        return [str(alarm["AlarmName"]) for alarm in alarms if alarm["StateValue"] == "ALARM"]

    # --- inference

    def _invoke(self, name: str, request: ApiRequest) -> ApiResponse:
        if len(request.body) > _MAX_BODY:
            raise ServiceError(
                "ValidationError",
                f"Body of {len(request.body)} bytes is over the limit of {_MAX_BODY}.",
                status=413,
            )
        endpoint = self._endpoints.get(name)
        if endpoint is None or not endpoint.serves:
            raise ServiceError(
                "ValidationError",
                f"Endpoint {name} of account {self._settings.account_id} not found.",
            )
        headers = {
            key: request.headers[key] for key in _FORWARDED_HEADERS if key in request.headers
        }
        try:
            response, variant = endpoint.invoke(ContainerRequest(request.body, headers))
        except ContainerTimeoutError:
            return error_response(
                self._model_error(
                    name,
                    0,
                    "Your invocation timed out while waiting for a response from container primary",
                )
            )
        if response.status >= 400:
            return error_response(
                self._model_error(name, response.status, response.body.decode(errors="replace"))
            )
        return _inference(response, variant)

    def _model_error(self, endpoint: str, status: int, text: str) -> ServiceError:
        kind = "client" if 400 <= status < 500 else "server"
        group = f"log-group:/aws/sagemaker/Endpoints/{endpoint}"
        return ServiceError(
            "ModelError",
            f'Received {kind} error ({status}) from primary with message "{text}".',
            status=424,
            details={
                "OriginalStatusCode": status,
                "OriginalMessage": text,
                "LogStreamArn": self._settings.arn("logs", group),
            },
        )

    # --- tags

    def _tag(self, arn: str, tags: Sequence[api.Tag]) -> None:
        self._tags.setdefault(arn, {}).update({tag.key: tag.value for tag in tags})

    def _add_tags(self, request: api.AddTags) -> JsonObject:
        with self._lock:
            self._tag(request.resource_arn, request.tags)
        return self._list_tags(request)

    def _delete_tags(self, request: api.DeleteTags) -> JsonObject:
        with self._lock:
            for key in request.tag_keys:
                self._tags.get(request.resource_arn, {}).pop(key, None)
        return {}

    def _list_tags(self, request: api.TagsRequest) -> JsonObject:
        tags = self._tags.get(request.resource_arn, {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    # --- events

    def _announce(self, state: EndpointState, step: str | None) -> None:
        """Raise the event for a change of status, or for a step of a deployment; perhaps twice."""
        event = _event(self._settings, state, step, self._tags.get(state.arn, {}))
        self._publish(event)
        if self._random.random() < self._settings.duplicate_share:
            self._publish(event)


def _refuse_existing(stored: Mapping[str, object], name: str, what: str) -> None:
    if name in stored:
        raise ServiceError("ValidationException", f"Cannot create already existing {what}.")


def _find(stored: Mapping[str, FoundT], name: str, what: str) -> FoundT:
    found = stored.get(name)
    if found is None:
        raise ServiceError("ValidationException", f"Could not find {what}.")
    return found


def _described(stored: "CreatedResource[RequestT]") -> JsonObject:
    members = stored.request.wire()
    members.pop("Tags", None)
    return {**members, "CreationTime": stored.created}


def _bucket_and_key(url: str) -> tuple[str, str]:
    parts = urlsplit(url, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise ServiceError("ValidationException", f"{url} is no s3://bucket/key URL.")
    return parts.netloc, parts.path.removeprefix("/")


def _variant(rollout: EndpointRollout) -> JsonObject:
    return {
        "VariantName": rollout.variant,
        "DeployedImages": [{"SpecifiedImage": rollout.image, "ResolvedImage": rollout.image}],
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": rollout.instances,
        "DesiredInstanceCount": rollout.instances,
    }


def _inference(response: ContainerResponse, variant: str) -> ApiResponse:
    headers = {
        "Content-Type": response.headers.get("content-type", "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": variant,
        "x-amzn-RequestId": str(uuid4()),
    }
    attributes = response.headers.get(_CUSTOM_ATTRIBUTES)
    if attributes:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    return ApiResponse(200, response.body, headers)


def _event(
    settings: CloudSettings, state: EndpointState, step: str | None, tags: Mapping[str, str]
) -> BusEvent:
    """The event in the form of the documented samples, which differ in how they write ``time``."""
    detail: JsonObject = {
        "EndpointName": state.name,
        "EndpointArn": state.arn,
        "EndpointConfigName": state.config_name,
        "ProductionVariants": [
            {"DesiredWeight": 1.0, "DesiredInstanceCount": float(state.live.instances)}
        ],
        "EndpointStatus": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", state.status).upper(),
        "CreationTime": state.created * 1000,
        "LastModifiedTime": state.modified * 1000,
        "Tags": dict(tags),
    }
    if state.failure_reason:
        detail["FailureReason"] = state.failure_reason
    if step is None:
        milliseconds = str(int(state.modified * 1000))
        kind = "SageMaker Endpoint State Change"
        return bus_event(settings, "aws.sagemaker", kind, detail, [state.arn], milliseconds)
    if state.pending:
        detail["PendingDeploymentSummary"] = _pending(state, state.pending, step)
    kind = "SageMaker Endpoint Deployment State Change"
    return bus_event(settings, "aws.sagemaker", kind, detail, [state.arn])


def _pending(state: EndpointState, pending: EndpointRollout, step: str) -> JsonObject:
    started = int(state.pending_since * 1000)
    status: JsonObject = {"Status": step, "StartTime": started}
    return {
        "EndpointConfigName": pending.config_name,
        "StartTime": started,
        "ProductionVariants": [{**_variant(pending), "VariantStatus": [status]}],
    }
