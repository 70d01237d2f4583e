"""Data capture: a sample of requests and answers as JSON lines in S3, in SageMaker's form.

Records wait in memory until the next round writes them, one file an endpoint; when they come faster
than that, the rest is left out. What can't be written is lost with a warning.
"""

import base64
import json
import logging
import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.protocol import JsonObject
from ops.local.sagemaker import api
from ops.local.sagemaker.endpoint_process import ContainerRequest, ContainerResponse

_log = logging.getLogger(__name__)
_PAUSE = 1.0  # seconds between rounds
_MOST_RECORDS = 1000  # of an endpoint in one round
_ENCODINGS = {"text/csv": "CSV", "application/json": "JSON", "application/jsonlines": "JSON"}


@dataclass(frozen=True, slots=True)
class CaptureTarget:
    """Whose traffic is captured, and how."""

    endpoint: str
    variant: str
    config: api.DataCaptureConfig


class DataCapture:
    """Captures from any thread and writes in one of its own.

    Args:
        clients: for S3.
        seed: of the generator that picks the sample.
    """

    def __init__(self, clients: ServiceClients, seed: int) -> None:
        self._clients = clients
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._waiting: dict[str, tuple[CaptureTarget, list[JsonObject]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="data-capture", daemon=True)
        self._thread.start()

    def record(
        self, target: CaptureTarget, request: ContainerRequest, response: ContainerResponse
    ) -> None:
        """Take a request and its answer, if they belong to the sample."""
        config = target.config
        if not config.enable_capture:
            return
        with self._lock:
            _, waiting = self._waiting.setdefault(target.endpoint, (target, []))
            share = config.initial_sampling_percentage / 100
            if len(waiting) < _MOST_RECORDS and self._random.random() < share:
                waiting.append(_record(config, request, response))

    def close(self) -> None:
        """Write what waits and stop; to be called while S3 still answers."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_PAUSE):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for target, records in waiting.values():
            if records:
                self._write_file(target, records)

    def _write_file(self, target: CaptureTarget, records: list[JsonObject]) -> None:
        bucket, _, prefix = target.config.destination_s3_uri.partition("://")[2].partition("/")
        now = datetime.now(UTC)
        key = "/".join(
            [
                *filter(None, [prefix.rstrip("/")]),
                target.endpoint,
                target.variant,
                f"{now:%Y/%m/%d/%H}",
                f"{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid4()}.jsonl",
            ]
        )
        body = "".join(json.dumps(record) + "\n" for record in records).encode()
        try:
            self._clients.get("s3").put_object(Bucket=bucket, Key=key, Body=body)
        except (ClientError, BotoCoreError) as error:
            _log.warning("%d captured record(s) are lost: %s", len(records), error)


def _record(
    config: api.DataCaptureConfig, request: ContainerRequest, response: ContainerResponse
) -> JsonObject:
    modes = {option.capture_mode for option in config.capture_options}
    data: JsonObject = {}
    if modes & {"Input", "InputAndOutput"}:
        kind = request.headers.get("content-type", "")
        data["endpointInput"] = _part("INPUT", kind, request.body)
    if modes & {"Output", "InputAndOutput"}:
        kind = response.headers.get("content-type", "")
        data["endpointOutput"] = _part("OUTPUT", kind, response.body)
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "captureData": data,
        "eventMetadata": {"eventId": str(uuid4()), "inferenceTime": moment},
        "eventVersion": "0",
    }


def _part(mode: str, content_type: str, body: bytes) -> JsonObject:
    encoding = _ENCODINGS.get(content_type.partition(";")[0].strip().lower(), "BASE64")
    plain = encoding != "BASE64"
    text = body.decode(errors="replace") if plain else base64.b64encode(body).decode()
    return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}
