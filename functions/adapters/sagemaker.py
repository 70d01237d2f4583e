"""SageMaker: models, endpoint configurations, endpoints.

Models and configurations are named by their content, so creating one again is a success: the error
"already existing" leads to a comparison with what is there.
"""

from typing import TYPE_CHECKING, Any

from functions.core.deployments import SiteState
from functions.core.endpoint_drift import drift_of
from functions.core.errors import ConflictError, EndpointBusyError
from functions.core.rollout import EndpointDescription
from functions.core.rollout_policies import RolloutPolicy
from functions.core.specification import VARIANT, EndpointSpecification, ModelSpecification

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker.type_defs import (
        ContainerDefinitionTypeDef,
        ProductionVariantTypeDef,
    )


class SageMakerControlPlane:
    """Makes models and configurations, and creates, updates and deletes endpoints."""

    def __init__(self, client: "SageMakerClient") -> None:
        self._sagemaker = client

    def ensure_model(self, specification: ModelSpecification) -> None:
        """Create the model, or find it created.

        Raises:
            ConflictError: a model of that name has other content.
        """
        container: ContainerDefinitionTypeDef = {
            "Image": specification.image,
            "ModelDataUrl": specification.model_data_url,
        }
        role = specification.execution_role_arn
        try:
            self._sagemaker.create_model(
                ModelName=specification.name, PrimaryContainer=container, ExecutionRoleArn=role
            )
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "already existing")
            found = self._sagemaker.describe_model(ModelName=specification.name)
            wanted = {"PrimaryContainer": container, "ExecutionRoleArn": role}
            _compare(f"model {specification.name}", wanted, found)

    def ensure_configuration(self, specification: EndpointSpecification) -> None:
        """Create the endpoint configuration, or find it created.

        Raises:
            ConflictError: a configuration of that name has other content.
        """
        variants: list[ProductionVariantTypeDef] = [
            {
                "VariantName": VARIANT,
                "ModelName": specification.model_name,
                "InstanceType": specification.fleet.instance_type,  # type: ignore[typeddict-item]  # newer types exist
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
            instances=sum(
                variant.get("CurrentInstanceCount", 1)
                for variant in found.get("ProductionVariants", [])
            ),
        )

    def drift(self, state: SiteState, name: str) -> str | None:
        """How the site's endpoint differs from the ledger; see `endpoint_drift.drift_of`."""
        champion = state.champion
        missing = self._missing(champion.model_name, state.champion_config) if champion else []
        return drift_of(state, self.endpoint(name), missing)

    def _missing(self, model: str, configuration: str | None) -> list[str]:
        """Which of the two were deleted; an endpoint serves on without them until it changes."""
        lost = []
        try:
            self._sagemaker.describe_model(ModelName=model)
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "could not find")
            lost.append(f"model {model}")
        if configuration is None:
            return lost
        try:
            self._sagemaker.describe_endpoint_config(EndpointConfigName=configuration)
        except self._sagemaker.exceptions.ClientError as error:
            _reraise_unless(error, "could not find")
            lost.append(f"endpoint configuration {configuration}")
        return lost

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

    def update_endpoint(self, name: str, config_name: str, policy: RolloutPolicy) -> None:
        """Move the endpoint to a configuration in the way that the policy describes.

        Raises:
            EndpointBusyError: it is in the middle of another change.
        """
        update = policy.update()
        try:
            self._sagemaker.update_endpoint(
                EndpointName=name,
                EndpointConfigName=config_name,
                DeploymentConfig={
                    "BlueGreenUpdatePolicy": {
                        "TrafficRoutingConfiguration": {
                            "Type": update.routing,
                            "WaitIntervalInSeconds": update.wait_s,
                        },
                        "TerminationWaitInSeconds": update.termination_wait_s,
                        "MaximumExecutionTimeoutInSeconds": update.maximum_execution_s,
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


def _reraise_unless(error: "ClientError", expected: str) -> None:
    """SageMaker raises ValidationException for most things; only the message tells them apart."""
    if expected not in error.response["Error"]["Message"].lower():
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
