"""Each function's environment, as one model. The stack sets exactly these variables.

A variable that is missing or malformed fails the function's first invocation; none has a default,
since a value that the stack forgot would otherwise show only in the middle of a rollout.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

VariableText = Annotated[str, StringConstraints(min_length=1)]


class FunctionSettings(BaseModel):
    """What every function needs."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    dead_letter_queue_url: Annotated[VariableText, Field(alias="RSSI_DEAD_LETTER_QUEUE_URL")]

    @classmethod
    def from_environment(cls) -> Self:
        """Read the process's environment.

        Raises:
            pydantic.ValidationError: a variable is missing or malformed; the error names it.
        """
        return cls.model_validate(dict(os.environ))

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """The environment variables that the function reads."""
        return tuple(str(field.alias) for field in cls.model_fields.values())


class BucketSettings(FunctionSettings):
    """For functions that read the artifact bucket."""

    artifact_bucket: Annotated[VariableText, Field(alias="RSSI_ARTIFACT_BUCKET")]


class LedgerSettings(FunctionSettings):
    """For functions that change the ledger and announce the changes."""

    ledger_table: Annotated[VariableText, Field(alias="RSSI_LEDGER_TABLE")]
    bus: Annotated[VariableText, Field(alias="RSSI_BUS")]


class EndpointSettings(FunctionSettings):
    """For functions that work with endpoints."""

    endpoint_prefix: Annotated[VariableText, Field(alias="RSSI_ENDPOINT_PREFIX")]


class ModelSettings(BucketSettings):
    """For functions that make SageMaker models of releases."""

    serving_image: Annotated[VariableText, Field(alias="RSSI_SERVING_IMAGE")]
    execution_role_arn: Annotated[VariableText, Field(alias="RSSI_EXECUTION_ROLE_ARN")]


class CreateModelSettings(LedgerSettings, ModelSettings):
    """The environment of `create_model`."""

    stage: Annotated[VariableText, Field(alias="RSSI_STAGE")]
    """Names the parameters with the sites' policies."""


class DecideSettings(CreateModelSettings):
    """The environment of `decide`, which judges and deploys as `create_model` does."""


class RollEndpointSettings(LedgerSettings, EndpointSettings):
    """The environment of `roll_endpoint`."""

    instance_type: Annotated[VariableText, Field(alias="RSSI_INSTANCE_TYPE")]
    instance_count: Annotated[int, Field(alias="RSSI_INSTANCE_COUNT", ge=1)]
    termination_wait_s: Annotated[int, Field(alias="RSSI_TERMINATION_WAIT_S", ge=0)]


class SmokeTestSettings(LedgerSettings, BucketSettings, EndpointSettings):
    """The environment of `smoke_test`."""

    smoke_latency_ms: Annotated[float, Field(alias="RSSI_SMOKE_LATENCY_MS", gt=0)]


class RollBackSettings(LedgerSettings, ModelSettings, EndpointSettings):
    """The environment of `roll_back`."""


class ReconcileSettings(LedgerSettings, BucketSettings, EndpointSettings):
    """The environment of `reconcile`."""


class CleanUpSettings(BucketSettings):
    """The environment of `clean_up`, which has no access to the ledger or the bus."""

    dead_attempts_days: Annotated[int, Field(alias="RSSI_DEAD_ATTEMPTS_DAYS", ge=2)]
    failed_attempts_days: Annotated[int, Field(alias="RSSI_FAILED_ATTEMPTS_DAYS", ge=2)]


SETTINGS_OF_FUNCTION: Mapping[str, type[FunctionSettings]] = MappingProxyType(
    {
        "create_model": CreateModelSettings,
        "decide": DecideSettings,
        "roll_endpoint": RollEndpointSettings,
        "smoke_test": SmokeTestSettings,
        "roll_back": RollBackSettings,
        "reconcile": ReconcileSettings,
        "clean_up": CleanUpSettings,
    }
)
"""By the function's module."""
