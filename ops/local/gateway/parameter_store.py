"""SSM's parameters. moto has them too, but its SSM imports its EC2: 1.3 s of each start.

Encrypted parameters, versions by number and policies are refused.
"""

import threading
import time
from dataclasses import dataclass
from typing import Literal

from ops.local.errors import ServiceError
from ops.local.gateway.protocol import ApiModel, JsonObject, JsonService, operation
from ops.local.settings import CloudSettings


class _Put(ApiModel):
    name: str
    value: str
    type: Literal["String", "StringList"] = "String"
    description: str = ""
    overwrite: bool = False
    tier: Literal["Standard", "Intelligent-Tiering", "Advanced"] = "Standard"
    data_type: Literal["text"] = "text"
    allowed_pattern: str | None = None


class _Name(ApiModel):
    name: str
    with_decryption: bool = False


class _Names(ApiModel):
    names: tuple[str, ...]
    with_decryption: bool = False


class _Path(ApiModel):
    path: str
    recursive: bool = False
    with_decryption: bool = False
    max_results: int = 10


@dataclass(frozen=True, slots=True)
class _Parameter:
    asked: _Put
    arn: str
    version: int
    modified: float

    def description(self) -> JsonObject:
        return {
            "Name": self.asked.name,
            "Type": self.asked.type,
            "Value": self.asked.value,
            "Version": self.version,
            "LastModifiedDate": self.modified,
            "ARN": self.arn,
            "DataType": self.asked.data_type,
        }


class ParameterStore:
    """Every parameter of the cloud."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._parameters: dict[str, _Parameter] = {}
        self.service = JsonService(
            "ssm",
            {
                "PutParameter": operation(_Put, self._put),
                "GetParameter": operation(_Name, self._get),
                "GetParameters": operation(_Names, self._get_several),
                "GetParametersByPath": operation(_Path, self._get_by_path),
                "DeleteParameter": operation(_Name, self._delete),
            },
        )

    def _put(self, asked: _Put) -> JsonObject:
        with self._lock:
            old = self._parameters.get(asked.name)
            if old and not asked.overwrite:
                raise ServiceError(
                    "ParameterAlreadyExists",
                    "The parameter already exists. To overwrite this value, set the overwrite "
                    "option in the request to true.",
                )
            version = old.version + 1 if old else 1
            arn = self._settings.arn("ssm", f"parameter/{asked.name.lstrip('/')}")
            self._parameters[asked.name] = _Parameter(asked, arn, version, time.time())
        return {"Version": version, "Tier": asked.tier}

    def _found(self, name: str) -> _Parameter:
        parameter = self._parameters.get(name)
        if parameter is None:
            raise ServiceError("ParameterNotFound", f"Parameter {name} not found.")
        return parameter

    def _get(self, asked: _Name) -> JsonObject:
        return {"Parameter": self._found(asked.name).description()}

    def _get_several(self, asked: _Names) -> JsonObject:
        found = [self._parameters[name] for name in asked.names if name in self._parameters]
        missing = [name for name in asked.names if name not in self._parameters]
        return {
            "Parameters": [each.description() for each in found],
            "InvalidParameters": [*missing],
        }

    def _get_by_path(self, asked: _Path) -> JsonObject:
        path = asked.path.rstrip("/") + "/"
        with self._lock:
            below = [
                parameter.description()
                for name, parameter in sorted(self._parameters.items())
                if name.startswith(path) and (asked.recursive or "/" not in name.removeprefix(path))
            ]
        return {"Parameters": [*below]}

    def _delete(self, asked: _Name) -> JsonObject:
        with self._lock:
            self._found(asked.name)
            del self._parameters[asked.name]
        return {}
