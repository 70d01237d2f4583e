"""The Lambda API: functions from zip archives, run by the real runtime client.

Code runs in the virtual environment of this process, so layers are accepted and not unpacked. As
on AWS, another service may invoke a function only if a permission allows it, so a template that
forgets one fails here, too.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from ops.local.errors import ServiceError, UndeliverableError
from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.protocol import AwsRequest, AwsResponse, JsonObject, json_response, parse
from ops.local.lambdas import api
from ops.local.lambdas.async_invocations import (
    AsyncInvocations,
    AsyncPolicy,
    InvocationDestinations,
)
from ops.local.lambdas.code_archives import CodeArchive, CodeArchives
from ops.local.lambdas.deployed_function import DeployedFunction, log_group, runtime_environment
from ops.local.lambdas.function import FunctionSpec, LambdaFunction
from ops.local.log_shipper import LogShipper
from ops.local.processes import Processes
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

_MAX_EVENT = 1024 * 1024  # bytes of an asynchronous event
_MAX_PAYLOAD = 6 * 1024 * 1024  # bytes of a synchronous one


_Route = Callable[[AwsRequest, str], AwsResponse]


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
        self._archives = CodeArchives(clients)
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

    def service(self, request: AwsRequest) -> AwsResponse:
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
        """Accept an event from another service.

        Raises:
            UndeliverableError: the function is missing, or does not permit the call.
        """
        name = _short_name(arn)
        deployed = self._functions.get(name)
        if deployed is None:
            raise UndeliverableError("NO_RESOURCE", f"Function not found: {arn}")
        if not deployed.permits(caller, source_arn):
            raise UndeliverableError(
                "NO_PERMISSIONS",
                f"{caller} may not invoke {name} for {source_arn}: add a permission for it.",
            )
        self._events.accept(name, payload)

    def close(self) -> None:
        """Stop every function and remove the unpacked code."""
        self._events.close()
        with self._lock:
            functions, self._functions = self._functions, {}
        for deployed in functions.values():
            deployed.function.close()
        self._archives.close()

    def _find(self, name: str) -> tuple[LambdaFunction, AsyncPolicy] | None:
        deployed = self._functions.get(name)
        return (deployed.function, deployed.policy()) if deployed else None

    def _existing(self, name: str) -> DeployedFunction:
        deployed = self._functions.get(name)
        if deployed is None:
            raise ServiceError(
                "ResourceNotFoundException", f"Function not found: {self._arn(name)}", status=404
            )
        return deployed

    def _arn(self, name: str) -> str:
        return self._settings.arn("lambda", f"function:{name}")

    # --- creating and changing functions

    def _create(self, request: AwsRequest, _: str) -> AwsResponse:
        new = parse(api.CreateFunction, request.body)
        if new.function_name in self._functions:
            raise ServiceError(
                "ResourceConflictException",
                f"Function already exist: {new.function_name}",
                status=409,
            )
        configuration = api.FunctionConfiguration.model_validate(
            new.model_dump(include=set(api.FunctionConfiguration.model_fields))
        )
        deployed = self._deploy(configuration, self._archives.unpack(new.code), None)
        return json_response(deployed.description(), 201)

    def _update_configuration(self, request: AwsRequest, name: str) -> AwsResponse:
        with self._lock:
            old = self._existing(name)
            members = (
                old.configuration.wire()
                | parse(api.FunctionConfiguration, request.body, {"FunctionName": name}).wire()
            )
            deployed = self._deploy(
                api.FunctionConfiguration.model_validate(members), old.archive, old
            )
        return json_response(deployed.description())

    def _update_code(self, request: AwsRequest, name: str) -> AwsResponse:
        with self._lock:
            old = self._existing(name)
            code = parse(api.UpdateFunctionCode, request.body, {"FunctionName": name})
            deployed = self._deploy(old.configuration, self._archives.unpack(code), old)
        return json_response(deployed.description())

    def _put_concurrency(self, request: AwsRequest, name: str) -> AwsResponse:
        limit = parse(api.PutFunctionConcurrency, request.body, {"FunctionName": name})
        with self._lock:
            old = self._existing(name)
            reserved = limit.reserved_concurrent_executions
            self._deploy(old.configuration, old.archive, replace(old, reserved=reserved))
        return json_response({"ReservedConcurrentExecutions": reserved})

    def _deploy(
        self,
        configuration: api.FunctionConfiguration,
        archive: CodeArchive,
        old: DeployedFunction | None,
    ) -> DeployedFunction:
        """Replace a function, which first finishes its invocations.

        A function that is up to date keeps its warm processes.
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
        self, configuration: api.FunctionConfiguration, archive: CodeArchive, reserved: int | None
    ) -> LambdaFunction:
        name = configuration.function_name
        concurrency = self._settings.concurrency
        stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{os.urandom(16).hex()}"
        group = log_group(configuration)
        spec = FunctionSpec(
            name=name,
            arn=self._arn(name),
            handler=configuration.handler,
            code=archive.directory,
            timeout=configuration.timeout,
            init_timeout=self._settings.init_timeout,
            concurrency=concurrency if reserved is None else min(reserved, concurrency),
            environment={
                **runtime_environment(configuration, archive, stream),
                **self._settings.client_environment(self._clients.address),
                **configuration.environment.variables,
            },
        )
        return LambdaFunction(
            spec, self._processes, lambda line: self._logs.write(group, stream, line)
        )

    def _delete(self, _: AwsRequest, name: str) -> AwsResponse:
        with self._lock:
            deployed = self._existing(name)
            del self._functions[name]
        deployed.function.close()
        return AwsResponse(204)

    # --- reading

    def _get(self, _: AwsRequest, name: str) -> AwsResponse:
        deployed = self._existing(name)
        response: JsonObject = {
            "Configuration": deployed.description(),
            "Code": {"RepositoryType": "S3", "Location": deployed.archive.directory.as_uri()},
        }
        if deployed.reserved is not None:
            response["Concurrency"] = {"ReservedConcurrentExecutions": deployed.reserved}
        return json_response(response)

    def _get_configuration(self, _: AwsRequest, name: str) -> AwsResponse:
        return json_response(self._existing(name).description())

    def _list(self, *_: object) -> AwsResponse:
        with self._lock:
            functions = [deployed.description() for deployed in self._functions.values()]
        return json_response({"Functions": [*functions]})

    # --- event invoke configuration and permissions

    def _put_event_config(self, request: AwsRequest, name: str) -> AwsResponse:
        config = parse(api.EventInvokeConfig, request.body, {"FunctionName": name})
        with self._lock:
            self._functions[name] = replace(self._existing(name), events=config)
        return self._get_event_config(request, name)

    def _get_event_config(self, _: AwsRequest, name: str) -> AwsResponse:
        deployed = self._existing(name)
        if deployed.events is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"The function {self._arn(name)}:$LATEST doesn't have an EventInvokeConfig",
                status=404,
            )
        response = deployed.events.wire() | {"FunctionArn": f"{self._arn(name)}:$LATEST"}
        response.pop("FunctionName")
        return json_response(response)

    def _add_permission(self, request: AwsRequest, name: str) -> AwsResponse:
        permission = parse(api.InvokePermission, request.body, {"FunctionName": name})
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

    def _invoke(self, request: AwsRequest, name: str) -> AwsResponse:
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
            return AwsResponse(202)
        outcome = deployed.function.invoke(payload)
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
        if outcome.failed:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return AwsResponse(200, outcome.payload, headers)


def _short_name(name_or_arn: str) -> str:
    """``roll`` for ``roll``, ``arn:...:function:roll`` and ``arn:...:function:roll:$LATEST``."""
    return name_or_arn.rpartition(":function:")[2].partition(":")[0]
