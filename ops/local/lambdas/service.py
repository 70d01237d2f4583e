"""The Lambda API: functions from zip archives, run by the real runtime client.

Code runs in this project's own virtual environment, so layers are accepted and not unpacked. A
function may be invoked by another service only if a permission allows it, as on AWS: a template
that forgets one fails here, too.
"""

import base64
import hashlib
import io
import os
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Base64Bytes, Field, JsonValue

from ops.local.errors import ServiceError, UndeliverableError
from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.protocol import (
    ApiModel,
    ApiRequest,
    ApiResponse,
    JsonObject,
    json_response,
    parse,
)
from ops.local.lambdas.async_invocations import (
    AsyncInvocations,
    AsyncPolicy,
    InvocationDestinations,
)
from ops.local.lambdas.function import FunctionSpec, LambdaFunction
from ops.local.log_shipper import LogShipper
from ops.local.processes import Processes
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

_MAX_EVENT = 1024 * 1024  # bytes of an asynchronous event
_MAX_PAYLOAD = 6 * 1024 * 1024  # bytes of a synchronous one


class FunctionCode(ApiModel):
    zip_file: Base64Bytes | None = None
    s3_bucket: str | None = None
    s3_key: str | None = None
    s3_object_version: str | None = None


class EnvironmentVariables(ApiModel):
    variables: dict[str, str] = Field(default_factory=dict)


class DeadLetterTarget(ApiModel):
    target_arn: str | None = None


class LoggingConfiguration(ApiModel):
    log_group: str | None = None
    log_format: str = "Text"
    application_log_level: str | None = None
    system_log_level: str | None = None


class FunctionConfiguration(ApiModel):
    function_name: str
    handler: str = ""
    role: str = ""
    runtime: str = "python3.11"
    description: str = ""
    timeout: int = 3
    memory_size: int = 128
    environment: EnvironmentVariables = EnvironmentVariables()
    dead_letter_config: DeadLetterTarget = DeadLetterTarget()
    logging_config: LoggingConfiguration = LoggingConfiguration()
    layers: tuple[str, ...] = ()


class CreateFunction(FunctionConfiguration):
    code: FunctionCode
    package_type: str = "Zip"
    publish: bool = False
    tags: dict[str, str] = Field(default_factory=dict)


class UpdateFunctionCode(FunctionCode):
    function_name: str


class InvocationDestination(ApiModel):
    destination: str | None = None


class DestinationConfig(ApiModel):
    on_success: InvocationDestination = InvocationDestination()
    on_failure: InvocationDestination = InvocationDestination()


class EventInvokeConfig(ApiModel):
    function_name: str
    maximum_retry_attempts: int = Field(2, ge=0, le=2)
    maximum_event_age_in_seconds: int = Field(21600, ge=60, le=21600)
    destination_config: DestinationConfig = DestinationConfig()


class InvokePermission(ApiModel):
    function_name: str
    statement_id: str
    action: str
    principal: str
    source_arn: str | None = None
    source_account: str | None = None


class PutFunctionConcurrency(ApiModel):
    function_name: str
    reserved_concurrent_executions: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class CodeArchive:
    directory: Path
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class DeployedFunction:
    """A function as it stands: what was asked for and what runs it."""

    configuration: FunctionConfiguration
    archive: CodeArchive
    function: LambdaFunction
    modified: str
    reserved: int | None = None
    events: EventInvokeConfig | None = None
    permissions: tuple[InvokePermission, ...] = field(default=())

    def is_made_from(
        self, configuration: FunctionConfiguration, archive: CodeArchive, reserved: int | None
    ) -> bool:
        return (self.configuration, self.archive, self.reserved) == (
            configuration,
            archive,
            reserved,
        )

    def policy(self) -> AsyncPolicy:
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


_Route = Callable[[ApiRequest, str], ApiResponse]


class LambdaService:
    """Every function of the cloud.

    Args:
        settings: region, account, concurrency and timeouts.
        clients: for code in S3, and for dead-letter queues.
        processes: starts the runtime clients.
        logs: takes their output.
        timer: for retries.
        destinations: for records of asynchronous invocations.
    """

    def __init__(
        self,
        settings: CloudSettings,
        clients: ServiceClients,
        processes: Processes,
        logs: LogShipper,
        timer: Timer,
        destinations: InvocationDestinations,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._processes = processes
        self._logs = logs
        self._events = AsyncInvocations(settings, timer, clients, destinations, self._find)
        self._directory = tempfile.TemporaryDirectory(prefix="rssi-lambda-")
        self._lock = threading.RLock()
        self._functions: dict[str, DeployedFunction] = {}
        name = r"/functions/(?P<name>[^/]+)"
        self._routes: list[tuple[str, re.Pattern[str], _Route]] = [
            (method, re.compile(rf"/\d{{4}}-\d\d-\d\d{pattern}/?"), call)
            for method, pattern, call in (
                ("POST", "/functions", self._create),
                ("GET", "/functions", self._list),
                ("GET", name, self._get),
                ("DELETE", name, self._delete),
                ("GET", f"{name}/configuration", self._get_configuration),
                ("PUT", f"{name}/configuration", self._update_configuration),
                ("PUT", f"{name}/code", self._update_code),
                ("PUT", f"{name}/event-invoke-config", self._put_event_config),
                ("GET", f"{name}/event-invoke-config", self._get_event_config),
                ("POST", f"{name}/policy", self._add_permission),
                ("PUT", f"{name}/concurrency", self._put_concurrency),
                ("POST", f"{name}/invocations", self._invoke),
            )
        ]

    def service(self, request: ApiRequest) -> ApiResponse:
        """Answer one request.

        Raises:
            ServiceError: the operation is not emulated, or refuses the request.
        """
        for method, pattern, call in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                name = match.groupdict().get("name", "")
                return call(request, _short_name(name))
        raise ServiceError(
            "UnknownOperationException",
            f"lambda {request.method} {request.path} is not emulated.",
            status=404,
        )

    def accept(self, arn: str, payload: bytes, caller: str, source_arn: str) -> None:
        """Take an event from another service.

        Raises:
            UndeliverableError: the function is missing, or does not permit the call.
        """
        name = _short_name(arn)
        deployed = self._functions.get(name)
        if deployed is None:
            raise UndeliverableError("NO_RESOURCE", f"Function not found: {arn}")
        if not any(_permits(each, caller, source_arn) for each in deployed.permissions):
            raise UndeliverableError(
                "NO_PERMISSIONS",
                f"{caller} may not invoke {name} for {source_arn}: add a permission for it.",
            )
        self._events.accept(name, payload)

    def accept_from_function(self, arn: str, payload: bytes) -> None:
        """Take an event from another function, whose role permits it."""
        self._events.accept(_short_name(arn), payload)

    def close(self) -> None:
        """Stop every function and remove the unpacked code."""
        self._events.close()
        with self._lock:
            functions, self._functions = self._functions, {}
        for deployed in functions.values():
            deployed.function.close()
        self._directory.cleanup()

    def _find(self, name: str) -> tuple[LambdaFunction, AsyncPolicy] | None:
        deployed = self._functions.get(name)
        return (deployed.function, deployed.policy()) if deployed else None

    def _existing(self, name: str) -> DeployedFunction:
        deployed = self._functions.get(name)
        if deployed is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Function not found: {self._arn(name)}",
                status=404,
            )
        return deployed

    def _arn(self, name: str) -> str:
        return self._settings.arn("lambda", f"function:{name}")

    # --- making and changing functions

    def _create(self, request: ApiRequest, _: str) -> ApiResponse:
        asked = parse(CreateFunction, request.body)
        if asked.function_name in self._functions:
            raise ServiceError(
                "ResourceConflictException",
                f"Function already exist: {asked.function_name}",
                status=409,
            )
        configuration = FunctionConfiguration.model_validate(
            asked.model_dump(include=set(FunctionConfiguration.model_fields))
        )
        deployed = self._deploy(configuration, self._unpack(asked.code), None)
        return json_response(self._describe(deployed), 201)

    def _update_configuration(self, request: ApiRequest, name: str) -> ApiResponse:
        with self._lock:
            old = self._existing(name)
            members = (
                old.configuration.wire()
                | parse(FunctionConfiguration, request.body, {"FunctionName": name}).wire()
            )
            deployed = self._deploy(FunctionConfiguration.model_validate(members), old.archive, old)
        return json_response(self._describe(deployed))

    def _update_code(self, request: ApiRequest, name: str) -> ApiResponse:
        with self._lock:
            old = self._existing(name)
            asked = parse(UpdateFunctionCode, request.body, {"FunctionName": name})
            deployed = self._deploy(old.configuration, self._unpack(asked), old)
        return json_response(self._describe(deployed))

    def _put_concurrency(self, request: ApiRequest, name: str) -> ApiResponse:
        asked = parse(PutFunctionConcurrency, request.body, {"FunctionName": name})
        with self._lock:
            old = self._existing(name)
            reserved = asked.reserved_concurrent_executions
            self._deploy(old.configuration, old.archive, replace(old, reserved=reserved))
        return json_response({"ReservedConcurrentExecutions": reserved})

    def _deploy(
        self,
        configuration: FunctionConfiguration,
        archive: CodeArchive,
        old: DeployedFunction | None,
    ) -> DeployedFunction:
        """Put a new function in the place of the old one, which finishes what it is at.

        A function that is as asked for already keeps its warm processes.
        """
        reserved = old.reserved if old else None
        running = self._functions.get(configuration.function_name)
        if running and running.is_made_from(configuration, archive, reserved):
            return running
        function = self._function(configuration, archive, reserved)
        modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        if old:
            deployed = replace(
                old,
                configuration=configuration,
                archive=archive,
                function=function,
                modified=modified,
            )
        else:
            deployed = DeployedFunction(configuration, archive, function, modified)
        with self._lock:
            self._functions[configuration.function_name] = deployed
            self._events.open(configuration.function_name)
        if old:
            old.function.close()
        if self._settings.warm_start:
            function.warm()
        return deployed

    def _function(
        self, configuration: FunctionConfiguration, archive: CodeArchive, reserved: int | None
    ) -> LambdaFunction:
        name = configuration.function_name
        concurrency = self._settings.concurrency
        stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{os.urandom(16).hex()}"
        group = _log_group(configuration)
        spec = FunctionSpec(
            name=name,
            arn=self._arn(name),
            handler=configuration.handler,
            code=archive.directory,
            timeout=configuration.timeout,
            init_timeout=self._settings.init_timeout,
            concurrency=concurrency if reserved is None else min(reserved, concurrency),
            environment=self._environment(configuration, archive, group, stream),
        )
        return LambdaFunction(
            spec, self._processes, lambda line: self._logs.write(group, stream, line)
        )

    def _environment(
        self, configuration: FunctionConfiguration, archive: CodeArchive, group: str, stream: str
    ) -> dict[str, str]:
        """What Lambda gives a function, the client settings for this cloud, and its own."""
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
            "AWS_LAMBDA_LOG_GROUP_NAME": group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_LAMBDA_LOG_FORMAT": logging.log_format,
            **(level if logging.log_format == "JSON" else {}),
            **self._settings.client_environment(self._clients.address),
            **configuration.environment.variables,
        }

    def _unpack(self, code: FunctionCode) -> CodeArchive:
        content = code.zip_file or self._download(code)
        sha256 = hashlib.sha256(content)
        directory = Path(self._directory.name) / sha256.hexdigest()
        with self._lock:
            if not directory.exists():
                _extract(content, directory)
        digest = base64.b64encode(sha256.digest()).decode()
        return CodeArchive(directory, digest, len(content))

    def _download(self, code: FunctionCode) -> bytes:
        if not code.s3_bucket or not code.s3_key:
            raise ServiceError(
                "InvalidParameterValueException", "Code wants ZipFile, or S3Bucket and S3Key."
            )
        version = {"VersionId": code.s3_object_version} if code.s3_object_version else {}
        answer = self._clients.get("s3").get_object(
            Bucket=code.s3_bucket, Key=code.s3_key, **version
        )
        content: bytes = answer["Body"].read()
        return content

    def _delete(self, _: ApiRequest, name: str) -> ApiResponse:
        with self._lock:
            deployed = self._existing(name)
            del self._functions[name]
        deployed.function.close()
        return ApiResponse(204)

    # --- reading

    def _describe(self, deployed: DeployedFunction) -> JsonObject:
        asked = deployed.configuration
        return {
            "FunctionName": asked.function_name,
            "FunctionArn": deployed.function.spec.arn,
            "Runtime": asked.runtime,
            "Role": asked.role,
            "Handler": asked.handler,
            "CodeSize": deployed.archive.size,
            "CodeSha256": deployed.archive.sha256,
            "Description": asked.description,
            "Timeout": asked.timeout,
            "MemorySize": asked.memory_size,
            "LastModified": deployed.modified,
            "Version": "$LATEST",
            "Environment": {"Variables": {**asked.environment.variables}},
            "DeadLetterConfig": asked.dead_letter_config.wire(),
            "Layers": [{"Arn": arn} for arn in asked.layers],
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "LoggingConfig": {
                "LogFormat": asked.logging_config.log_format,
                "LogGroup": _log_group(asked),
            },
        }

    def _get(self, _: ApiRequest, name: str) -> ApiResponse:
        deployed = self._existing(name)
        answer: JsonObject = {
            "Configuration": self._describe(deployed),
            "Code": {"RepositoryType": "S3", "Location": deployed.archive.directory.as_uri()},
        }
        if deployed.reserved is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": deployed.reserved}
        return json_response(answer)

    def _get_configuration(self, _: ApiRequest, name: str) -> ApiResponse:
        return json_response(self._describe(self._existing(name)))

    def _list(self, *_: object) -> ApiResponse:
        with self._lock:
            functions: list[JsonValue] = [
                self._describe(deployed) for deployed in self._functions.values()
            ]
        return json_response({"Functions": functions})

    # --- event invoke configuration and permissions

    def _put_event_config(self, request: ApiRequest, name: str) -> ApiResponse:
        config = parse(EventInvokeConfig, request.body, {"FunctionName": name})
        with self._lock:
            self._functions[name] = replace(self._existing(name), events=config)
        return self._get_event_config(request, name)

    def _get_event_config(self, _: ApiRequest, name: str) -> ApiResponse:
        deployed = self._existing(name)
        if deployed.events is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"The function {self._arn(name)}:$LATEST doesn't have an EventInvokeConfig",
                status=404,
            )
        answer = deployed.events.wire() | {"FunctionArn": f"{self._arn(name)}:$LATEST"}
        answer.pop("FunctionName")
        return json_response(answer)

    def _add_permission(self, request: ApiRequest, name: str) -> ApiResponse:
        permission = parse(InvokePermission, request.body, {"FunctionName": name})
        with self._lock:
            deployed = self._existing(name)
            if any(p.statement_id == permission.statement_id for p in deployed.permissions):
                raise ServiceError(
                    "ResourceConflictException",
                    f"The statement id ({permission.statement_id}) provided already exists.",
                    status=409,
                )
            permissions = (*deployed.permissions, permission)
            self._functions[name] = replace(deployed, permissions=permissions)
        return json_response({"Statement": permission.model_dump_json(by_alias=True)}, 201)

    # --- invoking

    def _invoke(self, request: ApiRequest, name: str) -> ApiResponse:
        deployed = self._existing(name)
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        limit = _MAX_EVENT if kind == "Event" else _MAX_PAYLOAD
        if len(request.body) > limit:
            raise ServiceError(
                "RequestTooLargeException",
                f"{len(request.body)} byte payload is too large for the {kind} invocation type "
                f"(limit {limit} bytes)",
                status=413,
            )
        payload = request.body or b"{}"
        if kind == "Event":
            self._events.accept(name, payload)
            return ApiResponse(202)
        outcome = deployed.function.invoke(payload)
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
        if outcome.failed:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return ApiResponse(200, outcome.payload, headers)


def _short_name(name_or_arn: str) -> str:
    """``roll`` for ``roll``, ``arn:...:function:roll`` and ``arn:...:function:roll:$LATEST``."""
    return name_or_arn.rpartition(":function:")[2].partition(":")[0]


def _log_group(configuration: FunctionConfiguration) -> str:
    return configuration.logging_config.log_group or f"/aws/lambda/{configuration.function_name}"


def _permits(permission: InvokePermission, caller: str, source_arn: str) -> bool:
    return (
        permission.principal == caller
        and permission.action in {"lambda:InvokeFunction", "lambda:*"}
        and fnmatchcase(source_arn, permission.source_arn or "*")
    )


def _extract(content: bytes, directory: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(directory)
    except zipfile.BadZipFile as error:
        raise ServiceError(
            "InvalidParameterValueException", "Could not unzip uploaded file."
        ) from error
