"""One request for predictions: what was asked, and what it becomes once the model has answered.

Parsing and answering are apart, so that the server can let a model answer the rows of many requests
at once. What may go wrong: all of a stranger's body and headers; see the refusals.
"""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from trainer.localization.errors import BadReadings
from trainer.localization.readings import FloatMatrix
from trainer.serving.exchange import (
    CUSTOM_ATTRIBUTES,
    INFERENCE_ID,
    JSON,
    MAX_BODY_BYTES,
    Headers,
    HttpRequest,
    HttpResponse,
    RequestRefusedError,
    TooLargeError,
    echoed,
)
from trainer.serving.formats.parsing import (
    Readings,
    parse_csv,
    parse_json,
    parse_json_lines,
    parse_matrix,
)
from trainer.serving.formats.responses import (
    CSV,
    JSON_LINES,
    MAX_TOP_K,
    NPY,
    WRITERS,
    negotiated_type,
    predict_rows,
)
from trainer.serving.models.served_model import ServedModel, answer_headers

Parser = Callable[[bytes, Sequence[str]], Readings]

PARSERS: Mapping[str, Parser] = {
    JSON: parse_json,
    CSV: parse_csv,
    NPY: parse_matrix,
    JSON_LINES: parse_json_lines,
    "application/x-ndjson": parse_json_lines,
}

_TOP_K = re.compile(r"(?:^|[;,])\s*top_k\s*=\s*([^;,]*)", re.ASCII)


class PredictionRequest(NamedTuple):
    """A request whose rows are understood and not yet answered."""

    served: ServedModel
    rssi: FloatMatrix
    top_k: int
    form: str
    headers: Headers

    @property
    def kind(self) -> tuple[int, int, str]:
        """What requests have in common that may be answered together."""
        return id(self.served), self.top_k, self.form


def answer_batch(invocations: Sequence[PredictionRequest]) -> list[HttpResponse]:
    """Let a model answer requests of one kind at once, each with the answers to its own rows."""
    first = invocations[0]
    rssi = [invocation.rssi for invocation in invocations]
    together = rssi[0] if len(rssi) == 1 else np.concatenate(rssi)
    answers = predict_rows(first.served.model, together, first.top_k)
    ends = [*accumulate(map(len, rssi), initial=0)]
    bodies = WRITERS[first.form](first.served, answers, [*map(slice, ends, ends[1:])])
    return [
        HttpResponse(200, body, one.form, one.headers, len(one.rssi))
        for one, body in zip(invocations, bodies, strict=True)
    ]


def read_prediction_request(served: ServedModel, request: HttpRequest) -> PredictionRequest:
    """Understand a request.

    Raises:
        RequestRefusedError: it can't be answered: 400, 406, 413 or 415.
    """
    headers = request.headers
    parse = _parser(headers.get("content-type", ""))
    form = negotiated_type(headers.get("accept", ""))
    body = decoded_body(request)
    try:
        readings = parse(body, served.model.beacons)
    except BadReadings as error:
        raise RequestRefusedError(400, str(error), error.problems) from error
    top_k = _top_k(readings.top_k, headers.get(CUSTOM_ATTRIBUTES, ""))
    return PredictionRequest(
        served, readings.rssi, top_k, form, _headers(served, headers, readings)
    )


@lru_cache(maxsize=64)
def _parser(content_type: str) -> Parser:
    kind = content_type.partition(";")[0].strip().lower()
    parse = PARSERS.get(kind)
    if parse is None:
        named = f"The content type {kind[:100]!r}" if kind else "The content type is missing"
        raise RequestRefusedError(415, f"{named}; send {' or '.join(PARSERS)}.")
    return parse


def _headers(served: ServedModel, headers: Mapping[str, str], readings: Readings) -> Headers:
    unknown = readings.unknown
    if not unknown and CUSTOM_ATTRIBUTES not in headers and INFERENCE_ID not in headers:
        return served.headers
    ours = served.identity + (f";unknown_beacons={unknown}" if unknown else "")
    return answer_headers(served.model, echoed(headers, ours), unknown)


def _top_k(in_body: int | None, attributes: str) -> int:
    """From the body, or, as a CSV has no room for it, from the custom attributes."""
    if in_body is None:
        found = _TOP_K.search(attributes) if attributes else None
        if found is None:
            return 0
        text = found[1].strip()
        in_body = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1
    if not 1 <= in_body <= MAX_TOP_K:
        raise RequestRefusedError(400, f"top_k has to be a whole number from 1 to {MAX_TOP_K}.")
    return in_body


def decoded_body(request: HttpRequest) -> bytes:
    """The body without its content encoding.

    Raises:
        RequestRefusedError: 400, 413 or 415: it is damaged, too large or packed in another way.
    """
    if "content-encoding" not in request.headers:
        return request.body
    encoding = request.headers["content-encoding"].strip().lower()
    if encoding in {"", "identity"}:
        return request.body
    if encoding not in {"gzip", "x-gzip"}:
        accepted = (("accept-encoding", "gzip"),)
        raise RequestRefusedError(
            415, f"The content encoding {encoding[:100]!r}; send gzip or none.", headers=accepted
        )
    unpacking = zlib.decompressobj(wbits=31)
    try:
        # Bounded: a few kilobytes may unpack to gigabytes.
        content = unpacking.decompress(request.body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise RequestRefusedError(400, f"The body is no gzip: {error}.") from error
    if len(content) > MAX_BODY_BYTES:
        raise TooLargeError("The unpacked body")
    if not unpacking.eof or unpacking.unused_data:
        raise RequestRefusedError(400, "The gzip body is cut short, or something follows its end.")
    return content
