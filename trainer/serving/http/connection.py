"""HTTP/1.1 on one socket: bytes to requests, responses to bytes, in the order of the requests.

Written directly over httptools, as a general server costs more per request than the model does. A
client mostly repeats one head byte by byte; a head that is known, and comes with its whole body, is
not parsed again. Clients are untrusted: bodies without end are read but not kept, requests that
never end are timed out, and pipelining and other protocols are handled.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple, cast

import httptools

from trainer.serving.exchange import (
    MAX_BODY_BYTES,
    Headers,
    HttpRequest,
    HttpResponse,
    TooLargeError,
    error_response,
)
from trainer.serving.models.micro_batcher import MicroBatcher

MAX_HEADER_BYTES = 64 * 1024
REQUEST_S = 60
"""How long a request may take to arrive; SageMaker gives up after as long."""
IDLE_S = 600
"""How long a connection may stay idle; longer than any proxy in front keeps one."""

_MAX_DRAINED_BYTES = 16 * MAX_BODY_BYTES
"""Read up to here, as a client that is still sending would see a broken pipe instead of 413."""
_MAX_QUEUED = 32
"""Pipelined requests of one connection that wait for their responses."""
_MAX_KNOWN_HEADS = 256
_MAX_KNOWN_HEAD_BYTES = 2048
_HEAD_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: "
    for status in HTTPStatus
}


class _RequestHead(NamedTuple):
    """The parsed head of a request."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    keep_alive: bool
    body_bytes: int


class _PendingResponse:
    """A request's place in the order of its connection's responses."""

    __slots__ = ("keep_alive", "output", "without_body")

    def __init__(self, *, keep_alive: bool, without_body: bool) -> None:
        self.keep_alive = keep_alive
        self.without_body = without_body
        self.output: bytes | None = None


class Connections:
    """All connections of a worker, and whether it is stopping."""

    def __init__(self, batcher: MicroBatcher) -> None:
        """Pass requests to ``batcher``."""
        self.batcher = batcher
        self.is_stopping = False
        self.open: set[Connection] = set()
        self.heads: dict[bytes, _RequestHead] = {}
        self._none_open = asyncio.Event()

    def open_connection(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self)

    def discard(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""
        self.open.discard(connection)
        if self.is_stopping and not self.open:
            self._none_open.set()

    async def all_closed(self) -> None:
        """Wait until none is open; for a worker that is stopping."""
        if self.open:
            await self._none_open.wait()

    def close_idle(self) -> None:
        """Close those without a request."""
        for connection in [*self.open]:
            connection.close_if_idle()

    def close_overdue(self) -> None:
        """Time out requests that do not arrive and connections that are idle."""
        now = time.monotonic()
        for connection in [*self.open]:
            connection.close_if_overdue(now)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, connections: Connections) -> None:
        """Register with a worker's ``connections`` once connected."""
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._pending = deque[_PendingResponse]()
        self._transport: asyncio.Transport
        self._last_activity = time.monotonic()
        self._closing = False
        self._paused = False
        self._write_paused = False
        self._chunk = b""
        """The last bytes received, if a request may begin with them."""
        self._begin()
        self._receiving = False

    def _begin(self) -> None:
        self._receiving = True
        self._started_at = time.monotonic()
        self._target = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._parts: list[bytes] = []
        self._size = 0

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        # uvloop's transport has the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client or the server closed the connection."""
        self._closing = True
        self._connections.discard(self)
        # It refers to this connection: a cycle that only the garbage collector would free.
        del self._parser

    def pause_writing(self) -> None:
        """The client does not read, so nothing more is read from it."""
        self._write_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._write_paused = False
        self._update_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._closing:
            return
        self._last_activity = time.monotonic()
        if self._receiving:
            self._chunk = b""
        elif self._handle_known_head(data):
            return
        else:
            self._chunk = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # It was answered like any other request, and its connection ends with that.
            return
        except httptools.HttpParserError as error:
            self._refuse(error_response(400, f"This is no HTTP/1.1 request: {error}."))

    # Called by the parser.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._target += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count_header(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known},{text}"

    def on_headers_complete(self) -> None:
        """The body follows; a client may wait for permission to send it."""
        if self._headers.get("expect", "").lower() == "100-continue" and not self._closing:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size <= MAX_BODY_BYTES:
            self._parts.append(body)
        elif self._size > _MAX_DRAINED_BYTES:
            self._refuse(TooLargeError().response())

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._receiving = False
        if self._closing:
            return
        parser = self._parser
        body, self._parts = b"".join(self._parts), []
        path, query = _parts_of(self._target)
        head = _RequestHead(
            method=parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            headers=self._headers,
            keep_alive=parser.should_keep_alive() and not parser.should_upgrade(),
            body_bytes=len(body),
        )
        if self._size > MAX_BODY_BYTES:
            pending = self._enqueue(head)
            response = TooLargeError().response()
            self._connections.batcher.record(_request(head, b""), response)
            self._answer(pending, response)
        else:
            self._remember(head)
            self._submit(head, body)

    def _handle_known_head(self, data: bytes) -> bool:
        """Handle ``data`` if it is one whole request with a head that was parsed before."""
        split = data.find(_HEAD_END) + len(_HEAD_END)
        head = self._connections.heads.get(data[:split])
        # Only if none is pending: what follows a request that ends the connection is ignored.
        if head is None or len(data) != split + head.body_bytes or self._pending:
            return False
        self._submit(head, data[split:])
        return True

    def _remember(self, head: _RequestHead) -> None:
        """Keep a head for the next time, if it and its body came as one chunk."""
        chunk, heads = self._chunk, self._connections.heads
        split = len(chunk) - head.body_bytes
        is_reusable = (
            head.keep_alive
            and split <= _MAX_KNOWN_HEAD_BYTES
            and chunk.find(_HEAD_END) == split - len(_HEAD_END)
            and not head.headers.keys() & {"transfer-encoding", "expect", "upgrade"}
        )
        if is_reusable:
            if len(heads) >= _MAX_KNOWN_HEADS:
                heads.clear()
            heads[chunk[:split]] = head

    def _submit(self, head: _RequestHead, body: bytes) -> None:
        pending = self._enqueue(head)
        self._connections.batcher.submit(
            _request(head, body), lambda response: self._answer(pending, response)
        )

    def _enqueue(self, head: _RequestHead) -> _PendingResponse:
        pending = _PendingResponse(keep_alive=head.keep_alive, without_body=head.method == "HEAD")
        self._pending.append(pending)
        self._update_reading()
        return pending

    def close_if_idle(self) -> None:
        """Close it, unless a request is arriving or being answered."""
        if not self._pending and not self._receiving:
            self._close()

    def close_if_overdue(self, now: float) -> None:
        """Close it if its client takes too long."""
        if self._pending:
            return
        if self._receiving and now - self._started_at > REQUEST_S:
            self._refuse(
                error_response(408, f"It took more than {REQUEST_S} s to arrive: send it again.")
            )
        elif now - self._last_activity > IDLE_S:
            self._close()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(
                error_response(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes.")
            )

    def _refuse(self, response: HttpResponse) -> None:
        """Answer a request that can't be read further, in its order, and end the connection."""
        if self._closing or (self._pending and not self._pending[-1].keep_alive):
            return
        self._receiving = False
        path, _ = _parts_of(self._target)
        self._connections.batcher.record(HttpRequest("", path, self._headers, b""), response)
        pending = _PendingResponse(keep_alive=False, without_body=False)
        self._pending.append(pending)
        self._answer(pending, response)

    def _answer(self, pending: _PendingResponse, response: HttpResponse) -> None:
        if self._connections.is_stopping:
            pending.keep_alive = False
        pending.output = _bytes_of(response, pending)
        output = []
        while self._pending and self._pending[0].output is not None:
            pending = self._pending.popleft()
            output.append(pending.output or b"")
            if not pending.keep_alive:
                break
        if self._closing or not output:
            return
        self._last_activity = time.monotonic()
        self._transport.write(b"".join(output))
        if pending.keep_alive:
            self._update_reading()
        else:
            self._close()

    def _close(self) -> None:
        self._closing = True
        self._transport.close()

    def _update_reading(self) -> None:
        pause = self._write_paused or len(self._pending) >= _MAX_QUEUED
        if pause == self._paused or self._closing:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _parts_of(target: bytes) -> tuple[str, str]:
    """The path and the query of a target; ``*`` and the like stay unchanged."""
    if not target.startswith(b"/"):
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            return target.decode("latin-1"), ""
        return (url.path or b"/").decode("latin-1"), (url.query or b"").decode("latin-1")
    path, _, query = target.partition(b"?")
    return path.decode("latin-1"), query.decode("latin-1")


def _request(head: _RequestHead, body: bytes) -> HttpRequest:
    return HttpRequest(head.method, head.path, head.headers, body, head.query)


def _bytes_of(response: HttpResponse, pending: _PendingResponse) -> bytes:
    head = _head(
        response.status, response.content_type, response.headers, keep_alive=pending.keep_alive
    )
    length = b"%d\r\n\r\n" % len(response.body)
    return head + length if pending.without_body else head + length + response.body


@lru_cache(maxsize=256)
def _head(status: int, content_type: str, headers: Headers, *, keep_alive: bool) -> bytes:
    """The head of a response up to the length of its body."""
    lines = [
        _STATUS_LINES[status],
        content_type,
        "\r\n",
        *(f"{name}: {value}\r\n" for name, value in headers),
        "" if keep_alive else "connection: close\r\n",
        "content-length: ",
    ]
    return "".join(lines).encode("latin-1")
