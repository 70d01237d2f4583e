"""From an endpoint configuration to what an endpoint runs: a fleet, its traffic steps, its alarms.

A container image can't be run without Docker, so a command stands for it
(`CloudSettings.serving_commands`); an image without a command fails the endpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from ops.local.errors import ChildFailedError, ServiceError
from ops.local.faults.kinds import FaultType
from ops.local.sagemaker import api
from ops.local.sagemaker.endpoint import EndpointRollout
from ops.local.sagemaker.endpoint_process import ContainerSpec
from ops.local.sagemaker.environment import EndpointEnvironment
from ops.local.sagemaker.fleet import Fleet
from ops.local.sagemaker.guardrails import traffic_steps
from ops.local.settings import CloudSettings

_NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type or after some time."
)
_NO_START = (
    "The primary container for production variant {variant} did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint."
)


@dataclass(frozen=True, slots=True)
class RetainedProperties:
    """What an endpoint keeps in an update, instead of taking it from the new configuration."""

    instances: int | None = None
    capture: api.DataCaptureConfig | None = None


class RolloutFactory:
    """Makes rollouts.

    Args:
        settings: commands, timeouts and the scale of waits.
        environment: the parts of the cloud that endpoints use.
        workspace: the directory for files of serving processes.
    """

    def __init__(
        self,
        settings: CloudSettings,
        environment: EndpointEnvironment,
        workspace: Path,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._workspace = workspace

    def rollout(
        self,
        endpoint: str,
        config: api.CreateEndpointConfig,
        container: api.ContainerDefinition,
        deployment: api.DeploymentConfig | None,
        retained: RetainedProperties | None = None,
    ) -> EndpointRollout:
        """The rollout of a configuration; its fleet is not made yet.

        Args:
            endpoint: the endpoint's name.
            config: the endpoint configuration.
            container: the container of the model that its variant names.
            deployment: the deployment guardrails, if any.
            retained: what the endpoint keeps of its present properties.

        Raises:
            ServiceError: the deployment breaks one of SageMaker's bounds.
        """
        variant = config.production_variants[0]
        retained = retained or RetainedProperties()
        count = retained.instances or variant.initial_instance_count or 1
        deployment = deployment or api.DeploymentConfig()
        return EndpointRollout(
            config_name=config.endpoint_config_name,
            variant=variant.variant_name,
            instances=count,
            image=container.image,
            make_fleet=lambda: self._fleet(endpoint, config, container, count),
            steps=traffic_steps(deployment, count),
            clock_scale=self._settings.clock_scale,
            alarms=[alarm.alarm_name for alarm in deployment.auto_rollback_configuration.alarms],
            deployment=deployment.wire() or None,
            capture=retained.capture or config.data_capture_config,
        )

    def _fleet(
        self,
        endpoint: str,
        config: api.CreateEndpointConfig,
        container: api.ContainerDefinition,
        instances: int,
    ) -> Fleet:
        """A fleet that is not started.

        Raises:
            ChildFailedError: no command stands for the image, the archive can't be read, or a fault
                keeps it from starting.
        """
        name, variant = config.endpoint_config_name, config.production_variants[0].variant_name
        fault = self._environment.faults.start(endpoint, name)
        if fault is FaultType.CAPACITY:
            raise ChildFailedError(_NO_CAPACITY)
        if fault is FaultType.NO_START:
            raise ChildFailedError(_NO_START.format(variant=variant))
        spec = ContainerSpec(
            label=endpoint,
            command=self._command(container.image),
            archive=self._archive(container),
            environment={
                **self._settings.client_environment(self._environment.clients.address),
                **container.environment,
            },
            workspace=self._workspace,
            startup_timeout=self._settings.startup_timeout,
            request_timeout=self._settings.request_timeout,
        )
        group = f"/aws/sagemaker/Endpoints/{endpoint}"

        def write(line: str) -> None:
            self._environment.logs.write(group, variant, line)

        return Fleet(
            spec,
            instances,
            self._environment.processes,
            write,
            faults=lambda: self._environment.faults.of_containers(endpoint, name),
        )

    def _command(self, image: str) -> Sequence[str]:
        settings = self._settings
        command = settings.serving_commands.get(image, settings.default_serving_command)
        if not command:
            raise ChildFailedError(
                f"No command stands for the container image {image}. Set serving_commands or "
                "default_serving_command in CloudSettings, or start the cloud with "
                "--serving-command."
            )
        return command

    def _archive(self, container: api.ContainerDefinition) -> bytes:
        url = container.archive_url
        if url is None:
            raise ChildFailedError("The model names no archive: set ModelDataUrl.")
        bucket, key = bucket_and_key(url)
        try:
            response = self._environment.clients.get("s3").get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise ChildFailedError(f"Failed to download model data from {url}: {error}") from error
        content: bytes = response["Body"].read()
        return content


def bucket_and_key(url: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` URL.

    Raises:
        ServiceError: ``ValidationException``, it is none.
    """
    parts = urlsplit(url, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise ServiceError("ValidationException", f"{url} is no s3://bucket/key URL.")
    return parts.netloc, parts.path.removeprefix("/")
