"""The typed client, against a real server, and against transient and lasting errors."""

import io
import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from ops.account.prediction_client import (
    ATTEMPTS,
    PART_ROWS,
    HttpTransport,
    Prediction,
    PredictionClient,
    PredictionError,
    PredictionRefusedError,
    SageMakerTransport,
    TransportResponse,
    UnreachableError,
)
from tests.serving.running_server import RunningServer
from tests.serving.small_model import RELEASE, fingerprints
from trainer.localization.bundle.reading import load_bundle

ANSWER = {"release": "r-1", "digest": "d", "predictions": [], "schema_version": 1}


class Script:
    """A transport that answers one after the other, and remembers what it was asked."""

    def __init__(self, *answers: TransportResponse | Exception) -> None:
        self.answers = [*answers]
        self.asked: list[bytes] = []

    def send(self, body: bytes, content_type: str) -> TransportResponse:
        assert content_type == "application/json"
        self.asked.append(body)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def response(status: int, document: object = ANSWER) -> TransportResponse:
    return TransportResponse(status, json.dumps(document).encode())


def client(script: Script, pauses: list[float] | None = None) -> PredictionClient:
    return PredictionClient(script, sleep=([] if pauses is None else pauses).append)


@pytest.fixture
def asking(server: RunningServer) -> Iterator[PredictionClient]:
    """A client of a real server of either form."""
    with closing(HttpTransport(f"http://127.0.0.1:{server.port}{server.path}")) as transport:
        yield PredictionClient(transport)


def test_answers_of_a_real_server_are_read(asking: PredictionClient, bundle: Path) -> None:
    model = load_bundle(bundle)
    rows = [dict(row.rssi) for row in model.smoke]

    prediction = asking.predict(rows, top_k=2)

    assert (prediction.release, prediction.digest) == (RELEASE, model.digest)
    assert [answer.location for answer in prediction.predictions] == [
        row.answer.location for row in model.smoke
    ]
    assert all(
        answer.top[0].location == answer.location and len(answer.top) == 2
        for answer in prediction.predictions
    )


def test_a_long_request_goes_in_parts_and_comes_back_in_order(asking: PredictionClient) -> None:
    rows: list[dict[str, float | None]] = [
        {"b3001": None if math.isnan(row[0]) else float(row[0]), "b3002": -60.0}
        for row in fingerprints(PART_ROWS + 7)
    ]

    together = asking.predict(rows).predictions

    assert len(together) == len(rows)
    assert together[-7:] == asking.predict(rows[-7:]).predictions


def test_a_refusal_names_rows_and_columns_and_is_not_repeated(asking: PredictionClient) -> None:
    with pytest.raises(PredictionRefusedError, match="Row 1, b3001") as caught:
        asking.predict([{"b3001": -70}, {"b3001": 12}])

    assert [(found.row, found.column) for found in caught.value.problems] == [(1, "b3001")]


def test_a_stopped_server_is_unreachable_and_a_restarted_one_answers(
    bundle: Path,
) -> None:
    with RunningServer(bundle) as running:
        port = running.port
        transport = HttpTransport(f"http://127.0.0.1:{port}")
        impatient = PredictionClient(transport, sleep=lambda _seconds: None)
        assert impatient.predict([{"b3001": -70}]).release == RELEASE
    with pytest.raises(UnreachableError, match=str(port)):
        impatient.predict([{"b3001": -70}])
    with RunningServer(bundle, port=port):
        assert impatient.predict([{"b3001": -70}]).release == RELEASE
    transport.close()


@pytest.mark.parametrize("passing", [response(503), response(429), UnreachableError("reset")])
def test_transient_errors_are_retried_with_growing_pauses(
    passing: TransportResponse | Exception,
) -> None:
    pauses: list[float] = []
    script = Script(passing, passing, response(200))

    assert client(script, pauses).predict([{}]) == Prediction.model_validate(ANSWER)
    assert pauses == [0.2, 0.4]


@pytest.mark.parametrize("passing", [response(503), UnreachableError("reset")])
def test_lasting_errors_end_after_all_attempts(passing: TransportResponse | Exception) -> None:
    script = Script(*[passing] * ATTEMPTS)

    with pytest.raises(UnreachableError):
        client(script).predict([{}])
    assert script.answers == []


def test_parts_by_two_releases_are_refused() -> None:
    script = Script(response(200), response(200, {**ANSWER, "digest": "other"}))

    with pytest.raises(PredictionError, match="changed its release"):
        client(script).predict([{}] * (PART_ROWS + 1))


def test_an_unreadable_answer_is_an_error() -> None:
    with pytest.raises(PredictionError, match="can't be read"):
        client(Script(TransportResponse(200, b"<html>"))).predict([{}])


class Runtime:
    """Stands for boto3's client."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer

    def invoke_endpoint(self, **request: object) -> dict[str, object]:
        assert request["EndpointName"] == "rssi-lab"
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Body": io.BytesIO(self.answer)}


def said(code: str, **details: object) -> ClientError:
    body = {"Error": {"Code": code, "Message": "no"}, **details}
    return ClientError(body, "InvokeEndpoint")  # type: ignore[arg-type]


def test_sagemakers_answer_is_the_containers() -> None:
    transport = SageMakerTransport(Runtime(json.dumps(ANSWER).encode()), "rssi-lab")

    assert PredictionClient(transport).predict([{}]).release == "r-1"


def test_a_models_refusal_through_sagemaker_is_a_refusal() -> None:
    message = json.dumps({"error": {"message": "Row 0 is odd", "problems": []}})
    error = said("ModelError", OriginalStatusCode=400, OriginalMessage=message)

    with pytest.raises(PredictionRefusedError, match="Row 0 is odd"):
        client_of(error).predict([{}])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (said("ThrottlingException"), UnreachableError),
        (said("ModelError", OriginalStatusCode=503, OriginalMessage="wait"), UnreachableError),
        (ConnectTimeoutError(endpoint_url="x"), UnreachableError),
        (said("ValidationError"), PredictionError),
    ],
)
def test_sagemakers_own_errors_are_told_apart(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(PredictionError) as caught:
        client_of(error).predict([{}])
    assert type(caught.value) is kind


def client_of(error: Exception) -> PredictionClient:
    transport = SageMakerTransport(Runtime(error), "rssi-lab")
    return PredictionClient(transport, sleep=lambda _seconds: None)
