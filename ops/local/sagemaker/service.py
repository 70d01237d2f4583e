"""The SageMaker API: models, endpoint configurations, endpoints and InvokeEndpoint.

As on AWS, the model and the configuration of a live endpoint may be deleted; its next update then
fails.
"""

import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from botocore.exceptions import ClientError

from ops.local.errors import ServiceError
from ops.local.events.bus_event import BusEvent
from ops.local.gateway.protocol import (
    ApiModel,
    AwsRequest,
    AwsResponse,
    JsonObject,
    JsonService,
    operation,
)
from ops.local.sagemaker import api
from ops.local.sagemaker.data_capture import DataCapture
from ops.local.sagemaker.endpoint import Endpoint, EndpointRollout, EndpointState
from ops.local.sagemaker.endpoint_events import endpoint_event, pending_summary, variant_summary
from ops.local.sagemaker.environment import EndpointEnvironment
from ops.local.sagemaker.inference import EndpointInvoker
from ops.local.sagemaker.rollout_factory import RetainedProperties, RolloutFactory, bucket_and_key
from ops.local.sagemaker.tags import ResourceTags
from ops.local.sagemaker.validation import check_config, check_model, refuse_conversion
from ops.local.settings import CloudSettings

_INVOKE_PATH = ("/endpoints/", "/invocations")

RequestT = TypeVar("RequestT", bound=ApiModel)
FoundT = TypeVar("FoundT")


@dataclass(frozen=True, slots=True)
class CreatedResource(Generic[RequestT]):
    """An immutable model or configuration; ``created`` is epoch seconds."""

    request: RequestT
    arn: str
    created: float


class SageMakerService:
    """Every model, configuration and endpoint of the cloud.

    Args:
        settings: serving commands, timeouts and the share of duplicate events.
        environment: the parts of the cloud that endpoints use.
        publish: puts an event on the default bus.
    """

    def __init__(
        self,
        settings: CloudSettings,
        environment: EndpointEnvironment,
        publish: Callable[[BusEvent], None],
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._publish = publish
        self._random = random.Random(settings.seed)  # noqa: S311 - repeatable, not secret
        self._workspace = tempfile.TemporaryDirectory(
            prefix="local-endpoints-", ignore_cleanup_errors=True
        )
        self._rollouts = RolloutFactory(settings, environment, Path(self._workspace.name))
        self._capture = DataCapture(environment.clients, settings.seed)
        self._invoker = EndpointInvoker(settings, environment.metrics, self._capture)
        self._lock = threading.RLock()
        self._models: dict[str, CreatedResource[api.CreateModel]] = {}
        self._configs: dict[str, CreatedResource[api.CreateEndpointConfig]] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._tags = ResourceTags()
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
                "UpdateEndpointWeightsAndCapacities": operation(
                    api.UpdateWeightsAndCapacities, self._scale_endpoint
                ),
                "DeleteEndpoint": operation(api.EndpointName, self._delete_endpoint),
                "AddTags": operation(api.AddTags, self._tags.add),
                "DeleteTags": operation(api.DeleteTags, self._tags.delete),
                "ListTags": operation(api.TagsRequest, self._tags.list),
            },
        )

    def service(self, request: AwsRequest) -> AwsResponse:
        """Answer one request of the control plane or the runtime, which share a signing name.

        Raises:
            ServiceError: the operation is not emulated, or refuses the request.
        """
        before, after = _INVOKE_PATH
        if request.path.startswith(before) and request.path.endswith(after):
            name = request.path.removeprefix(before).removesuffix(after)
            return self._invoker.invoke(self._endpoints, name, request)
        return self._control(request)

    def pids(self, endpoint: str) -> list[int]:
        """Process ids of the instances that get an endpoint's traffic.

        Raises:
            ServiceError: there is no such endpoint.
        """
        return self._endpoint(endpoint).pids()

    def live_config(self, endpoint: str) -> str | None:
        """The configuration that an endpoint serves; None if it serves none."""
        found = self._endpoints.get(endpoint)
        return found.state().config_name if found and found.serves else None

    def close(self) -> None:
        """End every serving process at once, and write what was captured."""
        self._capture.close()
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
        check_model(request)
        self._check_archive(request.primary_container)
        with self._lock:
            _refuse_existing(self._models, request.model_name, f'model "{arn}"')
            self._models[request.model_name] = CreatedResource(request, arn, time.time())
            self._tags.set(arn, request.tags)
        return {"ModelArn": arn}

    def _check_archive(self, container: api.ContainerDefinition) -> None:
        if container.archive_url is None:
            return
        bucket, key = bucket_and_key(container.archive_url)
        try:
            self._environment.clients.get("s3").head_object(Bucket=bucket, Key=key)
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
            self._tags.forget(self._model(request.model_name).arn)
            del self._models[request.model_name]
        return {}

    # --- endpoint configurations

    def _create_config(self, request: api.CreateEndpointConfig) -> JsonObject:
        name = request.endpoint_config_name
        arn = self._arn("endpoint-config", name)
        with self._lock:
            _refuse_existing(self._configs, name, f'endpoint configuration "{arn}"')
            model = self._model(request.production_variants[0].model_name)
            check_config(request, model.request)
            self._configs[name] = CreatedResource(request, arn, time.time())
            self._tags.set(arn, request.tags)
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
            self._tags.forget(self._config(request.endpoint_config_name).arn)
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
            self._tags.set(arn, request.tags)
        endpoint.create()
        return {"EndpointArn": arn}

    def _update_endpoint(self, request: api.UpdateEndpoint) -> JsonObject:
        with self._lock:
            endpoint = self._endpoint(request.endpoint_name)
            live = endpoint.state().live
            live_config = self._config(live.config_name).request
            new_config = self._config(request.endpoint_config_name).request
            refuse_conversion(live_config, new_config)
            deployment = request.deployment_config
            if request.retain_deployment_config and live.deployment:
                deployment = api.DeploymentConfig.model_validate(live.deployment)
            retained = RetainedProperties(
                instances=live.instances if request.retains("DesiredInstanceCount") else None,
                capture=live.capture if request.retains("DataCaptureConfig") else None,
            )
            rollout = self._rollout(
                request.endpoint_name, request.endpoint_config_name, deployment, retained
            )
            endpoint.update(rollout)
        return {"EndpointArn": endpoint.arn}

    def _scale_endpoint(self, request: api.UpdateWeightsAndCapacities) -> JsonObject:
        (desired,) = request.desired_weights_and_capacities
        with self._lock:
            endpoint = self._endpoint(request.endpoint_name)
            live = endpoint.state().live
            if desired.variant_name != live.variant:
                raise ServiceError(
                    "ValidationException", f"Could not find variant {desired.variant_name}."
                )
            endpoint.scale(desired.desired_instance_count or live.instances)
        return {"EndpointArn": endpoint.arn}

    def _delete_endpoint(self, request: api.EndpointName) -> JsonObject:
        with self._lock:
            endpoint = self._endpoint(request.endpoint_name)
            endpoint.delete()
            del self._endpoints[request.endpoint_name]
            self._tags.forget(endpoint.arn)
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
            response["ProductionVariants"] = [variant_summary(state.live)]
            if state.live.capture:
                response["DataCaptureConfig"] = state.live.capture.summary()
        if state.failure_reason:
            response["FailureReason"] = state.failure_reason
        if state.live.deployment:
            response["LastDeploymentConfig"] = state.live.deployment
        if state.pending:
            response["PendingDeploymentSummary"] = pending_summary(
                state, state.pending, lambda seconds: seconds
            )
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

    def _rollout(
        self,
        endpoint: str,
        config_name: str,
        deployment: api.DeploymentConfig | None,
        retained: RetainedProperties | None = None,
    ) -> EndpointRollout:
        config = self._config(config_name).request
        container = self._model(config.production_variants[0].model_name).request.primary_container
        rollout = self._rollouts.rollout(endpoint, config, container, deployment, retained)
        missing = set(rollout.alarms) - self._environment.alarm_states(rollout.alarms).keys()
        if missing:
            raise ServiceError(
                "ValidationException",
                "Invalid AutoRollbackConfiguration: could not find CloudWatch alarm(s) "
                f"{', '.join(sorted(missing))}.",
            )
        return rollout

    def _alarms_firing(self, names: Sequence[str]) -> list[str]:
        states = self._environment.alarm_states(names)
        return [name for name, state in states.items() if state == "ALARM"]

    # --- events

    def _announce(self, state: EndpointState) -> None:
        """Publish the event for a change of status or a bake, sometimes twice."""
        event = endpoint_event(self._settings, state, self._tags.of(state.arn))
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
