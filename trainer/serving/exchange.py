"""HTTP requests and responses as plain values, and the errors that become responses.

::

    RequestRefusedError     the client has to change its request: status, reason, remedy
    └── TooLargeError       413: the body, packed or unpacked, is above SageMaker's limit

Header values come from untrusted clients: what is echoed is checked first.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from trainer.localization.errors import ReadingProblem

MAX_BODY_BYTES = 6 * 1024 * 1024
"""SageMaker's limit on a request to a real-time endpoint."""

JSON = "application/json"
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = "x-amzn-sagemaker-inference-id"

MAX_ATTRIBUTES = 1024
"""SageMaker's limit on custom attributes, printable ASCII, in either direction."""
_MAX_INFERENCE_ID = 64

Headers = tuple[tuple[str, str], ...]

_PRINTABLE = re.compile(r"[ -~]*")


class HttpRequest(NamedTuple):
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    """What follows the question mark of the target."""


class HttpResponse(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Headers = ()
    rows: int = 0
    """How many rows it holds predictions for."""


class RequestRefusedError(Exception):
    """A request that is refused; the client has to change it."""

    def __init__(
        self,
        status: int,
        message: str,
        problems: Sequence[ReadingProblem] = (),
        headers: Headers = (),
    ) -> None:
        """Refuse with an HTTP status, a message, the places of the problems and headers."""
        super().__init__(message)
        self.status = status
        self.problems = tuple(problems)
        self.headers = headers

    def response(self) -> HttpResponse:
        """The response that says so."""
        return error_response(self.status, str(self), self.problems, self.headers)


class TooLargeError(RequestRefusedError):
    """A body above the limit."""

    def __init__(self, what: str = "The body") -> None:
        """Name ``what`` is too large."""
        super().__init__(
            413, f"{what} is larger than {MAX_BODY_BYTES} bytes: send fewer rows at a time."
        )


def error_response(
    status: int, message: str, problems: Sequence[ReadingProblem] = (), headers: Headers = ()
) -> HttpResponse:
    """An error in JSON that tells a person what to change."""
    body = {"error": {"message": message, "problems": list(problems)}}
    return HttpResponse(status, orjson.dumps(body), headers=headers)


def echoed_headers(headers: Mapping[str, str], ours: str) -> Headers:
    """What SageMaker expects back: ``ours`` before the custom attributes, and the inference id.

    Raises:
        RequestRefusedError: 400, if they do not fit into headers.
    """
    theirs = headers.get(CUSTOM_ATTRIBUTES)
    attributes = f"{ours};{theirs}" if theirs else ours
    _check(CUSTOM_ATTRIBUTES, attributes, MAX_ATTRIBUTES, spent=len(attributes) - len(theirs or ""))
    inference_id = headers.get(INFERENCE_ID)
    if inference_id is None:
        return ((CUSTOM_ATTRIBUTES, attributes),)
    _check(INFERENCE_ID, inference_id, _MAX_INFERENCE_ID)
    return (CUSTOM_ATTRIBUTES, attributes), (INFERENCE_ID, inference_id)


def _check(name: str, value: str, limit: int, spent: int = 0) -> None:
    if len(value) > limit or not _PRINTABLE.fullmatch(value):
        raise RequestRefusedError(
            400, f"{name} may have {limit - spent} printable ASCII characters; shorten or clean it."
        )
