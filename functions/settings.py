"""The functions' environment, as the stack sets it."""

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1)]


class Settings(BaseModel):
    """Variables of every function; those that only one function needs have a default."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    artifact_bucket: Annotated[Name, Field(alias="RSSI_ARTIFACT_BUCKET")]
    bus: Annotated[Name, Field(alias="RSSI_BUS")]
    ledger_table: Annotated[Name, Field(alias="RSSI_LEDGER_TABLE")]
    endpoint_prefix: Annotated[Name, Field(alias="RSSI_ENDPOINT_PREFIX")]
    dead_letter_queue_url: Annotated[Name, Field(alias="RSSI_DEAD_LETTER_QUEUE_URL")]
    serving_image: Annotated[str, Field(alias="RSSI_SERVING_IMAGE")] = ""
    execution_role_arn: Annotated[str, Field(alias="RSSI_EXECUTION_ROLE_ARN")] = ""
    instance_type: Annotated[str, Field(alias="RSSI_INSTANCE_TYPE")] = ""
    instance_count: Annotated[int, Field(alias="RSSI_INSTANCE_COUNT")] = 1
    termination_wait_s: Annotated[int, Field(alias="RSSI_TERMINATION_WAIT_S")] = 0
    dead_attempts_days: Annotated[int, Field(alias="RSSI_DEAD_ATTEMPTS_DAYS", ge=2)] = 7
    failed_attempts_days: Annotated[int, Field(alias="RSSI_FAILED_ATTEMPTS_DAYS", ge=2)] = 30
    smoke_latency_ms: Annotated[float, Field(alias="RSSI_SMOKE_LATENCY_MS")] = 1000.0

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the process's environment.

        Raises:
            pydantic.ValidationError: a variable is missing or malformed; it is named.
        """
        return cls.model_validate(dict(os.environ))
