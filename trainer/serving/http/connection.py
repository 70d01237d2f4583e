"""HTTP/1.1 on one socket: bytes to requests, replies to bytes, in the order of the requests.

Written out over httptools, as a general server and its interface cost more per request than the
model does. A client's requests mostly have one head over and over, byte by byte; a head that was
parsed before and comes again, with its whole body, is not parsed again. What may go wrong: bodies
without end, which are read over but not kept; requests that never end; clients that leave,
pipeline, or send no HTTP at all.
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
"""How long a connection may stand idle; longer than any proxy before us keeps one."""

_MAX_DRAINED_BYTES = 16 * MAX_BODY_BYTES
"""A client that is still sending would see a broken pipe instead of our 413; but not for ever."""
_MAX_QUEUED = 32
"""Pipelined requests of one connection that wait for their turn."""
_MAX_KNOWN_HEADS = 256
_MAX_KNOWN_HEAD_BYTES = 2048
_HEAD_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: "
    for status in HTTPStatus
}


class _RequestHead(NamedTuple):
    """What the head of a request says; the same bytes always say the same."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    keep_alive: bool
    body_bytes: int


class _PendingResponse:
    """A request's place in the order of its connection's answers."""

    __slots__ = ("keep_alive", "output", "without_body")

    def __init__(self, *, keep_alive: bool, without_body: bool) -> None:
        self.keep_alive = keep_alive
        self.without_body = without_body
        self.output: bytes | None = None


class Connections:
    """All connections of a worker, and whether it is about to stop."""

    def __init__(self, batcher: MicroBatcher) -> None:
        """Answer what comes in at ``batcher``."""
        self.batcher = batcher
        self.stopping = False
        self.open: set[Connection] = set()
        self.heads: dict[bytes, _RequestHead] = {}
        self._none_open = asyncio.Event()

    def make(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self)

    def forget(self, connection: "Connection") -> None:
        """It is closed."""
        self.open.discard(connection)
        if self.stopping and not self.open:
            self._none_open.set()

    async def all_closed(self) -> None:
        """Wait for the last one's end; for a worker that is stopping."""
        if self.open:
            await self._none_open.wait()

    def close_idle(self) -> None:
        """Close those that nobody waits on."""
        for connection in [*self.open]:
            connection.close_if_idle()

    def end_overdue(self) -> None:
        """End requests that do not arrive, and connections that no one uses."""
        now = time.monotonic()
        for connection in [*self.open]:
            connection.end_if_overdue(now)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, connections: Connections) -> None:
        """Belong to a worker's ``connections``."""
        self._all = connections
        self._parser = httptools.HttpRequestParser(self)
        self._pending = deque[_PendingResponse]()
        self._transport: asyncio.Transport
        self._since = time.monotonic()
        self._closing = False
        self._paused = False
        self._write_paused = False
        self._chunk = b""
        """What came last, if a request may begin with it."""
        self._begin()
        self._receiving = False

    def _begin(self) -> None:
        self._receiving = True
        self._begun = time.monotonic()
        self._target = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._parts: list[bytes] = []
        self._size = 0

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        # uvloop's has the interface and not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client left, or we closed."""
        self._closing = True
        self._all.forget(self)
        # It holds this connection, so that both would wait for the garbage collector.
        del self._parser

    def pause_writing(self) -> None:
        """The client does not read: read no more from it."""
        self._write_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._write_paused = False
        self._update_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._closing:
            return
        self._since = time.monotonic()
        if self._receiving:
            self._chunk = b""
        elif self._known(data):
            return
        else:
            self._chunk = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # It was answered as any other request, and its connection ends with that.
            return
        except httptools.HttpParserError as error:
            self._refuse(error_response(400, f"This is no HTTP/1.1 request: {error}."))

    # The parser's calls.

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
        """The body follows; the client may want to be asked for it."""
        if self._headers.get("expect", "").lower() == "100-continue" and not self._closing:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size <= MAX_BODY_BYTES:
            self._parts.append(body)
        elif self._size > _MAX_DRAINED_BYTES:
            self._refuse(TooLargeError().reply())

    def on_message_complete(self) -> None:
        """The request is here."""
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
            turn = self._enqueue(head)
            reply = TooLargeError().reply()
            self._all.batcher.note(_request(head, b""), reply)
            self._answer(turn, reply)
        else:
            self._remember(head)
            self._take(head, body)

    # Ours.

    def _known(self, data: bytes) -> bool:
        """Take a request that is all of ``data`` and has a head that was parsed before."""
        split = data.find(_HEAD_END) + len(_HEAD_END)
        head = self._all.heads.get(data[:split])
        # One at a time: what comes after a request that ends the connection is not heard.
        if head is None or len(data) != split + head.body_bytes or self._pending:
            return False
        self._take(head, data[split:])
        return True

    def _remember(self, head: _RequestHead) -> None:
        """Know the head when it comes again, if it and its body are all of one chunk."""
        chunk, heads = self._chunk, self._all.heads
        split = len(chunk) - head.body_bytes
        plain = (
            head.keep_alive
            and split <= _MAX_KNOWN_HEAD_BYTES
            and chunk.find(_HEAD_END) == split - len(_HEAD_END)
            and not head.headers.keys() & {"transfer-encoding", "expect", "upgrade"}
        )
        if plain:
            if len(heads) >= _MAX_KNOWN_HEADS:
                heads.clear()
            heads[chunk[:split]] = head

    def _take(self, head: _RequestHead, body: bytes) -> None:
        turn = self._enqueue(head)
        self._all.batcher.take(_request(head, body), lambda reply: self._answer(turn, reply))

    def _enqueue(self, head: _RequestHead) -> _PendingResponse:
        turn = _PendingResponse(keep_alive=head.keep_alive, without_body=head.method == "HEAD")
        self._pending.append(turn)
        self._update_reading()
        return turn

    def close_if_idle(self) -> None:
        """Close it, unless a request is on its way or being answered."""
        if not self._pending and not self._receiving:
            self._close()

    def end_if_overdue(self, now: float) -> None:
        """Close it if its client takes too long."""
        if self._pending:
            return
        if self._receiving and now - self._begun > REQUEST_S:
            self._refuse(
                error_response(408, f"It took more than {REQUEST_S} s to arrive: send it again.")
            )
        elif now - self._since > IDLE_S:
            self._close()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(
                error_response(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes.")
            )

    def _refuse(self, reply: HttpResponse) -> None:
        """Answer what can't be read on, after all before it, and end the connection."""
        if self._closing or (self._pending and not self._pending[-1].keep_alive):
            return
        self._receiving = False
        path, _ = _parts_of(self._target)
        self._all.batcher.note(HttpRequest("", path, self._headers, b""), reply)
        turn = _PendingResponse(keep_alive=False, without_body=False)
        self._pending.append(turn)
        self._answer(turn, reply)

    def _answer(self, turn: _PendingResponse, reply: HttpResponse) -> None:
        if self._all.stopping:
            turn.keep_alive = False
        turn.output = _bytes_of(reply, turn)
        output = []
        while self._pending and self._pending[0].output is not None:
            turn = self._pending.popleft()
            output.append(turn.output or b"")
            if not turn.keep_alive:
                break
        if self._closing or not output:
            return
        self._since = time.monotonic()
        self._transport.write(b"".join(output))
        if turn.keep_alive:
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
    """The path and the query of a target; ``*`` and the like stay what they are."""
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


def _bytes_of(reply: HttpResponse, turn: _PendingResponse) -> bytes:
    head = _head(reply.status, reply.content_type, reply.headers, keep_alive=turn.keep_alive)
    length = b"%d\r\n\r\n" % len(reply.body)
    return head + length if turn.without_body else head + length + reply.body


@lru_cache(maxsize=256)
def _head(status: int, content_type: str, headers: Headers, *, keep_alive: bool) -> bytes:
    """The head of an answer up to the length of its body."""
    lines = [
        _STATUS_LINES[status],
        content_type,
        "\r\n",
        *(f"{name}: {value}\r\n" for name, value in headers),
        "" if keep_alive else "connection: close\r\n",
        "content-length: ",
    ]
    return "".join(lines).encode("latin-1")
