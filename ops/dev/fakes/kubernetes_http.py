"""A fake API server's HTTP: requests for objects, watches, and faults on request."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from ops.dev.fakes.kubernetes_store import Document, RefusedRequest, failure_status

if TYPE_CHECKING:
    from ops.dev.fakes.kubernetes_server import FakeApiServer

_PATH = re.compile(
    r"/apis?/(?:[^/]+/)?v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>jobs|pods|events|leases)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>status|log))?"
)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(slots=True)
class Fault:
    """Something that goes wrong with the next requests that match it."""

    method: str
    """HTTP method, or ``WATCH``."""
    path: str = ""
    """A part of the path."""
    status: int | None = None
    """The answer's status; None hangs up without an answer."""
    retry_after_s: int | None = None
    times: int = 1
    done_first: bool = False
    """Whether the request is carried out all the same, and only its answer is lost."""
    delay_s: float = 0.0
    """How long the server is silent before that; how long a watch stalls."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]


class ApiHttpServer(ThreadingHTTPServer):
    """Serves one `FakeApiServer`."""

    daemon_threads = True
    # Many requests at once must not be turned away before anyone looks at them.
    request_queue_size = 128

    def __init__(self, port: int, fake: "FakeApiServer") -> None:
        """Listen on ``port`` of this machine; 0 takes a free one."""
        self.fake = fake
        super().__init__(("127.0.0.1", port), _ApiRequestHandler)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hung up."""


class _ApiRequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: ApiHttpServer

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, *_: object) -> None:
        """Print nothing: tests look at `FakeApiServer.requests`."""

    def _serve(self, method: str) -> None:
        if not self.server.fake.serving:
            # Stopping must also cut the connections that are kept open.
            self.close_connection = True
            return
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        watching = query.get("watch") == "true"
        kind = "WATCH" if watching else method
        self.server.fake.requests.append(RecordedRequest(kind, address.path, query))
        fault = self.server.fake.take_fault(kind, address.path)
        if fault and self._apply_fault(fault, method, address.path, query, body):
            return
        try:
            self._authenticate()
            if watching:
                self._stream(address.path, query)
                return
            answer, status = _answer(self.server.fake, method, address.path, query, body)
        except RefusedRequest as refused:
            answer = failure_status(refused.status, refused.reason, refused.message)
            status = refused.status
        self._send(status, answer)

    def _apply_fault(
        self, fault: Fault, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> bool:
        """Apply a fault; False if the request is served after all."""
        time.sleep(fault.delay_s)
        if fault.done_first:
            _answer(self.server.fake, method, path, query, body)
        if fault.status is None:
            self.close_connection = True
            return True
        if fault.status == HTTPStatus.OK:
            return False
        failure = failure_status(fault.status, HTTPStatus(fault.status).phrase, "on request")
        headers = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s else {}
        self._send(fault.status, failure, headers)
        return True

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "").lower()
        if self.server.fake.token and given != f"bearer {self.server.fake.token}".lower():
            raise RefusedRequest(401, "Unauthorized", "Unauthorized")

    def _stream(self, path: str, query: Mapping[str, str]) -> None:
        kind = _kind(self.server.fake, path)[0]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for event in self.server.fake.watch(kind, query, lambda: self.server.fake.serving):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _send(
        self, status: int, answer: Document | str, headers: Mapping[str, str] | None = None
    ) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _answer(
    fake: "FakeApiServer", method: str, path: str, query: Mapping[str, str], body: bytes
) -> tuple[Document | str, int]:
    document: Document = json.loads(body) if body else {}
    if path == _REVIEW:
        requested = document["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (requested["resource"], requested.get("subresource"))))
        return {**document, "status": {"allowed": fake.allowed(requested["verb"], resource)}}, 201
    kind, name, part = _kind(fake, path)
    if part == "log":
        return _log(fake, name, query), 200
    if method == "POST":
        created = fake.create(kind, document)
        if kind == "jobs":
            fake.on_job(created["metadata"]["name"])
        return created, 201
    if method == "GET":
        return (fake.read(kind, name) if name else fake.list(kind, query)), 200
    change = {"PUT": fake.replace, "PATCH": fake.patch, "DELETE": fake.delete}[method]
    return change(kind, name, document), 200


def _kind(fake: "FakeApiServer", path: str) -> tuple[str, str, str]:
    match = _PATH.fullmatch(path)
    if match is None or match["namespace"] != fake.namespace:
        raise RefusedRequest(404, "NotFound", "the server could not find the requested resource")
    return match["kind"], match["name"] or "", match["part"] or ""


def _log(fake: "FakeApiServer", pod: str, query: Mapping[str, str]) -> str:
    if pod not in fake.logs:
        raise RefusedRequest(404, "NotFound", f'pods "{pod}" not found')
    lines = fake.logs[pod].splitlines()
    return "\n".join(lines[-int(query.get("tailLines") or len(lines) or 1) :])
