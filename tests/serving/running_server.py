"""Starts ``python -m trainer.serving serve`` and talks to it over loopback."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

PATIENCE_S = 30


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    document: dict[str, object]
    headers: dict[str, str]


class RunningServer:
    """A server process; it is ended when the block is left."""

    def __init__(
        self,
        model: Path,
        workers: int = 1,
        environment: dict[str, str] | None = None,
        *,
        multi_model: bool = False,
        port: int = 0,
        log_to_null: bool = False,
    ):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "trainer.serving",
                "serve",
                "--port",
                str(port),
                "--workers",
                str(workers),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "RSSI_MODEL_DIR": str(model),
                "RSSI_BIND_HOST": "127.0.0.1",
                "SAGEMAKER_MULTI_MODEL": str(multi_model).lower(),
                **(environment or {}),
            },
        )
        self._workers = workers
        self.path = "/invocations"
        self.started = self._first_line()
        if log_to_null:
            # A server that logs much would block until its output is read.
            self._drain()
        self.port = int(str(self.started["port"]))
        if multi_model:
            self.path = "/models/hall/invoke"
            assert self.load("hall", model).status == 200

    def _drain(self) -> None:
        assert self.process.stdout is not None
        reader, self.process.stdout = self.process.stdout, None

        def read() -> None:
            with reader:
                for _ in reader:
                    pass

        threading.Thread(target=read, daemon=True).start()

    def _first_line(self) -> dict[str, object]:
        assert self.process.stdout is not None
        line: dict[str, object] = json.loads(self.process.stdout.readline())
        return line

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own; the socket listens before the first line is written."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def ask(
        self, method: str, path: str, body: bytes = b"", content_type: str | None = None
    ) -> Answer:
        """One request on a new connection."""
        connection = self.connection()
        try:
            headers = {"content-type": content_type} if content_type else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, json.loads(content) if content else {}, named)

    def load(self, name: str, url: Path | str) -> Answer:
        """Ask a multi-model server to load a bundle."""
        body = json.dumps({"model_name": name, "url": str(url)}).encode()
        return self.ask("POST", "/models", body, "application/json")

    def invoke(self, rows: object) -> Answer:
        """POST JSON to where this server predicts."""
        return self.ask("POST", self.path, json.dumps(rows).encode(), "application/json")

    def stop(self) -> tuple[int, list[dict[str, object]]]:
        """SIGTERM; returns the exit code and the rest of the log."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, [json.loads(line) for line in rest.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._workers == 1:
            # It has no children to leave behind, and a graceful shutdown takes a third of a second;
            # the tests of the process cover it.
            self.process.kill()
        elif self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)


def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Poll a callable until it is true."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
