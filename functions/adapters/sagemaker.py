"""SageMakerControlPlane: models, endpoint configurations, the endpoint, and asking it.

What is named by its content may be created again: "already existing" is success once it has been
described and compared.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from functions.core.errors import ConflictError, EndpointBusyError
from functions.core.rollout import EndpointDescription
from functions.core.smoke import EndpointResponse
from functions.core.specification import VARIANT, EndpointSpecification, ModelSpecification

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class NoAnswerError(Exception):
    """The endpoint gave no usable answer; the text says what it gave instead."""


@dataclass(frozen=True)
class TimedResponse:
    """An answer and how long it took, in milliseconds."""

    answer: EndpointResponse
    milliseconds: float


class SageMakerControlPlane:
    """The calls of SageMaker's control plane that releases need."""

    def __init__(self, client: Any) -> None:
        self._sagemaker = client

    def ensure_model(self, specification: ModelSpecification) -> None:
        """Create the model, or find it created.

        Raises:
            ConflictError: a model of that name has other content.
        """
        wanted = {
            "PrimaryContainer": {
                "Image": specification.image,
                "ModelDataUrl": specification.model_data_url,
            },
            "ExecutionRoleArn": specification.execution_role_arn,
        }
        try:
            self._sagemaker.create_model(ModelName=specification.name, **wanted)
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "already existing")
            found = self._sagemaker.describe_model(ModelName=specification.name)
            _compare(f"model {specification.name}", wanted, found)

    def ensure_configuration(self, specification: EndpointSpecification) -> None:
        """Create the endpoint configuration, or find it created.

        Raises:
            ConflictError: a configuration of that name has other content.
        """
        variants = [
            {
                "VariantName": VARIANT,
                "ModelName": specification.model_name,
                "InstanceType": specification.fleet.instance_type,
                "InitialInstanceCount": specification.fleet.instance_count,
                "InitialVariantWeight": 1.0,
            }
        ]
        name = specification.name
        try:
            self._sagemaker.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=variants
            )
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "already existing")
            found = self._sagemaker.describe_endpoint_config(EndpointConfigName=name)
            _compare(f"endpoint configuration {name}", variants, found["ProductionVariants"])

    def endpoint(self, name: str) -> EndpointDescription | None:
        """The endpoint as it is now; None if there is none."""
        try:
            found = self._sagemaker.describe_endpoint(EndpointName=name)
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "could not find")
            return None
        pending = found.get("PendingDeploymentSummary", {})
        return EndpointDescription(
            status=found["EndpointStatus"],
            config_name=found.get("EndpointConfigName"),
            pending_config_name=pending.get("EndpointConfigName"),
            failure_reason=found.get("FailureReason") or None,
        )

    def create_endpoint(self, name: str, config_name: str) -> None:
        """Create the endpoint on a configuration.

        Raises:
            EndpointBusyError: it exists by now.
        """
        try:
            self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config_name)
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "already existing")
            raise EndpointBusyError(f"endpoint {name} was created by someone else") from error

    def update_endpoint(self, name: str, config_name: str, termination_wait_s: int) -> None:
        """EndpointAction the endpoint to a configuration, blue/green, all at once.

        Raises:
            EndpointBusyError: it is in the middle of another change.
        """
        try:
            self._sagemaker.update_endpoint(
                EndpointName=name,
                EndpointConfigName=config_name,
                DeploymentConfig={
                    "BlueGreenUpdatePolicy": {
                        "TrafficRoutingConfiguration": {
                            "Type": "ALL_AT_ONCE",
                            "WaitIntervalInSeconds": 0,
                        },
                        "TerminationWaitInSeconds": termination_wait_s,
                        "MaximumExecutionTimeoutInSeconds": 1800,
                    }
                },
            )
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "in-progress")
            raise EndpointBusyError(f"endpoint {name} is in the middle of a change") from error

    def delete_endpoint(self, name: str) -> None:
        """Delete the endpoint; not finding it is success."""
        try:
            self._sagemaker.delete_endpoint(EndpointName=name)
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "could not find")


class Invoker:
    """Asks an endpoint for predictions."""

    def __init__(self, client: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._runtime = client
        self._clock = clock

    def ask(self, endpoint: str, body: bytes) -> TimedResponse:
        """Send one JSON request and time its answer.

        Raises:
            NoAnswerError: the endpoint refused, failed, or answered something unreadable.
        """
        # Who asks has loaded botocore; who only imports this module need not.
        from botocore.exceptions import HTTPClientError  # noqa: PLC0415

        started = self._clock()
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=endpoint,
                ContentType="application/json",
                Accept="application/json",
                Body=body,
            )
            content = answer["Body"].read()
        except (self._runtime.exceptions.ClientError, HTTPClientError) as error:
            raise NoAnswerError(f"the endpoint gave no answer: {error}") from error
        milliseconds = (self._clock() - started) * 1000
        try:
            return TimedResponse(EndpointResponse.model_validate_json(content), milliseconds)
        except ValueError as error:
            raise NoAnswerError(f"the endpoint's answer can't be read: {error}") from error


def _reraise_unless(error: "ClientError", said: str) -> None:
    """SageMaker answers ValidationException to most things: only the message tells them apart."""
    if said not in error.response["Error"]["Message"].lower():
        raise error


def _compare(what: str, wanted: Any, found: Any) -> None:
    if not _contains(found, wanted):
        raise ConflictError(
            f"the {what} exists with other content than this release needs; someone else uses "
            "our names. Delete it if nothing uses it, then repeat."
        )


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _contains(found.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(map(_contains, found, wanted))
        )
    return bool(found == wanted)
