"""HTTP as the emulated services see it: requests, responses, and AWS's two JSON protocols.

Request models refuse unknown members, so that a client learns at once that a feature is not
emulated; an ignored member would show much later or never.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic.alias_generators import to_pascal

from ops.local.errors import ServiceError

JsonObject = dict[str, JsonValue]
WsgiEnvironment = dict[str, object]


@dataclass(frozen=True, slots=True)
class AwsRequest:
    """One HTTP request of an AWS client; header names are lower-case, the path is decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class AwsResponse:
    """One HTTP response to an AWS client."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


ServiceHandler = Callable[[AwsRequest], AwsResponse]


class ApiModel(BaseModel):
    """Base of request models: PascalCase on the wire, unknown members refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_pascal,
        populate_by_name=True,
        arbitrary_types_allowed=True,
        defer_build=True,
        protected_namespaces=(),
    )

    def wire(self) -> JsonObject:
        """The members that the request gave, as it gave them."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


ModelT = TypeVar("ModelT", bound=ApiModel)


def parse(model: type[ModelT], body: bytes, extra: Mapping[str, str] | None = None) -> ModelT:
    """Read a JSON body, plus ``extra`` members from the path or query.

    Raises:
        ServiceError: ``ValidationException`` that names every member that is missing, wrong or
            unknown, or ``SerializationException``.
    """
    try:
        members = json.loads(body or b"{}")
        return model.model_validate({**members, **(extra or {})})
    except json.JSONDecodeError as error:
        raise ServiceError("SerializationException", f"The body is not JSON: {error}") from error
    except ValidationError as error:
        raise ServiceError("ValidationException", _explain(error)) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        text = (
            "is not emulated here" if problem["type"] == "extra_forbidden" else str(problem["msg"])
        )
        lines.append(f"{where}: {text}")
    return "; ".join(lines)


def operation(
    model: type[ModelT], call: Callable[[ModelT], JsonObject]
) -> Callable[[bytes], JsonObject]:
    """One operation of a JSON 1.1 service: parse the body, then ``call``."""
    return lambda body: call(parse(model, body))


class JsonService:
    """A service in the JSON 1.1 protocol: ``X-Amz-Target`` names the operation."""

    def __init__(self, name: str, operations: Mapping[str, Callable[[bytes], JsonObject]]) -> None:
        self._name = name
        self._operations = operations

    def __call__(self, request: AwsRequest) -> AwsResponse:
        """Answer one request.

        Raises:
            ServiceError: the operation is not emulated, or refuses the request.
        """
        name = request.headers.get("x-amz-target", "").rpartition(".")[2]
        call = self._operations.get(name)
        if call is None:
            raise ServiceError(
                "UnknownOperationException",
                f"{self._name} {name or '(none named)'} is not emulated; emulated are: "
                f"{', '.join(sorted(self._operations))}.",
            )
        return json_response(call(request.body), content_type="application/x-amz-json-1.1")


def json_response(
    content: JsonValue,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> AwsResponse:
    """A JSON response with a request id, as every AWS service gives one."""
    return AwsResponse(
        status,
        json.dumps(content).encode(),
        {"Content-Type": content_type, "x-amzn-RequestId": str(uuid4()), **(headers or {})},
    )


def error_response(error: ServiceError) -> AwsResponse:
    """The response that clients of both JSON protocols turn into an exception."""
    content: JsonObject = {
        "__type": error.code,
        "message": error.message,
        "Message": error.message,
        **error.details,
    }
    return json_response(content, error.status, headers={"x-amzn-ErrorType": error.code})


def request_from(environment: WsgiEnvironment, body: bytes) -> AwsRequest:
    """The request in a WSGI environment; WSGI decodes UTF-8 paths as latin-1."""
    headers = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for key, value in environment.items()
        if key.startswith("HTTP_") or key in {"CONTENT_TYPE", "CONTENT_LENGTH"}
    }
    return AwsRequest(
        method=str(environment["REQUEST_METHOD"]),
        path=str(environment["PATH_INFO"]).encode("latin-1").decode(),
        query=dict(parse_qsl(str(environment.get("QUERY_STRING", "")), keep_blank_values=True)),
        headers=headers,
        body=body,
    )
