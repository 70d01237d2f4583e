"""``/healthz``, ``/readyz`` and ``/metrics`` on a local port, for the kubelet and Prometheus.

Read-only. A loop may hang although its process lives, so the loop announces when its next heartbeat
is due, and ``/healthz`` fails once that is overdue.
"""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from trainer.agent.errors import ConfigurationError
from trainer.agent.metrics import AgentMetrics

_LONGEST_WORK_S = 900.0
"""Longer than a round with every retry of every request takes; then the loop counts as hung."""


class HealthState:
    """Whether the agent's loop lives, and whether it can do its work."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin alive and not ready."""
        self._monotonic = monotonic
        self._expected_at_s = monotonic() + _LONGEST_WORK_S
        self.ready = False
        """Set once the agent can act as the leader, or stands by."""

    def expect_heartbeat(self, within_s: float = 0.0) -> None:
        """Allow the loop this pause and a round of work until its next heartbeat."""
        self._expected_at_s = self._monotonic() + within_s + _LONGEST_WORK_S

    @property
    def alive(self) -> bool:
        """Whether the loop is not overdue."""
        return self._monotonic() < self._expected_at_s


class HealthServer:
    """Serves the three paths from a thread of its own."""

    def __init__(self, address: str, port: int, health: HealthState, metrics: AgentMetrics) -> None:
        """Listen on ``address`` and ``port``; 0 takes a free port.

        Raises:
            ConfigurationError: the port can't be listened on.
        """
        try:
            self._server = ThreadingHTTPServer((address, port), _handler(health, metrics))
        except OSError as error:
            raise ConfigurationError(
                f"RSSI_HEALTH_PORT {port} on {address} can't be listened on, take another: {error}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(health: HealthState, metrics: AgentMetrics) -> type[BaseHTTPRequestHandler]:
    class HealthRequestHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._verdict(good=health.alive)
                case "/readyz":
                    self._verdict(good=health.ready)
                case "/metrics":
                    self._answer(200, metrics.text(), CONTENT_TYPE_LATEST)
                case _:
                    self._answer(404, b"/healthz, /readyz or /metrics\n", "text/plain")

        def log_message(self, *_: object) -> None:
            """Log nothing: probes come every few seconds."""

        def _verdict(self, *, good: bool) -> None:
            self._answer(200 if good else 503, b"ok\n" if good else b"not yet\n", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return HealthRequestHandler
