"""Faults on request: refused calls, missing capacity, and containers that misbehave.

A fault of containers holds for one endpoint configuration: by default the next one that is rolled
out, as a bad release would, so that the old fleet still serves. It stays with that configuration
until it is cleared. A refused call is recognised by its operation; calls to S3, SNS and other
services without ``X-Amz-Target`` can't be refused.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import Field, JsonValue, model_validator

from ops.local.errors import ServiceError
from ops.local.faults.kinds import CONTAINER_FAULTS, FaultType
from ops.local.gateway.protocol import (
    ApiModel,
    AwsRequest,
    AwsResponse,
    JsonObject,
    json_response,
    parse,
)

_REFUSALS = {
    FaultType.QUOTA: (
        "ResourceLimitExceeded",
        (
            "The account-level service limit 'instances for endpoint usage' is 0 Instances, with "
            "current utilization of 0 Instances and a request delta of 1 Instances. Please use AWS "
            "Service Quotas to request an increase for this quota."
        ),
    ),
    FaultType.THROTTLING: ("ThrottlingException", "Rate exceeded"),
    FaultType.ACCESS_DENIED: (
        "AccessDeniedException",
        (
            "The caller is not authorized to perform: {operation} because no identity-based policy "
            "allows the {operation} action"
        ),
    ),
}


class FaultRequest(ApiModel):
    """One fault.

    Attributes:
        kind: what goes wrong.
        endpoint_name: only for this endpoint; a call that names no endpoint counts as one for it.
        live: containers of the configuration in service instead of the next one.
        operations: the calls that are refused.
        seconds: how much slower a container answers.
        times: after so many calls or starts the fault is over.
    """

    kind: FaultType
    endpoint_name: str | None = None
    live: bool = False
    operations: tuple[str, ...] = ("CreateEndpoint", "UpdateEndpoint")
    seconds: float = Field(3.0, gt=0)
    times: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_endpoint(self) -> Self:
        if self.kind in CONTAINER_FAULTS and self.endpoint_name is None:
            raise ValueError(f"{self.kind} needs an endpoint name")
        return self


@dataclass(eq=False)
class ActiveFault:
    """A fault that holds; ``config_name`` is the configuration whose containers have it."""

    request: FaultRequest
    config_name: str | None = None
    cleared: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def describe(self) -> JsonObject:
        """The fault as GET shows it."""
        return {
            **self.request.model_dump(mode="json", by_alias=True),
            "EndpointConfigName": self.config_name,
        }


class Faults:
    """Every fault that holds."""

    def __init__(self) -> None:
        self._active: tuple[ActiveFault, ...] = ()
        self._lock = threading.Lock()

    def set(self, request: FaultRequest, live_config: str | None = None) -> None:
        """Add a fault; ``live_config`` is what the endpoint serves now."""
        if request.live and live_config is None:
            raise ServiceError(
                "ValidationException", f"Endpoint {request.endpoint_name} serves nothing now."
            )
        fault = ActiveFault(request, live_config if request.live else None)
        with self._lock:
            self._active = (*self._active, fault)

    def clear(self, endpoint: str | None = None) -> int:
        """End the faults of an endpoint, or all; returns how many there were."""
        with self._lock:
            ended = [
                fault
                for fault in self._active
                if endpoint is None or fault.request.endpoint_name == endpoint
            ]
            self._active = tuple(fault for fault in self._active if fault not in ended)
        for fault in ended:
            fault.cleared.set()
        return len(ended)

    def describe(self) -> list[JsonValue]:
        """Every fault."""
        return [fault.describe() for fault in self._active]

    def refuse(self, request: AwsRequest) -> None:
        """Refuse a call that a fault names.

        Raises:
            ServiceError: in the words of the service.
        """
        for fault in self._active:
            refusal = _REFUSALS.get(fault.request.kind)
            operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
            if refusal is None or operation not in fault.request.operations:
                continue
            if _concerns(request, fault.request.endpoint_name) and self._use(fault):
                code, message = refusal
                raise ServiceError(code, message.format(operation=operation))

    def start(self, endpoint: str, config_name: str) -> FaultType | None:
        """Note that a fleet starts; returns the fault that keeps it from starting, if any."""
        for fault in self._of(endpoint):
            if fault.request.kind is FaultType.CAPACITY and self._use(fault):
                return FaultType.CAPACITY
        with self._lock:
            for fault in self._of(endpoint):
                if fault.request.kind in CONTAINER_FAULTS and fault.config_name is None:
                    fault.config_name = config_name
        for fault in self.of_containers(endpoint, config_name):
            if fault.request.kind is FaultType.NO_START and self._use(fault):
                return FaultType.NO_START
        return None

    def of_containers(self, endpoint: str, config_name: str) -> Sequence[ActiveFault]:
        """The faults of the containers of a configuration."""
        if not self._active:
            return ()
        return [fault for fault in self._of(endpoint) if fault.config_name == config_name]

    def _of(self, endpoint: str) -> list[ActiveFault]:
        return [f for f in self._active if f.request.endpoint_name in {None, endpoint}]

    def _use(self, fault: ActiveFault) -> bool:
        """Count one use of a fault; False if it was over before."""
        with self._lock:
            used, times = next(fault.numbers), fault.request.times
            if times is not None and used >= times:
                self._active = tuple(other for other in self._active if other is not fault)
            return times is None or used <= times


class FaultService:
    """The faults as a service of the front door.

    Args:
        faults: every fault.
        live_config: the configuration that an endpoint serves; None if it serves none.
    """

    def __init__(self, faults: Faults, live_config: Callable[[str], str | None]) -> None:
        self._faults = faults
        self._live_config = live_config

    def __call__(self, request: AwsRequest) -> AwsResponse:
        """Set, list or clear faults.

        Raises:
            ServiceError: the request is none of these.
        """
        if request.method == "POST":
            fault = parse(FaultRequest, request.body)
            self.set(fault)
        elif request.method == "DELETE":
            return json_response({"Cleared": self._faults.clear(request.query.get("endpoint"))})
        return json_response({"Faults": self._faults.describe()})

    def set(self, fault: FaultRequest) -> None:
        """Add a fault."""
        endpoint = fault.endpoint_name
        self._faults.set(fault, self._live_config(endpoint) if endpoint else None)

    def clear(self, endpoint: str | None = None) -> int:
        """End the faults of an endpoint, or all; returns how many there were."""
        return self._faults.clear(endpoint)


def _concerns(request: AwsRequest, endpoint: str | None) -> bool:
    if endpoint is None:
        return True
    named = b'"EndpointName"' in request.body
    return not named or f'"{endpoint}"'.encode() in request.body
