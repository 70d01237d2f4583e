"""Lambda's runtime API (2018-06-01) for one process of AWS's runtime client.

Each process has its own port, because the client reports a failed import to a URL that can't carry
a path prefix. Headers and body leave in one write: in two, Nagle's algorithm and the client's
delayed acknowledgement cost 88 ms an invocation.
"""

import json
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from queue import SimpleQueue

_PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True, slots=True)
class RuntimeInvocation:
    """One event for a function; ``deadline`` is epoch seconds."""

    request_id: str
    function_arn: str
    payload: bytes
    deadline: float


@dataclass(frozen=True, slots=True)
class InvocationOutcome:
    """The result of an invocation; ``failed`` is Lambda's ``FunctionError``."""

    payload: bytes
    failed: bool = False


def failure(error_type: str, message: str) -> InvocationOutcome:
    """An outcome that Lambda reports because the function could not."""
    return InvocationOutcome(
        json.dumps({"errorType": error_type, "errorMessage": message}).encode(), failed=True
    )


class RuntimeApi:
    """Hands invocations to one process and collects their outcomes.

    Attributes:
        address: host and port for ``AWS_LAMBDA_RUNTIME_API``.
        ready: set when the process has first requested work, or never will.
        outcomes: one for each invocation, and one for a failed start.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        self.ready = threading.Event()
        self.outcomes: SimpleQueue[InvocationOutcome] = SimpleQueue()
        self._invocations: SimpleQueue[RuntimeInvocation | None] = SimpleQueue()
        threading.Thread(target=self._accept, name="runtime-api", daemon=True).start()

    def submit(self, invocation: RuntimeInvocation) -> None:
        """Queue an invocation for the process."""
        self._invocations.put(invocation)

    def next(self) -> RuntimeInvocation | None:
        """Wait for the next invocation; None once this is closed."""
        self.ready.set()
        return self._invocations.get()

    def fail(self, outcome: InvocationOutcome) -> None:
        """Record that the process failed outside of an invocation."""
        self.outcomes.put(outcome)
        self.ready.set()

    def close(self) -> None:
        """End the process's pending request and accept no more connections."""
        self._invocations.put(None)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(connection, peer), name="runtime-api", daemon=True
            ).start()

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        with connection:
            try:
                _RuntimeConnection(connection, peer, self)
            except ConnectionError:
                return  # the process was killed; its watcher reports that


class _RuntimeConnection(BaseHTTPRequestHandler):
    """One connection of the runtime client; its constructor serves it to the end."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, connection: socket.socket, peer: tuple[str, int], api: RuntimeApi) -> None:
        self._api = api
        super().__init__(connection, peer, api)  # type: ignore[arg-type]  # the base only stores it

    def do_GET(self) -> None:
        """Answer ``/invocation/next``."""
        if self.path != f"{_PREFIX}/invocation/next":
            self._reply(404)
        elif (invocation := self._api.next()) is None:
            self.close_connection = True
        else:
            self._reply(200, invocation.payload, _invocation_headers(invocation))

    def do_POST(self) -> None:
        """Accept a response, an error, or a failed start."""
        body = self._body()
        match self.path.removeprefix(_PREFIX).strip("/").split("/"):
            case ["init", "error"]:
                self._api.fail(InvocationOutcome(body, failed=True))
            case ["invocation", _, "response"]:
                self._api.outcomes.put(InvocationOutcome(body))
            case ["invocation", _, "error"]:
                self._api.outcomes.put(InvocationOutcome(body, failed=True))
            case _:
                self._reply(404)
                return
        self._reply(202, b'{"status":"OK"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing: the function has its own log."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _invocation_headers(invocation: RuntimeInvocation) -> dict[str, str]:
    return {
        "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
        "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
        "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
        "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
    }
