"""One request for predictions: parsed from HTTP, and answered once the model has run.

Parsing and answering are separate, so that the server can run the model once for the rows of many
requests. Body and headers come from untrusted clients; whatever can't be answered is refused.
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
    echoed_headers,
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
from trainer.serving.formats.served_model import ServedModel, response_headers

BodyParser = Callable[[bytes, Sequence[str]], Readings]

PARSERS: Mapping[str, BodyParser] = {
    JSON: parse_json,
    CSV: parse_csv,
    NPY: parse_matrix,
    JSON_LINES: parse_json_lines,
    "application/x-ndjson": parse_json_lines,
}

_TOP_K = re.compile(r"(?:^|[;,])\s*top_k\s*=\s*([^;,]*)", re.ASCII)


class PredictionRequest(NamedTuple):
    """A request whose rows are parsed and not yet answered."""

    served: ServedModel
    rssi: FloatMatrix
    top_k: int
    content_type: str
    """The response's content type."""
    headers: Headers

    @property
    def batch_key(self) -> tuple[int, int, str]:
        """Requests of equal keys may be answered by one forward pass."""
        return id(self.served), self.top_k, self.content_type


def answer_batch(requests: Sequence[PredictionRequest]) -> list[HttpResponse]:
    """Answer requests of one batch key by one forward pass; a response to each, in order."""
    first = requests[0]
    rssi = [request.rssi for request in requests]
    rows = rssi[0] if len(rssi) == 1 else np.concatenate(rssi)
    columns = predict_rows(first.served.model, rows, first.top_k)
    ends = [*accumulate(map(len, rssi), initial=0)]
    bodies = WRITERS[first.content_type](first.served, columns, [*map(slice, ends, ends[1:])])
    return [
        HttpResponse(200, body, request.content_type, request.headers, len(request.rssi))
        for request, body in zip(requests, bodies, strict=True)
    ]


def read_prediction_request(served: ServedModel, request: HttpRequest) -> PredictionRequest:
    """Parse a request and negotiate the response's content type.

    Raises:
        RequestRefusedError: it can't be answered: 400, 406, 413 or 415.
    """
    headers = request.headers
    parse = _parser(headers.get("content-type", ""))
    content_type = negotiated_type(headers.get("accept", ""))
    body = decoded_body(request)
    try:
        readings = parse(body, served.model.beacons)
    except BadReadings as error:
        raise RequestRefusedError(400, str(error), error.problems) from error
    top_k = _top_k(readings.top_k, headers.get(CUSTOM_ATTRIBUTES, ""))
    return PredictionRequest(
        served, readings.rssi, top_k, content_type, _headers(served, headers, readings)
    )


@lru_cache(maxsize=64)
def _parser(content_type: str) -> BodyParser:
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
    return response_headers(served.model, echoed_headers(headers, ours), unknown)


def _top_k(in_body: int | None, attributes: str) -> int:
    """From the body, or from the custom attributes, as CSV and npy have no place for it."""
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
        RequestRefusedError: 400, 413 or 415: it is damaged, too large or of another encoding.
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
