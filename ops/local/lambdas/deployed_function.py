"""What the Lambda API keeps of one function, and what follows from it."""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ops.local.gateway.protocol import JsonObject
from ops.local.lambdas import api
from ops.local.lambdas.async_invocations import AsyncPolicy
from ops.local.lambdas.code_archives import CodeArchive
from ops.local.lambdas.function import LambdaFunction


@dataclass(frozen=True, slots=True)
class DeployedFunction:
    """A function's configuration and code, and what runs it."""

    configuration: api.FunctionConfiguration
    archive: CodeArchive
    function: LambdaFunction
    modified: str
    reserved: int | None = None
    events: api.EventInvokeConfig | None = None
    permissions: tuple[api.InvokePermission, ...] = ()

    def is_made_from(
        self, configuration: api.FunctionConfiguration, archive: CodeArchive, reserved: int | None
    ) -> bool:
        """Whether it has this configuration, code and reserved concurrency already."""
        return (self.configuration, self.archive, self.reserved) == (
            configuration,
            archive,
            reserved,
        )

    def policy(self) -> AsyncPolicy:
        """How it treats asynchronous invocations."""
        dead_letter = self.configuration.dead_letter_config.target_arn
        if self.events is None:
            return AsyncPolicy(dead_letter=dead_letter)
        return AsyncPolicy(
            maximum_retry_attempts=self.events.maximum_retry_attempts,
            maximum_event_age=self.events.maximum_event_age_in_seconds,
            on_failure=self.events.destination_config.on_failure.destination,
            on_success=self.events.destination_config.on_success.destination,
            dead_letter=dead_letter,
        )

    def permits(self, caller: str, source_arn: str) -> bool:
        """Whether a service may invoke it on behalf of a resource."""
        return any(
            permission.principal == caller
            and permission.action in {"lambda:InvokeFunction", "lambda:*"}
            and fnmatchcase(source_arn, permission.source_arn or "*")
            for permission in self.permissions
        )

    def description(self) -> JsonObject:
        """The function as GetFunctionConfiguration shows it."""
        configuration = self.configuration
        return {
            "FunctionName": configuration.function_name,
            "FunctionArn": self.function.spec.arn,
            "Runtime": configuration.runtime,
            "Role": configuration.role,
            "Handler": configuration.handler,
            "CodeSize": self.archive.size,
            "CodeSha256": self.archive.sha256,
            "Description": configuration.description,
            "Timeout": configuration.timeout,
            "MemorySize": configuration.memory_size,
            "LastModified": self.modified,
            "Version": "$LATEST",
            "Environment": {"Variables": {**configuration.environment.variables}},
            "DeadLetterConfig": configuration.dead_letter_config.wire(),
            "Layers": [{"Arn": arn} for arn in configuration.layers],
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "LoggingConfig": {
                "LogFormat": configuration.logging_config.log_format,
                "LogGroup": log_group(configuration),
            },
        }


def log_group(configuration: api.FunctionConfiguration) -> str:
    """The log group of a function; Lambda has a default for it."""
    return configuration.logging_config.log_group or f"/aws/lambda/{configuration.function_name}"


def runtime_environment(
    configuration: api.FunctionConfiguration, archive: CodeArchive, log_stream: str
) -> dict[str, str]:
    """The variables that Lambda gives a function, without its own and those of AWS clients."""
    logging = configuration.logging_config
    level = {"AWS_LAMBDA_LOG_LEVEL": logging.application_log_level or "INFO"}
    return {
        "PATH": os.defpath,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": str(archive.directory),
        "LAMBDA_TASK_ROOT": str(archive.directory),
        "_HANDLER": configuration.handler,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{configuration.runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": configuration.function_name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory_size),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group(configuration),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_LOG_FORMAT": logging.log_format,
        **(level if logging.log_format == "JSON" else {}),
    }
