"""SSM's Parameter Store; moto's SSM would import its EC2 and add 1.3 s to each start.

Encrypted parameters, versions by number and policies are refused.
"""

import threading
import time
from dataclasses import dataclass
from typing import Literal

from ops.local.errors import ServiceError
from ops.local.gateway.protocol import ApiModel, JsonObject, JsonService, operation
from ops.local.settings import CloudSettings


class _PutParameter(ApiModel):
    name: str
    value: str
    type: Literal["String", "StringList"] = "String"
    description: str = ""
    overwrite: bool = False
    tier: Literal["Standard", "Intelligent-Tiering", "Advanced"] = "Standard"
    data_type: Literal["text"] = "text"
    allowed_pattern: str | None = None


class _ParameterName(ApiModel):
    name: str
    with_decryption: bool = False


class _ParameterNames(ApiModel):
    names: tuple[str, ...]
    with_decryption: bool = False


class _ParametersByPath(ApiModel):
    path: str
    recursive: bool = False
    with_decryption: bool = False
    max_results: int = 10


@dataclass(frozen=True, slots=True)
class _StoredParameter:
    request: _PutParameter
    arn: str
    version: int
    modified: float

    def description(self) -> JsonObject:
        return {
            "Name": self.request.name,
            "Type": self.request.type,
            "Value": self.request.value,
            "Version": self.version,
            "LastModifiedDate": self.modified,
            "ARN": self.arn,
            "DataType": self.request.data_type,
        }


class ParameterStore:
    """Every parameter of the cloud."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._parameters: dict[str, _StoredParameter] = {}
        self.service = JsonService(
            "ssm",
            {
                "PutParameter": operation(_PutParameter, self._put),
                "GetParameter": operation(_ParameterName, self._get),
                "GetParameters": operation(_ParameterNames, self._get_several),
                "GetParametersByPath": operation(_ParametersByPath, self._get_by_path),
                "DeleteParameter": operation(_ParameterName, self._delete),
            },
        )

    def _put(self, request: _PutParameter) -> JsonObject:
        with self._lock:
            old = self._parameters.get(request.name)
            if old and not request.overwrite:
                raise ServiceError(
                    "ParameterAlreadyExists",
                    "The parameter already exists. To overwrite this value, set the overwrite "
                    "option in the request to true.",
                )
            version = old.version + 1 if old else 1
            arn = self._settings.arn("ssm", f"parameter/{request.name.lstrip('/')}")
            self._parameters[request.name] = _StoredParameter(request, arn, version, time.time())
        return {"Version": version, "Tier": request.tier}

    def _found(self, name: str) -> _StoredParameter:
        parameter = self._parameters.get(name)
        if parameter is None:
            raise ServiceError("ParameterNotFound", f"Parameter {name} not found.")
        return parameter

    def _get(self, request: _ParameterName) -> JsonObject:
        return {"Parameter": self._found(request.name).description()}

    def _get_several(self, request: _ParameterNames) -> JsonObject:
        found = [self._parameters[name] for name in request.names if name in self._parameters]
        missing = [name for name in request.names if name not in self._parameters]
        return {
            "Parameters": [each.description() for each in found],
            "InvalidParameters": [*missing],
        }

    def _get_by_path(self, request: _ParametersByPath) -> JsonObject:
        path = request.path.rstrip("/") + "/"
        with self._lock:
            below = [
                parameter.description()
                for name, parameter in sorted(self._parameters.items())
                if name.startswith(path)
                and (request.recursive or "/" not in name.removeprefix(path))
            ]
        return {"Parameters": [*below]}

    def _delete(self, request: _ParameterName) -> JsonObject:
        with self._lock:
            self._found(request.name)
            del self._parameters[request.name]
        return {}
