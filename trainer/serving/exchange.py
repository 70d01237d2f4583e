"""Requests and replies as plain values, and the refusals that become replies.

::

    RequestRefusedError     a request that is not answered: its status, why, what to do instead
    └── TooLargeError       413: the body, packed or unpacked, is above SageMaker's limit

What may go wrong: header values come from strangers; what is echoed has to be fit for a header.
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
    """Of the target, what follows the question mark."""


class HttpResponse(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Headers = ()
    rows: int = 0
    """How many rows it answers."""


class RequestRefusedError(Exception):
    """A request that is not answered; the client has to change it."""

    def __init__(
        self,
        status: int,
        message: str,
        problems: Sequence[ReadingProblem] = (),
        headers: Headers = (),
    ) -> None:
        """Refuse with an HTTP status, a sentence, the places of the problems and headers."""
        super().__init__(message)
        self.status = status
        self.problems = tuple(problems)
        self.headers = headers

    def reply(self) -> HttpResponse:
        """What the client gets to read."""
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
    """A refusal that a person can act on."""
    body = {"error": {"message": message, "problems": list(problems)}}
    return HttpResponse(status, orjson.dumps(body), headers=headers)


def echoed(headers: Mapping[str, str], ours: str) -> Headers:
    """What SageMaker expects back: custom attributes after ``ours``, and the inference id.

    Raises:
        RequestRefusedError: 400, they do not fit into headers.
    """
    theirs = headers.get(CUSTOM_ATTRIBUTES)
    attributes = f"{ours};{theirs}" if theirs else ours
    _check(CUSTOM_ATTRIBUTES, attributes, MAX_ATTRIBUTES, spent=len(attributes) - len(theirs or ""))
    inference_id = headers.get(INFERENCE_ID)
    if inference_id is None:
        return ((CUSTOM_ATTRIBUTES, attributes),)
    _check(INFERENCE_ID, inference_id, _MAX_INFERENCE_ID)
    return (CUSTOM_ATTRIBUTES, attributes), (INFERENCE_ID, inference_id)


def _check(name: str, value: str, most: int, spent: int = 0) -> None:
    if len(value) > most or not _PRINTABLE.fullmatch(value):
        raise RequestRefusedError(
            400, f"{name} may have {most - spent} printable ASCII characters; shorten or clean it."
        )
