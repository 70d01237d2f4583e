"""Agents as real processes that start at once and die on cue.

Run as a script it imports the agent once and then forks a process for each that is asked for, so
that a test need not pay for the imports. `BOUNDARIES` names the steps after which one may die.
"""

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import botocore.loaders
import botocore.session

_RUNNER = "trainer.agent.runners.kubernetes.runner.KubernetesRunner"


class Boundary(NamedTuple):
    """A step of the agent: the method that takes it, and which of its calls count."""

    method: str
    counts: Callable[[object, tuple[Any, ...]], bool] = lambda _result, _arguments: True


def _tells_an_end(_result: object, arguments: tuple[Any, ...]) -> bool:
    return any(type(event).__name__ != "TrainingStarted" for event in arguments[1])


BOUNDARIES = {
    "received": Boundary("trainer.agent.poller.Poller._sort"),
    "listed": Boundary("trainer.agent.adapters.survey_store.SurveyStore.listing"),
    "sealed": Boundary("trainer.agent.adapters.artifact_store.ArtifactStore.seal"),
    "created": Boundary(f"{_RUNNER}.start"),
    "message deleted": Boundary("trainer.agent.adapters.survey_queue.SurveyQueue.delete"),
    "start reported": Boundary(f"{_RUNNER}.mark_announced"),
    "observed": Boundary(f"{_RUNNER}._ending", lambda ending, _arguments: ending is not None),
    "published": Boundary(
        "trainer.agent.adapters.run_event_publisher.RunEventPublisher.publish", _tells_an_end
    ),
    "reported": Boundary(
        f"{_RUNNER}.mark_announced", lambda _result, arguments: int(arguments[2]) == 2
    ),
}


class Agents:
    """Starts agents, from the test's side."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "agents.log"
        self._zygote = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
        self._running: set[int] = set()

    def start(self, settings: dict[str, str], die_after: str | None = None) -> int:
        """Start an agent; returns its process id."""
        asked = {"settings": settings, "die_after": die_after, "log": str(self.log)}
        pid = int(self._ask(asked))
        self._running.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Wait until an agent has ended; its exit code, negative for a signal."""
        code = int(self._ask({"wait": pid}))
        self._running.discard(pid)
        return code

    def stop(self, pid: int) -> int:
        """Tell an agent to stop, and wait for it."""
        os.kill(pid, signal.SIGTERM)
        return self.wait(pid)

    def kill(self, pid: int) -> None:
        """End an agent as a node's failure does."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def close(self) -> None:
        """Kill what still runs."""
        for pid in tuple(self._running):
            self.kill(pid)
        self._zygote.communicate(timeout=10)

    def _ask(self, request: dict[str, object]) -> str:
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        return self._zygote.stdout.readline()


def _serve() -> None:
    importlib.import_module("trainer.agent.__main__")
    importlib.import_module("trainer.agent.runners.kubernetes.cluster")
    _read_aws_descriptions()
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork() or _be_the_agent(**asked)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _read_aws_descriptions() -> None:
    """Read AWS's descriptions of its services once for all: they take a client half a second."""
    reader = botocore.loaders.JSONFileLoader
    read = functools.cache(functools.partial(reader.load_file, reader()))
    reader.load_file = lambda _self, path: read(path)  # type: ignore[method-assign,assignment]
    for service in ("s3", "sqs", "events"):
        botocore.session.Session().create_client(service, region_name="eu-west-1")


def _be_the_agent(settings: dict[str, str], die_after: str | None, log: str) -> int:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.update(settings)
    if die_after:
        _die_after(BOUNDARIES[die_after])
    code = 1
    with suppress(BaseException):
        code = importlib.import_module("trainer.agent.__main__").main()
    os._exit(code)


def _die_after(boundary: Boundary) -> None:
    module, class_name, method = boundary.method.rsplit(".", 2)
    owner = getattr(importlib.import_module(module), class_name)
    real = getattr(owner, method)

    def dying(*arguments: object, **named: object) -> object:
        result = real(*arguments, **named)
        if boundary.counts(result, arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, dying)


if __name__ == "__main__":
    _serve()
