"""The served OpenAPI document, and the server held to it by requests made up from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.running_server import RunningServer

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = 25


@schemathesis.serializer("application/x-npy")  # type: ignore[untyped-decorator]
def as_it_is(_context: object, value: object) -> bytes:
    """Whatever bytes come; almost none are an array."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module", params=[False, True], ids=["single", "multi"])
def server(bundle: Path, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Servers of this file only, as made-up requests also unload models."""
    with RunningServer(bundle, multi_model=request.param) as running:
        yield running


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_requests_made_up_from_the_document_get_what_it_says(
    server: RunningServer, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    names = []
    for result in schema.get_all_operations():
        operation = result.ok()
        names.append(operation.label)
        if mode is GenerationMode.NEGATIVE and not operation.label.startswith("POST"):
            continue  # Only a body can be wrong.

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=[*HealthCheck],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            if response.status_code == 200 and isinstance(case.body, dict):
                asked = case.body.get("instances", [case.body])
                answered = response.json().get("predictions", asked)
                assert len(answered) == len(asked)

        ask()
    assert "GET /ping" in names
    assert len(names) == (2 if server.path == "/invocations" else 6)


def test_after_all_that_the_server_still_answers(server: RunningServer) -> None:
    assert server.ask("GET", "/ping").status == 200
