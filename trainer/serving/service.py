"""What the container answers, without any HTTP server around it: requests in, replies out.

What may go wrong: a model that can't be opened or doesn't answer its own smoke rows as it did when
it was packed. It is never served, but the process stays, so that ``/ping`` can say why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from trainer.localization.bundle import LoadedModel, SmokeRow, load_bundle
from trainer.localization.decoding import Answer
from trainer.localization.errors import BadBundle, BadReadings, ReadingProblem
from trainer.serving.parsing import parse_csv, parse_json

MAX_BODY_BYTES = 6 * 1024 * 1024
"""SageMaker's limit on a request to a real-time endpoint."""

SCHEMA_VERSION = 1
POSITION_TOLERANCE_M = 0.01
CONFIDENCE_TOLERANCE = 1e-3
"""Other processors differ in the last bits: these are far above that and far below an error."""

_PARSERS = {"application/json": parse_json, "text/csv": parse_csv}
_ALLOWED = {"/ping": ("GET", "HEAD"), "/invocations": ("POST",)}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; the body is JSON."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Service:
    """One model, or the reason why there is none."""

    def __init__(self, model: LoadedModel | None, refusal: str | None = None) -> None:
        """Serve ``model``; or say ``refusal`` to whoever asks."""
        self.model = model
        self.refusal = refusal

    @classmethod
    def open(cls, path: Path) -> "Service":
        """Load and check a bundle; what is wrong with it becomes the refusal."""
        try:
            model = load_bundle(path)
            check_smoke(model)
        except BadBundle as error:
            return cls(None, str(error))
        return cls(model)

    def reply(self, method: str, path: str, content_type: str, body: bytes) -> Reply:
        """Answer one request."""
        allowed = _ALLOWED.get(path)
        if allowed is None:
            return error_reply(404, f"There is no {path}: ask /ping or /invocations.")
        if method not in allowed:
            verbs = ", ".join(allowed)
            return error_reply(405, f"{path} takes {verbs}.", headers=((b"allow", verbs.encode()),))
        if self.model is None:
            return error_reply(503, self.refusal or "There is no model.")
        if path == "/ping":
            return self._healthy(self.model)
        return self._predict(self.model, content_type, body)

    def _healthy(self, model: LoadedModel) -> Reply:
        body = {"status": "ok", "release": model.release, "digest": model.digest}
        return Reply(200, orjson.dumps(body), _identity(model))

    def _predict(self, model: LoadedModel, content_type: str, body: bytes) -> Reply:
        kind = content_type.partition(";")[0].strip().lower()
        parse = _PARSERS.get(kind)
        if parse is None:
            return error_reply(
                415, f"The content type {kind or 'is missing'!r}; send {' or '.join(_PARSERS)}."
            )
        try:
            readings = parse(body, model.beacons)
        except BadReadings as error:
            return error_reply(400, str(error), error.problems)
        return Reply(200, _answer_body(model, model.answers(readings)), _identity(model))


def check_smoke(model: LoadedModel) -> None:
    """Ask a model its own smoke rows.

    Raises:
        BadBundle: it has none, or answers one of them otherwise than it is recorded.
    """
    if not model.smoke:
        raise BadBundle("The bundle has no smoke rows, so nothing shows that it answers rightly.")
    answers = model.answers(model.matrix([row.rssi for row in model.smoke]))
    for row, answer in zip(model.smoke, answers, strict=True):
        if not _same(row, answer):
            raise BadBundle(
                f"The model answers {answer} to {dict(row.rssi)}, and {row.answer} is recorded: "
                "its weights or its code are not the ones that it was packed with."
            )


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


def _answer_body(model: LoadedModel, answers: Sequence[Answer]) -> bytes:
    return orjson.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "release": model.release,
            "digest": model.digest,
            "predictions": answers,
        }
    )


def _identity(model: LoadedModel) -> tuple[tuple[bytes, bytes], ...]:
    """SageMaker hands this header of the container's through to the client."""
    attributes = f"release={model.release};digest={model.digest}"
    return ((b"x-amzn-sagemaker-custom-attributes", attributes.encode("ascii")),)


def error_reply(
    status: int,
    message: str,
    problems: Sequence[ReadingProblem] = (),
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """A refusal that a person can act on."""
    body = {"error": {"message": message, "problems": list(problems)}}
    return Reply(status, orjson.dumps(body), headers)
