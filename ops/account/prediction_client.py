"""A typed client of a site's endpoint, over SageMaker's runtime or plain HTTP.

Its errors::

    OpsError
    └── PredictionError             there is no answer
        ├── PredictionRefusedError  a wrong request, with its rows and columns; never repeated
        └── UnreachableError        no answer, also after repeating; try again later

Predicting changes nothing, so transient errors are retried.
"""

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from pydantic import BaseModel, ConfigDict, ValidationError

from ops.errors import OpsError

if TYPE_CHECKING:
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

JSON = "application/json"
PART_ROWS = 5_000
"""Rows per request: a few hundred kilobytes, far below SageMaker's limit of 6 MB."""
ATTEMPTS = 4
FIRST_PAUSE_S = 0.2

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset(
    {"ThrottlingException", "ServiceUnavailable", "ModelNotReadyException", "InternalFailure"}
)


class PredictionError(OpsError):
    """The endpoint gave no answer."""


class PredictionRefusedError(PredictionError):
    """The request is wrong; sending it again would not help."""

    def __init__(self, message: str, problems: "Sequence[Problem]" = ()) -> None:
        """Carry the endpoint's message and the first few problems."""
        super().__init__(message)
        self.problems = tuple(problems)


class UnreachableError(PredictionError):
    """There was no answer, or one that says to try later."""


class _ResponseModel(BaseModel):
    # A newer server may send fields that this client does not know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Problem(_ResponseModel):
    """One unusable reading: its row (from 0), its beacon or column, and the reason."""

    row: int | None = None
    column: str | None = None
    problem: str


class Cell(_ResponseModel):
    """One of the likeliest cells; confidence from 0 to 1."""

    location: str
    confidence: float


class PredictedLocation(_ResponseModel):
    """One row's prediction, in metres; None where the site has no positions."""

    location: str
    x: float | None
    y: float | None
    confidence: float
    radius_m: float | None = None
    floor: str | None = None
    building: str | None = None
    top: tuple[Cell, ...] = ()


class Prediction(_ResponseModel):
    """The predictions for all rows, in order, and the release that gave them."""

    release: str
    digest: str
    predictions: tuple[PredictedLocation, ...]


@dataclass(frozen=True, slots=True)
class TransportResponse:
    """An HTTP answer."""

    status: int
    body: bytes


class Transport(Protocol):
    """Sends requests to an endpoint."""

    def send(self, body: bytes, content_type: str) -> TransportResponse:
        """Send one request.

        Raises:
            UnreachableError: there was no answer at all; a retry may help.
        """


class HttpTransport:
    """Plain HTTP, to a container on this machine or in a cluster, over one kept connection."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        """Send to ``url``, such as ``http://127.0.0.1:8080/invocations``."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise PredictionError(f"{url} is no address: write http://HOST:PORT.")
        connect = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._path = parts.path or "/invocations"
        self._url = url
        self._connection = connect(parts.hostname, parts.port, timeout=timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, body: bytes, content_type: str) -> TransportResponse:
        """Send once; after a broken connection the next call reconnects."""
        headers = {"content-type": content_type, "accept": JSON}
        try:
            self._connection.request("POST", self._path, body, headers)
            answer = self._connection.getresponse()
            return TransportResponse(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise UnreachableError(f"{self._url} gave no answer: {error!r}.") from error


class SageMakerTransport:
    """SageMaker's ``InvokeEndpoint``."""

    def __init__(self, runtime: "SageMakerRuntimeClient", endpoint: str) -> None:
        """Invoke ``endpoint`` by a boto3 ``sagemaker-runtime`` client."""
        self._runtime = runtime
        self._endpoint = endpoint

    def send(self, body: bytes, content_type: str) -> TransportResponse:
        """Send once; a container's error is returned as the container's own response."""
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self._endpoint, ContentType=content_type, Accept=JSON, Body=body
            )
            return TransportResponse(200, answer["Body"].read())
        except ClientError as error:
            return self._explained(error)
        except (HTTPClientError, NoConnectionError) as error:
            raise UnreachableError(f"Endpoint {self._endpoint} gave no answer: {error}") from error

    def _explained(self, error: ClientError) -> TransportResponse:
        details: Mapping[str, Any] = error.response
        code, text = details["Error"]["Code"], details["Error"]["Message"]
        if code == "ModelError":
            original = str(details.get("OriginalMessage") or text)
            return TransportResponse(
                int(details.get("OriginalStatusCode") or 500), original.encode()
            )
        message = f"The endpoint {self._endpoint} gave no answer: {text}"
        if code in _TRANSIENT_CODES:
            raise UnreachableError(message) from error
        raise PredictionError(message) from error


class PredictionClient:
    """Sends requests to one endpoint, retries transient errors, and reads the answers."""

    def __init__(
        self,
        transport: Transport,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Send by ``transport``, ``attempts`` times at most; ``sleep`` takes seconds."""
        self._transport = transport
        self._attempts = attempts
        self._sleep = sleep

    def predict(
        self, fingerprints: Sequence[Mapping[str, float | None]], top_k: int | None = None
    ) -> Prediction:
        """Predict where fingerprints were taken.

        Args:
            fingerprints: dBm by beacon; None or nothing where a beacon was not heard.
            top_k: how many of the likeliest cells each prediction lists.

        Raises:
            PredictionRefusedError: the fingerprints are not what the model takes; says where.
            UnreachableError: there was no answer.
            PredictionError: the release changed between two parts of a long request.
        """
        starts = range(0, max(len(fingerprints), 1), PART_ROWS)
        parts = [fingerprints[start : start + PART_ROWS] for start in starts]
        found = [self.send(_body(part, top_k), JSON) for part in parts]
        if len({part.digest for part in found}) > 1:
            raise PredictionError(
                "The endpoint changed its release between two parts of the request: send it again."
            )
        answers = tuple(answer for part in found for answer in part.predictions)
        return found[0].model_copy(update={"predictions": answers})

    def send(self, body: bytes, content_type: str) -> Prediction:
        """Send a body as it is, such as a CSV.

        Raises:
            PredictionRefusedError: the body is not what the model takes; says where.
            UnreachableError: there was no answer.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                response = self._transport.send(body, content_type)
            except UnreachableError:
                if attempt == self._attempts:
                    raise
            else:
                if response.status not in _TRANSIENT_STATUSES:
                    return _read(response)
                if attempt == self._attempts:
                    raise UnreachableError(
                        f"The endpoint can't answer now: {_error_detail(response).message}"
                    )
            self._sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")


def _body(fingerprints: Sequence[Mapping[str, float | None]], top_k: int | None) -> bytes:
    document: dict[str, object] = {"instances": [dict(row) for row in fingerprints]}
    if top_k is not None:
        document["parameters"] = {"top_k": top_k}
    return json.dumps(document, allow_nan=False).encode()


class _ErrorDetail(_ResponseModel):
    message: str
    problems: tuple[Problem, ...] = ()


class _ErrorBody(_ResponseModel):
    error: _ErrorDetail


def _error_detail(response: TransportResponse) -> _ErrorDetail:
    try:
        return _ErrorBody.model_validate_json(response.body).error
    except ValidationError:
        return _ErrorDetail(message=response.body.decode("utf-8", "replace")[:500])


def _read(response: TransportResponse) -> Prediction:
    if response.status != 200:
        detail = _error_detail(response)
        raise PredictionRefusedError(
            f"The endpoint refused the request: {detail.message}", detail.problems
        )
    try:
        return Prediction.model_validate_json(response.body)
    except ValidationError as error:
        raise PredictionError(f"The endpoint's answer can't be read: {error}") from error
