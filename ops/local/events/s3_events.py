"""S3's `Object Created` events, raised from the responses of moto's S3.

moto's own events lack the version id and a usable sequencer, and a multipart upload raises one too
many. Here an event is raised after the response is complete, and only if it says that an object was
created, in a bucket whose notification configuration names EventBridge.
"""

import base64
import hashlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from secrets import choice
from string import ascii_uppercase, digits
from typing import IO, Any, cast
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ops.local.events.bus_event import BusEvent, bus_event
from ops.local.settings import CloudSettings

_PLAIN_OBJECT_PARAMETERS = frozenset({"x-id", "versionId"})
_XML_ETAG = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]+)")


@dataclass(frozen=True, slots=True)
class BufferedResponse:
    """A complete response of moto; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _CreatedObject:
    """An object that a response says was created; ``size`` is in bytes."""

    bucket: str
    key: str
    reason: str
    etag: str
    version_id: str | None
    size: int


class S3Events:
    """A WSGI application around moto's.

    Args:
        application: moto's.
        publish: puts an event on the default bus.
        settings: region and account for the events.
    """

    def __init__(
        self,
        application: WSGIApplication,
        publish: Callable[[BusEvent], None],
        settings: CloudSettings,
    ) -> None:
        self._application = application
        self._publish = publish
        self._settings = settings
        self._notifying: set[str] = set()
        self._lock = threading.Lock()
        self._last_sequence = 0

    def __call__(
        self, environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer one S3 request."""
        bucket, key = _bucket_and_key(environment)
        query = parse_qs(environment.get("QUERY_STRING", ""), keep_blank_values=True)
        if environment["REQUEST_METHOD"] == "PUT" and not key and "notification" in query:
            return self._notification(bucket, environment, start_response)
        reason = _reason(environment, key, query)
        if reason is None:
            return self._application(environment, start_response)
        return self._creation(bucket, key, reason, environment, start_response)

    def _notification(
        self, bucket: str, environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = cast("IO[bytes]", environment["wsgi.input"]).read()
        environment["wsgi.input"] = io.BytesIO(body)
        response = _call(self._application, environment)
        if response.status == 200 and b"EventBridgeConfiguration" in body:
            self._notifying.add(bucket)
        elif response.status == 200:
            self._notifying.discard(bucket)
        return _send(response, start_response)

    def _creation(
        self,
        bucket: str,
        key: str,
        reason: str,
        environment: WSGIEnvironment,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        original = dict(environment)
        response = _checksum_refusal(environment) or _call(self._application, environment)
        created = response.status == 200 and b"<Error>" not in response.body[:200]
        if created and bucket in self._notifying:
            new = self._created(bucket, key, reason, original, response)
            self._publish(self._event(new, original))
        return _send(response, start_response)

    def _created(
        self,
        bucket: str,
        key: str,
        reason: str,
        environment: WSGIEnvironment,
        response: BufferedResponse,
    ) -> _CreatedObject:
        """What the response says; only a PUT request itself says how large the object is."""
        version_id = response.headers.get("x-amz-version-id")
        if reason == "PutObject":
            etag = response.headers["etag"].strip('"')
            return _CreatedObject(bucket, key, reason, etag, version_id, _put_size(environment))
        match = _XML_ETAG.search(response.body)
        etag = match[1].decode() if match else ""
        size = self._size(environment, version_id)
        return _CreatedObject(bucket, key, reason, etag, version_id, size)

    def _size(self, environment: WSGIEnvironment, version_id: str | None) -> int:
        head = {
            name: value
            for name, value in environment.items()
            if not name.startswith("HTTP_X_AMZ_COPY_SOURCE")
        }
        head |= {
            "REQUEST_METHOD": "HEAD",
            "QUERY_STRING": f"versionId={version_id}" if version_id else "",
            "CONTENT_LENGTH": "0",
            "wsgi.input": io.BytesIO(),
        }
        return int(_call(self._application, head).headers["content-length"])

    def _event(self, created: _CreatedObject, environment: WSGIEnvironment) -> BusEvent:
        stored: dict[str, Any] = {
            "key": created.key,
            "size": created.size,
            "etag": created.etag,
            "sequencer": self._sequencer(),
        }
        if created.version_id and created.version_id != "null":
            stored["version-id"] = created.version_id
        return bus_event(
            self._settings,
            "aws.s3",
            "Object Created",
            {
                "version": "0",
                "bucket": {"name": created.bucket},
                "object": stored,
                "request-id": "".join(choice(ascii_uppercase + digits) for _ in range(16)),
                "requester": self._settings.account_id,
                "source-ip-address": environment.get("REMOTE_ADDR", ""),
                "reason": created.reason,
            },
            resources=[f"arn:aws:s3:::{created.bucket}"],
        )

    def _sequencer(self) -> str:
        with self._lock:
            self._last_sequence = max(self._last_sequence + 1, time.time_ns())
            return f"{self._last_sequence:018X}"


def _bucket_and_key(environment: WSGIEnvironment) -> tuple[str, str]:
    """Path style only: clients use it if the endpoint is an IP address."""
    path = str(environment["PATH_INFO"]).encode("latin-1").decode()
    bucket, _, key = path.removeprefix("/").partition("/")
    return bucket, key


def _reason(environment: WSGIEnvironment, key: str, query: dict[str, list[str]]) -> str | None:
    """How the request would create an object, in S3's words; None if it would not."""
    if not key:
        return None
    method = environment["REQUEST_METHOD"]
    if method == "POST" and "uploadId" in query:
        return "CompleteMultipartUpload"
    if method != "PUT" or not _PLAIN_OBJECT_PARAMETERS.issuperset(query):
        return None
    return "CopyObject" if "HTTP_X_AMZ_COPY_SOURCE" in environment else "PutObject"


def _checksum_refusal(environment: WSGIEnvironment) -> BufferedResponse | None:
    """S3's refusal of a body that does not match its SHA-256, which moto does not check."""
    claimed = environment.get("HTTP_X_AMZ_CHECKSUM_SHA256")
    if not claimed or environment["REQUEST_METHOD"] != "PUT":
        return None
    body = cast("IO[bytes]", environment["wsgi.input"]).read()
    environment["wsgi.input"] = io.BytesIO(body)
    if base64.b64encode(hashlib.sha256(body).digest()).decode() == claimed:
        return None
    return BufferedResponse(
        400,
        {"content-type": "application/xml"},
        b"<Error><Code>BadDigest</Code><Message>The SHA256 you specified did not match the "
        b"calculated checksum.</Message></Error>",
    )


def _put_size(environment: WSGIEnvironment) -> int:
    """Bytes of the object; an ``aws-chunked`` body is longer than the object."""
    return int(
        environment.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environment["CONTENT_LENGTH"]
    )


def _call(application: WSGIApplication, environment: WSGIEnvironment) -> BufferedResponse:
    response = BufferedResponse(0, {}, b"")
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], _: object = None
    ) -> Callable[[bytes], object]:
        nonlocal response
        lowered = {name.lower(): value for name, value in headers}
        response = BufferedResponse(int(status.split(maxsplit=1)[0]), lowered, b"")
        return written.append

    chunks = application(environment, start_response)
    try:
        written.extend(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return replace(response, body=b"".join(written))


def _send(response: BufferedResponse, start_response: StartResponse) -> Iterable[bytes]:
    start_response(
        f"{response.status} {'OK' if response.status < 300 else 'See body'}",
        list(response.headers.items()),
    )
    return [response.body]
