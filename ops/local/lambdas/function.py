"""One Lambda function: processes that take one invocation at a time and are reused.

A process that exits, or exceeds the function's timeout, fails its invocation; the next one gets a
new process.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from uuid import uuid4

from ops.local.errors import LocalCloudError
from ops.local.lambdas.runtime_api import InvocationOutcome, RuntimeApi, RuntimeInvocation, failure
from ops.local.processes import Command, Processes

_GRACE = 0.5  # seconds between asking an idle process to end and killing it


class FunctionGoneError(LocalCloudError):
    """The function was deleted or replaced while an invocation waited for it."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """What a function's processes run; times are in seconds."""

    name: str
    arn: str
    handler: str
    code: Path
    timeout: float
    init_timeout: float
    concurrency: int
    environment: Mapping[str, str]


LineSink = Callable[[str], None]


class _RuntimeProcess:
    """One process of AWS's runtime client."""

    def __init__(self, spec: FunctionSpec, processes: Processes, sink: LineSink) -> None:
        self._spec = spec
        self._processes = processes
        self._sink = sink
        self._api = RuntimeApi()
        self._child = processes.start(
            Command(
                [sys.executable, "-m", "awslambdaric", spec.handler],
                spec.code,
                {**spec.environment, "AWS_LAMBDA_RUNTIME_API": self._api.address},
            )
        )
        threading.Thread(target=self._watch, name=f"output of {spec.name}", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._child.exit_status is None

    def invoke(self, payload: bytes) -> InvocationOutcome:
        """Run one invocation until it ends, fails or times out."""
        request_id = str(uuid4())
        if not self._api.ready.wait(self._spec.init_timeout):
            self._child.kill()
            return failure("Sandbox.Timedout", f"RequestId: {request_id} Error: init timed out")
        started = time.monotonic()
        self._sink(f"START RequestId: {request_id} Version: $LATEST")
        deadline = time.time() + self._spec.timeout
        self._api.submit(RuntimeInvocation(request_id, self._spec.arn, payload, deadline))
        outcome = self._outcome(request_id)
        milliseconds = (time.monotonic() - started) * 1000
        self._sink(f"END RequestId: {request_id}")
        self._sink(f"REPORT RequestId: {request_id} Duration: {milliseconds:.2f} ms")
        return outcome

    def stop(self) -> None:
        self._child.stop(_GRACE)

    def _outcome(self, request_id: str) -> InvocationOutcome:
        try:
            return self._api.outcomes.get(timeout=self._spec.timeout)
        except Empty:
            self._child.kill()
            message = f"Task timed out after {self._spec.timeout:.2f} seconds"
            self._sink(f"{request_id} {message}")
            return failure("Sandbox.Timedout", f"RequestId: {request_id} Error: {message}")

    def _watch(self) -> None:
        """Pass the output to the sink; it ends with the process."""
        with self._child.output as output:
            for line in output:
                self._sink(line.decode(errors="replace").rstrip("\r\n"))
        status = self._child.wait()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        self._api.fail(failure("Runtime.ExitError", f"Runtime exited with error: {how}"))
        self._api.close()
        self._processes.forget(self._child)


class LambdaFunction:
    """A function that any thread may invoke; at most ``concurrency`` processes run.

    Args:
        spec: what its processes run.
        processes: starts them.
        sink: gets each line of their output.
    """

    def __init__(self, spec: FunctionSpec, processes: Processes, sink: LineSink) -> None:
        self.spec = spec
        self._processes = processes
        self._sink = sink
        self._idle: list[_RuntimeProcess] = []
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    def warm(self) -> None:
        """Start a process now, so that the first invocation does not wait for it."""
        self._release(self._acquire())

    def invoke(self, payload: bytes) -> InvocationOutcome:
        """Run the handler.

        Raises:
            FunctionGoneError: the function was closed while this waited for a process.
        """
        process = self._acquire()
        try:
            return process.invoke(payload)
        finally:
            self._release(process)

    def close(self) -> None:
        """Stop idle processes now, and busy ones after their invocation."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for process in idle:
            process.stop()

    def _acquire(self) -> _RuntimeProcess:
        with self._changed:
            while not self._closed:
                while self._idle:
                    process = self._idle.pop()
                    if process.alive:
                        return process
                    self._count -= 1
                if self._count < self.spec.concurrency:
                    self._count += 1
                    break
                self._changed.wait()
            if self._closed:
                raise FunctionGoneError(f"{self.spec.name} was deleted or replaced.")
        return _RuntimeProcess(self.spec, self._processes, self._sink)

    def _release(self, process: _RuntimeProcess) -> None:
        with self._changed:
            retired = self._closed or not process.alive
            if retired:
                self._count -= 1
            else:
                self._idle.append(process)
            self._changed.notify()
        if retired:
            process.stop()
