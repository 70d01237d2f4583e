"""Child processes that end with this process, also when it is killed with SIGKILL.

The kernel sends its death signal when the *thread* that forked ends, so one thread starts all
children and lives as long as `Processes` does; see `child`.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_WRAPPER = str(Path(__file__).with_name("child.py"))


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its working directory, and its whole environment."""

    arguments: Sequence[str]
    directory: Path
    environment: Mapping[str, str]


class Child:
    """One running process and the group it leads."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """The process's output, unless it was started with a file for it."""
        if self._process.stdout is None:
            raise ValueError("The output of this process goes to a file: read that file.")
        return self._process.stdout

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for the end of the process; returns its exit status."""
        return self._process.wait()

    def stop(self, grace: float) -> None:
        """Ask the process to end, and kill its whole group after ``grace`` seconds."""
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End the process and its descendants at once."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to what is left of the process's group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class Processes:
    """Starts child processes and ends those that are left."""

    def __init__(self) -> None:
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
        self._children: set[Child] = set()
        self._lock = threading.Lock()

    def start(self, command: Command, output: IO[bytes] | None = None) -> Child:
        """Start ``command``; its output, standard error included, goes to ``output`` or a pipe."""
        return self._spawner.submit(self._spawn, command, output).result()

    def forget(self, child: Child) -> None:
        """Drop a child that has ended."""
        with self._lock:
            self._children.discard(child)

    def close(self, grace: float = 1.0) -> None:
        """End every child that is left, all together, within about ``grace`` seconds."""
        with self._lock:
            children = list(self._children)
            self._children.clear()
        for child in children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in children:
            child.stop(max(0.0, deadline - time.monotonic()))
        self._spawner.shutdown()

    def _spawn(self, command: Command, output: IO[bytes] | None) -> Child:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _WRAPPER, str(os.getpid()), *command.arguments],
            cwd=command.directory,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child = Child(process)
        with self._lock:
            self._children.add(child)
        return child
