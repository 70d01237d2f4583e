"""What the container of one model answers, without any HTTP server around it.

What may go wrong: a model that can't be opened or doesn't answer its own smoke rows as it did when
it was packed. It is never served, but the process stays, so that ``/ping`` can say why.
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
from trainer.localization.runtime.engine import Rest, no_rest
from trainer.serving.exchange import HttpRequest, HttpResponse, RequestRefusedError, echoed
from trainer.serving.formats.openapi import openapi_document
from trainer.serving.formats.prediction_request import (
    PredictionRequest,
    answer_batch,
    read_prediction_request,
)
from trainer.serving.models.served_model import ServedModel

POSITION_TOLERANCE_M = 0.01
CONFIDENCE_TOLERANCE = 1e-3
"""Other processors differ in the last bits: these are far above that and far below an error."""

PING, INVOCATIONS, OPENAPI = "/ping", "/invocations", "/openapi.json"

BlockingCall = Callable[[], HttpResponse]
"""What takes too long for the event loop; may raise RequestRefusedError."""
Handled = HttpResponse | PredictionRequest | BlockingCall


class PredictionService(Protocol):
    """What answers requests: one model's service, or the shelf of many."""

    def take(self, request: HttpRequest) -> Handled:
        """Answer at once, or say what is left to do.

        Raises:
            RequestRefusedError: the request can't be answered.
        """

    def describe(self) -> Mapping[str, str | int | None]:
        """What is served, for the log."""


def respond(service: PredictionService, request: HttpRequest) -> HttpResponse:
    """Answer one request here and now, whatever it takes."""
    try:
        taken = service.take(request)
        if isinstance(taken, HttpResponse):
            return taken
        return answer_batch([taken])[0] if isinstance(taken, PredictionRequest) else taken()
    except RequestRefusedError as refusal:
        return refusal.reply()


class SingleModelService:
    """One model, or the reason why there is none."""

    def __init__(self, model: LoadedModel | None, refusal: str | None = None) -> None:
        """Serve ``model``; or say ``refusal`` to whoever asks."""
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

    def take(self, request: HttpRequest) -> Handled:
        """Answer one request, or its rows' parsing.

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
    return HttpResponse(200, orjson.dumps(body), headers=echoed(request.headers, served.identity))


def check_method(request: HttpRequest, *allowed: str) -> None:
    """Refuse other methods.

    Raises:
        RequestRefusedError: 405, with the header that says which there are.
    """
    if request.method not in allowed:
        verbs = ", ".join(allowed)
        raise RequestRefusedError(
            405, f"{request.path[:100]} takes {verbs}.", headers=(("allow", verbs),)
        )


def open_model(path: Path, rest: Rest = no_rest) -> LoadedModel:
    """Load a bundle and let it answer its own smoke rows; ``rest`` as of ``load_bundle``.

    Raises:
        BadBundle: it is damaged, has no smoke rows, or answers one otherwise than is recorded.
    """
    model = load_bundle(path, rest)
    rest()
    if not model.smoke:
        raise BadBundle("The bundle has no smoke rows, so nothing shows that it answers rightly.")
    answers = model.answers(model.matrix([row.rssi for row in model.smoke]))
    for row, given in zip(model.smoke, answers, strict=True):
        if not _same(row, given):
            raise BadBundle(
                f"The model answers {given} to {dict(row.rssi)}, and {row.answer} is recorded: "
                "its weights or its code are not the ones that it was packed with."
            )
    return model


def _same(row: SmokeRow, given: Answer) -> bool:
    recorded = row.answer
    return (
        given.location == recorded.location
        and _near(given.x, recorded.x, POSITION_TOLERANCE_M)
        and _near(given.y, recorded.y, POSITION_TOLERANCE_M)
        and _near(given.confidence, recorded.confidence, CONFIDENCE_TOLERANCE)
    )


def _near(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
