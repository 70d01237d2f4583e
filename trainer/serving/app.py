"""The ASGI border: bytes of HTTP to :mod:`trainer.serving.service` and back.

Raw ASGI, as a framework costs more per request than the model does. What may go wrong: a body
without end, which is read over but not kept; a client that leaves before its answer.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from trainer.serving.logs import log
from trainer.serving.service import MAX_BODY_BYTES, Reply, Service, error_reply

# ASGI's own shapes (asgi.readthedocs.io, HTTP connection scope); they do not leave this file.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MAX_DRAINED_BYTES = 16 * MAX_BODY_BYTES
"""A client that is still sending would see a broken pipe instead of our 413; but not for ever."""


class _TooLargeError(Exception):
    """The body is above the limit."""


class _ClientLeftError(Exception):
    """Nobody waits for the answer."""


class App:
    """An ASGI application over one service."""

    def __init__(self, service: Service) -> None:
        """Answer with what ``service`` says."""
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            reply = await self._reply(scope, receive)
        except _ClientLeftError:
            return
        except Exception as error:  # noqa: BLE001 - the process's edge: one request must not end it
            log("error", "request failed", path=scope["path"], error=repr(error))
            reply = error_reply(500, "The server failed; its log says how.")
        if reply.status >= 400:
            log("warning", "refused", path=scope["path"], status=reply.status, body=reply.body)
        await _respond(send, reply, with_body=scope["method"] != "HEAD")

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        try:
            body = await _body(receive)
        except _TooLargeError:
            return error_reply(
                413, f"The body is larger than {MAX_BODY_BYTES} bytes: send fewer rows at a time."
            )
        return self._service.reply(scope["method"], scope["path"], _content_type(scope), body)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeftError
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        if size > _MAX_DRAINED_BYTES or not message.get("more_body"):
            break
    if size > MAX_BODY_BYTES:
        raise _TooLargeError
    return b"".join(parts)


def _content_type(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value.decode("latin-1"))
    return ""


async def _respond(send: Send, reply: Reply, *, with_body: bool) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(reply.body)).encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body if with_body else b""})
