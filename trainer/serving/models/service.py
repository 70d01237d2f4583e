"""What the container of one model answers, without an HTTP server around it.

A model that can't be opened, or whose answers to its own smoke rows differ from the recorded ones,
is never served; the process stays, so that ``/ping`` can say why.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import orjson

from trainer.localization.bundle.description import SmokeRow
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.decoding import Answer
from trainer.localization.errors import BadBundle
from trainer.localization.runtime.engine import Pause, no_pause
from trainer.serving.exchange import HttpRequest, HttpResponse, RequestRefusedError, echoed_headers
from trainer.serving.formats.openapi import openapi_document
from trainer.serving.formats.prediction_request import (
    PredictionRequest,
    answer_batch,
    read_prediction_request,
)
from trainer.serving.formats.served_model import ServedModel

POSITION_TOLERANCE_M = 0.01
CONFIDENCE_TOLERANCE = 1e-3
"""Far above the last bits, in which processors differ, and far below an error."""

PING, INVOCATIONS, OPENAPI = "/ping", "/invocations", "/openapi.json"

BlockingCall = Callable[[], HttpResponse]
"""Work that is too long for the event loop; may raise RequestRefusedError."""
Handled = HttpResponse | PredictionRequest | BlockingCall


class PredictionService(Protocol):
    """Answers the requests to one model or to many."""

    def handle(self, request: HttpRequest) -> Handled:
        """Answer at once, or return what is left to do.

        Raises:
            RequestRefusedError: the request can't be answered.
        """

    def describe(self) -> Mapping[str, str | int | None]:
        """What is served, for the log."""


def respond(service: PredictionService, request: HttpRequest) -> HttpResponse:
    """Answer one request here and now, however long it takes."""
    try:
        handled = service.handle(request)
        if isinstance(handled, HttpResponse):
            return handled
        return answer_batch([handled])[0] if isinstance(handled, PredictionRequest) else handled()
    except RequestRefusedError as refusal:
        return refusal.response()


class SingleModelService:
    """Serves one model, or the reason why there is none."""

    def __init__(self, model: LoadedModel | None, refusal: str | None = None) -> None:
        """Serve ``model``, or answer every request with ``refusal``."""
        self.model = model
        self._served = None if model is None else ServedModel.of(model)
        self.refusal = refusal
        self._openapi = orjson.dumps(openapi_document())

    @classmethod
    def open(cls, path: Path) -> "SingleModelService":
        """Load and check a bundle; what is wrong with it becomes the refusal."""
        try:
            return cls(open_model(path))
        except BadBundle as error:
            return cls(None, str(error))

    def handle(self, request: HttpRequest) -> Handled:
        """Answer a request, or parse its rows for a batch.

        Raises:
            RequestRefusedError: it can't be answered.
        """
        if request.path == INVOCATIONS:
            check_method(request, "POST")
            return read_prediction_request(self._ready(), request)
        if request.path == PING:
            check_method(request, "GET", "HEAD")
            return _healthy(self._ready(), request)
        if request.path == OPENAPI:
            check_method(request, "GET", "HEAD")
            return HttpResponse(200, self._openapi)
        raise RequestRefusedError(
            404, f"There is no {request.path[:100]}: ask {PING}, {INVOCATIONS} or {OPENAPI}."
        )

    def describe(self) -> Mapping[str, str | int | None]:
        """The release, or why there is none."""
        if self.model is None:
            return {"reason": self.refusal}
        return {"release": self.model.release, "digest": self.model.digest}

    def _ready(self) -> ServedModel:
        if self._served is None:
            raise RequestRefusedError(503, self.refusal or "There is no model.")
        return self._served


def _healthy(served: ServedModel, request: HttpRequest) -> HttpResponse:
    body = {"status": "ok", "release": served.model.release, "digest": served.model.digest}
    return HttpResponse(
        200, orjson.dumps(body), headers=echoed_headers(request.headers, served.identity)
    )


def check_method(request: HttpRequest, *allowed: str) -> None:
    """Refuse other methods.

    Raises:
        RequestRefusedError: 405, with the ``allow`` header.
    """
    if request.method not in allowed:
        verbs = ", ".join(allowed)
        raise RequestRefusedError(
            405, f"{request.path[:100]} takes {verbs}.", headers=(("allow", verbs),)
        )


def open_model(path: Path, pause: Pause = no_pause) -> LoadedModel:
    """Load a bundle and check its answers to its smoke rows; ``pause`` as in ``load_bundle``.

    Raises:
        BadBundle: it is damaged, has no smoke rows, or an answer differs from the recorded one.
    """
    model = load_bundle(path, pause)
    pause()
    if not model.smoke:
        raise BadBundle("The bundle has no smoke rows, so nothing shows that it answers rightly.")
    answers = model.answers(model.matrix([row.rssi for row in model.smoke]))
    for row, answer in zip(model.smoke, answers, strict=True):
        if not _same(row, answer):
            raise BadBundle(
                f"The model answers {answer} to {dict(row.rssi)}, and {row.answer} is recorded: "
                "its weights or its code are not the ones that it was packed with."
            )
    return model


def _same(row: SmokeRow, answer: Answer) -> bool:
    recorded = row.answer
    return (
        answer.location == recorded.location
        and _near(answer.x, recorded.x, POSITION_TOLERANCE_M)
        and _near(answer.y, recorded.y, POSITION_TOLERANCE_M)
        and _near(answer.confidence, recorded.confidence, CONFIDENCE_TOLERANCE)
    )


def _near(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
