"""One instance of a SageMaker endpoint: an unpacked model and a real process that serves it.

Connections are pooled. The process may close an idle one at any time, so a request that fails on a
pooled connection is sent once more on a new one before the process counts as gone.
"""

import http.client
import io
import os
import shutil
import signal
import socket
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import ChildFailedError, LocalCloudError
from ops.local.processes import Child, Command, Processes
from ops.local.settings import MODEL_PLACEHOLDER

_POLL = 0.03  # seconds between pings
_PING_TIMEOUT = 2.0  # seconds; SageMaker's
_STOP_GRACE = 5.0  # seconds; SageMaker gives 30
_CHUNK = 64 * 1024
_TAIL = 600  # characters of output that an error quotes
_LONGEST_LINE = 256 * 1024  # bytes; CloudWatch's limit
_READ_GRACE = 1.0  # seconds for the output of a process that has ended


class ContainerGoneError(LocalCloudError):
    """The process did not answer because it ended or is ending."""


class ContainerTimeoutError(LocalCloudError):
    """The process did not answer in time."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What an instance runs.

    Attributes:
        label: a prefix for the names of its files.
        command: stands for the container image; see `CloudSettings.serving_commands`.
        archive: the model, a gzipped tar file.
        environment: the container's variables; the process gets these and its own settings only.
        workspace: the directory for its files.
        startup_timeout: seconds until ``/ping`` must answer 200.
        request_timeout: seconds until ``/invocations`` must answer.
    """

    label: str
    command: Sequence[str]
    archive: bytes
    environment: Mapping[str, str]
    workspace: Path
    startup_timeout: float
    request_timeout: float


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A request for ``/invocations``."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ContainerResponse:
    """A container's response; header names are lower-case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class ServingProcess:
    """One serving process.

    Args:
        spec: what it runs.
        processes: starts it.
        on_line: called with each line of its output, in a thread of its own.

    Raises:
        ChildFailedError: the model can't be unpacked, or the command can't be started.
    """

    def __init__(
        self, spec: ContainerSpec, processes: Processes, on_line: Callable[[str], None]
    ) -> None:
        self._spec = spec
        self._processes = processes
        self._on_line = on_line
        self._last_line = "nothing"
        self._directory = Path(tempfile.mkdtemp(prefix=f"{spec.label}-", dir=spec.workspace))
        self._port = _free_port()
        self._connections: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._child = self._start()
        self._reader = threading.Thread(
            target=self._read_output, name=f"output of {spec.label}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def wait_until_ready(self) -> None:
        """Wait for a 200 from ``/ping``.

        Raises:
            ChildFailedError: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + self._spec.startup_timeout
        while not self._is_healthy():
            if self._child.exit_status is not None:
                raise ChildFailedError(
                    f"The container ended with status {self._child.exit_status} before it "
                    f"answered /ping. Its last output: {self.tail()}"
                )
            if time.monotonic() > deadline:
                raise ChildFailedError(
                    "The primary container did not pass the ping health check within "
                    f"{self._spec.startup_timeout:g} s. Its last output: {self.tail()}"
                )
            time.sleep(_POLL)

    def wait_for_end(self) -> int:
        """Wait until the process ends; returns its exit status."""
        return self._child.wait()

    def tail(self) -> str:
        """The end of the last line of output; all of it, if the process has ended."""
        if self._child.exit_status is not None:
            self._reader.join(_READ_GRACE)
        return self._last_line[-_TAIL:]

    def invoke(self, request: ContainerRequest, deadline: float) -> ContainerResponse:
        """POST to ``/invocations``; ``deadline`` is monotonic seconds.

        Raises:
            ContainerGoneError: a new connection got no response either.
            ContainerTimeoutError: there was no response in time.
        """
        connection = self._pooled_connection()
        if connection is not None:
            try:
                return self._exchange(connection, request, deadline)
            except (ConnectionError, http.client.HTTPException):
                connection.close()
        connection = self._new_connection()
        try:
            return self._exchange(connection, request, deadline)
        except (ConnectionError, http.client.HTTPException) as error:
            connection.close()
            raise ContainerGoneError(f"{self._spec.label}: {error!r}") from error

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._child.signal(number)

    def stop(self) -> None:
        """Stop the process gracefully and remove its files."""
        self._child.stop(_STOP_GRACE)
        self._clean_up()

    def kill(self) -> None:
        """End the process at once and remove its files."""
        self._child.kill()
        self._clean_up()

    def _clean_up(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
        self._processes.forget(self._child)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> Child:
        model = self._directory / "model"
        try:
            with tarfile.open(fileobj=io.BytesIO(self._spec.archive), mode="r:gz") as archive:
                archive.extractall(model, filter="data")
            return self._processes.start(self._command(model))
        except (tarfile.TarError, OSError) as error:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise ChildFailedError(f"The model can't be unpacked or started: {error}") from error

    def _read_output(self) -> None:
        """Read the output until its end; a line that is too long counts as several."""
        with self._child.output as output:
            while line := output.readline(_LONGEST_LINE):
                text = line.decode(errors="replace").rstrip()
                self._last_line = text or self._last_line
                self._on_line(text)

    def _command(self, model: Path) -> Command:
        environment = {
            "PATH": os.defpath,
            "LANG": "en_US.UTF-8",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            **self._spec.environment,
            "SAGEMAKER_BIND_TO_PORT": str(self._port),
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        }
        arguments = [
            argument.replace(MODEL_PLACEHOLDER, str(model)) for argument in self._spec.command
        ]
        return Command(arguments, self._directory, environment)

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PING_TIMEOUT)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _exchange(
        self, connection: http.client.HTTPConnection, request: ContainerRequest, deadline: float
    ) -> ContainerResponse:
        try:
            _limit(connection, deadline)
            connection.request("POST", "/invocations", request.body, dict(request.headers))
            response = connection.getresponse()
            chunks = []
            _limit(connection, deadline)
            while chunk := response.read1(_CHUNK):
                chunks.append(chunk)
                _limit(connection, deadline)
            response.read()  # read1 does not notice the end, and the connection stays in use
        except TimeoutError as error:
            connection.close()
            raise ContainerTimeoutError(
                f"no response in {self._spec.request_timeout:g} s"
            ) from error
        headers = {name.lower(): value for name, value in response.getheaders()}
        self._return_to_pool(connection)
        return ContainerResponse(response.status, b"".join(chunks), headers)

    def _pooled_connection(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._connections.pop() if self._connections else None

    def _new_connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=self._spec.request_timeout
        )

    def _return_to_pool(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._connections.append(connection)


def _limit(connection: http.client.HTTPConnection, deadline: float) -> None:
    """Let the next operation on a connection last until the deadline; TimeoutError after it."""
    connection.timeout = deadline - time.monotonic()
    if connection.timeout <= 0:
        raise TimeoutError
    if connection.sock is not None:
        connection.sock.settimeout(connection.timeout)


def _free_port() -> int:
    """A port that is free now; the process has to bind it itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
