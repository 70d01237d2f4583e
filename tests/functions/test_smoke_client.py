"""The smoke test's requests against containers that hang, break or answer late."""

import io
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from functions.adapters.smoke_client import SmokeClient
from functions.core.smoke import ResultKind, SmokeBudget, SmokeRequest

BUDGET = SmokeBudget(request_s=0.1, total_s=0.5)
REQUESTS = [SmokeRequest(b"{}", (0,))] * 30
BODY = json.dumps({"release": "r", "digest": "d", "predictions": []}).encode()


@dataclass
class FakeRuntime:
    """A runtime client whose every answer is made by a function."""

    class exceptions:  # noqa: N801  # where a boto3 client keeps its exceptions
        ClientError = ClientError

    answer: Any
    calls: list[int] = field(default_factory=list)

    def invoke_endpoint(self, **_: object) -> dict[str, object]:
        self.calls.append(threading.get_ident())
        return {"Body": io.BytesIO(self.answer())}


def raising(error: Exception) -> Any:
    def answer() -> bytes:
        raise error

    return answer


def kinds(runtime: FakeRuntime) -> set[ResultKind]:
    return {result.kind for result in SmokeClient(runtime, BUDGET).send("endpoint", REQUESTS)}


def test_every_request_is_answered_by_several_threads():
    def answer() -> bytes:
        time.sleep(0.01)
        return BODY

    runtime = FakeRuntime(answer)

    results = SmokeClient(runtime, BUDGET).send("endpoint", REQUESTS)

    assert [result.kind for result in results] == [ResultKind.ANSWERED] * 30
    assert len(set(runtime.calls)) > 1


def test_after_a_timeout_no_more_requests_are_sent():
    runtime = FakeRuntime(raising(ReadTimeoutError(endpoint_url="u")))

    assert kinds(runtime) == {ResultKind.TIMED_OUT}
    assert len(runtime.calls) < 30


def test_a_container_that_trickles_its_answer_is_given_up_after_the_budget():
    release = threading.Event()
    runtime = FakeRuntime(lambda: release.wait(30) and BODY)
    started = time.monotonic()

    found = kinds(runtime)
    seconds = time.monotonic() - started
    release.set()

    assert found == {ResultKind.TIMED_OUT}
    assert seconds < BUDGET.total_s + 1


def test_what_the_service_refuses_is_lost_and_what_the_container_breaks_is_broken():
    def error(code: str, **fields: object) -> ClientError:
        answer: Any = {"Error": {"Code": code, "Message": "m"}, **fields}
        return ClientError(answer, "InvokeEndpoint")

    assert kinds(FakeRuntime(raising(error("ThrottlingException")))) == {ResultKind.LOST}
    assert kinds(FakeRuntime(raising(EndpointConnectionError(endpoint_url="u")))) == {
        ResultKind.LOST
    }
    for status, kind in ((400, ResultKind.REFUSED), (500, ResultKind.BROKEN)):
        refused = error("ModelError", OriginalStatusCode=status)
        assert kinds(FakeRuntime(raising(refused))) == {kind}
    assert kinds(FakeRuntime(lambda: b"<html>")) == {ResultKind.BROKEN}
