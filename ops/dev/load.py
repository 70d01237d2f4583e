"""Sends one request again and again over some connections, and times the answers.

Clients and servers share the cores, so the client does little (it reads an answer's status and
length), and its own cost is measured by an echo server, see :func:`running_echo`. Answers other
than 200 and connections that the server closes are counted as errors.
"""

import asyncio
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from ops.errors import OpsError

START_TIMEOUT_S = 60.0

_ECHO = '''
"""Answers every request with a body of the given size."""
import asyncio, socket, sys, uvloop
port, size = int(sys.argv[1]), int(sys.argv[2])
head = b"HTTP/1.1 200 OK\\r\\ncontent-length: "
whole = head + b"%d\\r\\n\\r\\n" % size + b" " * size

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.left = transport, 0

    def data_received(self, data):
        if not self.left:
            end = data.find(b"\\r\\n\\r\\n") + 4
            length = data[:end].partition(b"content-length: ")[2].partition(b"\\r\\n")[0]
            self.left = end + int(length or 0)
        self.left -= len(data)
        if not self.left:
            self.transport.write(whole)

async def main():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(Echo, sock=listener, backlog=1024)
    await server.serve_forever()

uvloop.run(main())
'''


@dataclass(frozen=True, slots=True)
class Load:
    """A request, and over how many connections to send it."""

    name: str
    connections: int
    rows: int
    body: bytes
    content_type: str = "application/json"
    path: str = "/invocations"

    def request(self) -> bytes:
        """The bytes of one request."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\n"
            f"content-type: {self.content_type}\r\naccept: {self.content_type}\r\n"
            f"content-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Throughput, latencies and errors of one load."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    errors: int
    answer_bytes: int = 0
    """The size of the last answer's body."""

    @property
    def delays(self) -> tuple[float, float, float]:
        """The three percentiles, in milliseconds."""
        return self.p50_ms, self.p99_ms, self.p999_ms


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server process that answers."""

    port: int
    pid: int
    cold_s: float


def measure(port: int, load: Load, seconds: float) -> LoadResult:
    """Send one load for some seconds; each connection has one request at a time in flight."""
    return uvloop.run(_measure(port, load, seconds))


async def _measure(port: int, load: Load, seconds: float) -> LoadResult:
    loop = asyncio.get_running_loop()
    request = load.request()
    begun = time.perf_counter()
    clients = [LoadConnection(request, begun + seconds) for _ in range(load.connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.closed for client in clients))
    elapsed = time.perf_counter() - begun
    ordered = sorted(moment for client in clients for moment in client.times)
    if len(ordered) < 2:
        raise OpsError(f"{load.name}: the server answered {len(ordered)} requests in {seconds} s.")
    return LoadResult(
        requests_per_s=len(ordered) / elapsed,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        p999_ms=ordered[int(len(ordered) * 0.999)] * 1000,
        errors=sum(client.errors for client in clients),
        answer_bytes=max(client.body_bytes for client in clients),
    )


class LoadConnection(asyncio.Protocol):
    """One connection, which sends the next request as soon as it has the answer."""

    def __init__(self, request: bytes, deadline: float) -> None:
        """Send ``request`` until ``deadline`` on ``time.perf_counter``."""
        self._request = request
        self._deadline = deadline
        self._left = 0
        self.times: list[float] = []
        self.errors = 0
        self.body_bytes = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an answer; after the last one, send the next request."""
        if not self._left:
            self._begin(data)
        self._left -= len(data)
        if self._left:
            return
        now = time.perf_counter()
        self.times.append(now - self._begun)
        if now >= self._deadline:
            self._transport.close()
        else:
            self._send()

    def _begin(self, data: bytes) -> None:
        """Read an answer's head; all measured servers write it in one piece."""
        if not data.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        end = data.index(b"\r\n\r\n") + 4
        head = data[:end].lower()
        at = head.index(b"content-length:") + 15
        self.body_bytes = int(head[at : head.index(b"\r", at)])
        self._left = end + self.body_bytes

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by the server, or by us at the end."""
        if exc is not None:
            self.errors += 1
        if not self.closed.done():
            self.closed.set_result(None)

    def eof_received(self) -> None:
        """The server closed: gunicorn's synchronous workers do so after each answer."""
        self.errors += 1

    def _send(self) -> None:
        self._begun = time.perf_counter()
        self._transport.write(self._request)


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], port: int
) -> Iterator[ServerProcess]:
    """Start a server process, wait for its first answer, and end it after the block."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _pings(port):
            if process.poll() is not None or time.perf_counter() - begun > START_TIMEOUT_S:
                raise OpsError(f"{command[2]} did not answer /ping; it can't be measured.")
            time.sleep(0.002)
        yield ServerProcess(port, process.pid, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def running_echo(answer_bytes: int, processes: int) -> Iterator[ServerProcess]:
    """Run echo servers that answer with so many bytes: they show what the load itself costs."""
    port = free_port()
    command = [sys.executable, "-c", _ECHO, str(port), str(answer_bytes)]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(command, {}, port)) for _ in range(processes)]
        yield servers[0]


def _pings(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def memory_mb(pid: int, kind: str = "Pss") -> float:
    """Memory of a process and its children (``Pss``: shared pages count in equal parts).

    ``Pss_Anon`` leaves files' pages out: their share depends on other processes of the machine.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    texts = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in (str(pid), *children)]
    lines = [line for text in texts for line in text.splitlines() if line.startswith(f"{kind}:")]
    return sum(int(line.split()[1]) for line in lines) / 1024


def cpu_s(pid: int) -> float:
    """Processor seconds that a process and its children have used so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for one in (str(pid), *children):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
