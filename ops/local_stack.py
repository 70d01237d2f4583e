"""The whole system on one machine: the embedded cloud with the stack in it, and an agent.

Both are processes of their own, children of whoever runs this. They end with it: on leaving the
context, on Ctrl-C, and also when this process is killed, because their standard input closes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from events.stack import stack_parameter
from ops.assembly import ROOT, fresh_assembly
from ops.errors import OpsError

STOP_WITHIN_S = 10.0
STAGE = "dev"
AGENT_PACE = {
    # On one machine nobody uploads for minutes: a short quiet period, no wait for stragglers.
    "RSSI_QUIET_PERIOD_S": "0.3",
    "RSSI_LONGEST_WAIT_S": "10",
    "RSSI_RESYNC_S": "30",
}


def _say_nothing(_: str) -> None:
    pass


class LocalStack:
    """The embedded cloud and, unless told otherwise, an agent with its process runner.

    Args:
        port: loopback port of the cloud; 0 takes a free one.
        with_agent: whether surveys should be trained.
        say: told what is going on while it starts.
        folder: where logs and the runs' work lie; a temporary one if None.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        with_agent: bool = True,
        say: Callable[[str], None] = _say_nothing,
        folder: Path | None = None,
    ) -> None:
        self._port = port
        self._with_agent = with_agent
        self._say = say
        self._scratch = tempfile.TemporaryDirectory(prefix="rssi-") if folder is None else None
        self.folder = Path(self._scratch.name) if self._scratch else folder or Path()
        self._children: list[subprocess.Popen[str]] = []
        self.environment: dict[str, str] = {}

    @property
    def address(self) -> str:
        """The URL for ``AWS_ENDPOINT_URL``."""
        return self.environment["AWS_ENDPOINT_URL"]

    def __enter__(self) -> Self:
        """Start everything; returns when it can be used.

        Raises:
            OpsError: a part did not start; its last words are quoted.
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
        """Stop everything that was started, the agent first."""
        for child in reversed(self._children):
            child.terminate()
        for child in reversed(self._children):
            try:
                child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    stream.close()
        self._children.clear()
        if self._scratch is not None:
            self._scratch.cleanup()

    def dead_part(self) -> str | None:
        """What ended although it should run, with its last words; None if all is well."""
        for child in self._children:
            if child.poll() is not None:
                name = Path(str(child.args[-1])).name if isinstance(child.args, list) else "part"
                return f"{name} ended with exit code {child.returncode}"
        return None

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._say("synthesizing the template")
        assembly = fresh_assembly()
        self._say("starting the embedded cloud and deploying the template into it")
        cloud = self._spawn(
            "cloud",
            [
                *("-m", "ops.local", "serve", "--assembly", str(assembly)),
                *("--port", str(self._port), "--logs", str(self.folder / "logs")),
            ],
            os.environ,
        )
        self.environment = self._first_words(cloud)
        if self._with_agent:
            self._say("starting the agent")
            self._spawn("agent", ["-m", "trainer.agent"], self._agent_environment())

    def _agent_environment(self) -> Mapping[str, str]:
        return {
            **AGENT_PACE,
            **os.environ,
            **self.environment,
            "RSSI_STACK_PARAMETER": stack_parameter(STAGE),
            "RSSI_WORK_DIR": str(self.folder / "runs"),
        }

    def _spawn(
        self, name: str, arguments: list[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if name == "cloud" else log,
                stderr=log,
                text=True,
                # Ctrl-C reaches the whole group of the terminal: only this process should act on
                # it, and stop the parts in order.
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def _first_words(self, cloud: subprocess.Popen[str]) -> dict[str, str]:
        line = cloud.stdout.readline() if cloud.stdout else ""
        if not line:
            cloud.wait(STOP_WITHIN_S)
            said = (self.folder / "cloud.log").read_text().strip().splitlines()
            raise OpsError("The embedded cloud did not start. It said:\n" + "\n".join(said[-20:]))
        environment: dict[str, str] = json.loads(line)["environment"]
        return environment
