"""The whole system on one machine: the embedded cloud with the stack in it, and an agent.

Both are child processes. They end with this one: on leaving the context, on Ctrl-C, and also when
this process is killed.
"""

import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from events.stack import stack_parameter
from ops.assembly import ROOT, fresh_assembly
from ops.errors import OpsError
from ops.local.processes import Child, Command, Processes

START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
POLL_S = 0.05
LOG_TAIL_LINES = 20
READY = '{"address"'
"""Begins the line in which the embedded cloud prints its clients' environment."""
STAGE = "dev"
SERVING_COMMAND = (
    *("env", "RSSI_MODEL_DIR={model}", "RSSI_BIND_HOST=127.0.0.1"),
    *(sys.executable, "-m", "trainer.serving", "serve"),
)
"""Runs in the embedded cloud in place of every model's container image."""
AGENT_DEFAULTS = {
    # Uploads to this machine take no minutes: a short quiet period, no wait for stragglers.
    "RSSI_QUIET_PERIOD_S": "0.3",
    "RSSI_LONGEST_WAIT_S": "10",
    "RSSI_RESYNC_S": "30",
}


def end_on_signals() -> None:
    """Make SIGTERM end this process as Ctrl-C does, and Ctrl-C too where a shell has it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore(_: str) -> None:
    pass


class LocalStack:
    """The embedded cloud and, by default, an agent with its process runner.

    Args:
        port: loopback port of the cloud; 0 takes a free one.
        with_agent: whether to start the agent.
        report: called with each step while it starts.
        folder: for logs and the runs' work; a temporary one if None.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        with_agent: bool = True,
        report: Callable[[str], None] = _ignore,
        folder: Path | None = None,
    ) -> None:
        self._port = port
        self._with_agent = with_agent
        self._report = report
        self._scratch = tempfile.TemporaryDirectory(prefix="rssi-") if folder is None else None
        self.folder = Path(self._scratch.name) if self._scratch else folder or Path()
        self._processes = Processes()
        self._parts: dict[str, Child] = {}
        self.environment: dict[str, str] = {}

    @property
    def address(self) -> str:
        """The URL for ``AWS_ENDPOINT_URL``."""
        return self.environment["AWS_ENDPOINT_URL"]

    def __enter__(self) -> Self:
        """Start everything, and wait until it can be used.

        Raises:
            OpsError: a part did not start; the end of its log is quoted.
        """
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything that was started."""
        self._processes.close(STOP_WITHIN_S)
        if self._scratch is not None:
            self._scratch.cleanup()

    def dead_part(self) -> str | None:
        """The part that ended although it should run, with the end of its log; else None."""
        for name, child in self._parts.items():
            if child.exit_status is not None:
                return (
                    f"the {name} ended with exit status {child.exit_status}: {self._log_tail(name)}"
                )
        return None

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._report("synthesizing the template")
        assembly = fresh_assembly()
        self._report("starting the embedded cloud and deploying the template into it")
        self._spawn(
            "cloud",
            [
                *("ops.local", "serve", "--ignore-input", "--assembly", str(assembly)),
                *("--port", str(self._port), "--logs", str(self.folder / "logs")),
                *("--serving-command", shlex.join(SERVING_COMMAND)),
            ],
            os.environ,
        )
        self.environment = self._wait_for_cloud()
        if self._with_agent:
            self._report("starting the agent")
            self._spawn("agent", ["trainer.agent"], self._agent_environment())

    def _agent_environment(self) -> Mapping[str, str]:
        return {
            **AGENT_DEFAULTS,
            **os.environ,
            **self.environment,
            "RSSI_STACK_PARAMETER": stack_parameter(STAGE),
            "RSSI_WORK_DIR": str(self.folder / "runs"),
        }

    def _spawn(self, name: str, module: list[str], environment: Mapping[str, str]) -> None:
        command = Command([sys.executable, "-m", *module], ROOT, environment)
        with self._log(name).open("wb") as log:
            self._parts[name] = self._processes.start(command, log)

    def _wait_for_cloud(self) -> dict[str, str]:
        """The environment of the cloud's clients, as soon as it is ready."""
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline and self.dead_part() is None:
            for line in self._log("cloud").read_text(errors="replace").splitlines():
                if line.startswith(READY):
                    environment: dict[str, str] = json.loads(line)["environment"]
                    return environment
            time.sleep(POLL_S)
        raise OpsError(
            f"The embedded cloud did not start. Its log ends with:\n{self._log_tail('cloud')}"
        )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _log_tail(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
