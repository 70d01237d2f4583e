"""One fit on several machines: MXNet's own key-value store, ``dist_sync`` over ps-lite.

Each worker computes the gradient of its part of every batch, the server adds them up, and all
workers take the same step; so they stay equal, and the result is that of one worker but for the
rounding of sums. Every worker is a whole attempt at the same run: the first to finish claims the
release, and the others find it claimed. The process with index 0 also runs ps-lite's scheduler and
server, as children.

If a worker is lost, the others wait for it until the Job's deadline; so the Job fails with the
first pod that does, and the run is started again. Nothing here encrypts: only the pods of one run
should reach each other (trainer/deploy/components/workers).

:mod:`trainer.training.job.worker` is the process of one of them.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from events.manifests import Text
from trainer.localization.mxnet_loader import load_mxnet

MEETING_PORT = 9091
_LONGEST_WAIT_S = 600.0
"""For the first pod's name to resolve: its node may have to pull the image."""
_LOOK_EVERY_S = 1.0
_SERVE = "from trainer.localization.mxnet_loader import load_mxnet; load_mxnet()"
"""With ps-lite's variables set, MXNet's import runs the scheduler or server until the end."""


class WorkerGroupSettings(BaseSettings):
    """A worker's index and where all meet, from variables that start with ``RSSI_``."""

    model_config = SettingsConfigDict(env_prefix="RSSI_", frozen=True, extra="ignore")

    workers: Annotated[int, Field(ge=1, le=64)]
    meeting_host: Text
    """Where the others reach the process with index 0; a name, as its address is not known
    beforehand."""
    meeting_port: Annotated[int, Field(ge=1, le=65_535)] = MEETING_PORT
    own_host: Text
    """Where the others reach this process: its pod's address."""
    index: Annotated[int, Field(ge=0, validation_alias="JOB_COMPLETION_INDEX")]

    def variables(self, role: str) -> dict[str, str]:
        """The variables that ps-lite reads, for a role: scheduler, server or worker."""
        # The scheduler listens at this address, so the first process names its own.
        meeting = self.own_host if self.index == 0 else self.meeting_host
        return {
            "DMLC_ROLE": role,
            "DMLC_PS_ROOT_URI": meeting,
            "DMLC_PS_ROOT_PORT": str(self.meeting_port),
            "DMLC_NUM_SERVER": "1",
            "DMLC_NUM_WORKER": str(self.workers),
            "DMLC_NODE_HOST": self.own_host,
        }


@dataclass(slots=True)
class WorkerGroup:
    """The workers of one fit, from the point of view of one of them."""

    index: int
    count: int
    _store: list[Any] = field(default_factory=list, init=False)
    _fits: int = field(default=0, init=False)

    def part(self, batch: int) -> slice:
        """Which rows of each batch are this worker's.

        Raises:
            ValueError: there are fewer rows than workers.
        """
        if batch < self.count:
            raise ValueError(
                f"a batch of {batch} rows has none for some of {self.count} workers: choose a "
                "larger batch_size, or fewer workers"
            )
        return slice(self.index * batch // self.count, (self.index + 1) * batch // self.count)

    @contextmanager
    def summing(self, gradient: Any) -> Iterator[Callable[[], None]]:
        """For one fit: yields a function that replaces ``gradient`` by the sum over all workers.

        Every worker has to start the same fits in the same order; all end them together.
        """
        if self.count == 1:
            yield lambda: None
            return
        if not self._store:
            self._store.append(load_mxnet().kv.create("dist_sync"))
        (store,) = self._store
        key, self._fits = f"gradient-{self._fits}", self._fits + 1
        store.init(key, gradient)

        def add_up() -> None:
            store.push(key, gradient)
            store.pull(key, out=gradient)

        yield add_up
        gradient.wait_to_read()
        # Else the server might end, with the first process, before all workers have their sums.
        store._barrier()  # noqa: SLF001 - MXNet has no public name for it


_group: list[WorkerGroup] = []
"""This process's group: ps-lite keeps one for each process."""


def worker_group() -> WorkerGroup:
    """The workers that this process fits with; by default only itself."""
    return _group[0] if _group else WorkerGroup(0, 1)


@contextmanager
def join_worker_group(settings: WorkerGroupSettings) -> Iterator[None]:
    """Be one of several workers; the one with index 0 starts scheduler and server.

    Raises:
        TimeoutError: the first worker's name does not resolve.
    """
    with _server_processes(settings):
        if settings.index:
            _resolve(settings.meeting_host)
        os.environ.update(settings.variables("worker"))
        _group.append(WorkerGroup(settings.index, settings.workers))
        try:
            yield
        finally:
            _group.clear()


@contextmanager
def _server_processes(settings: WorkerGroupSettings) -> Iterator[None]:
    """Scheduler and server, if they belong to this process."""
    roles = ("scheduler", "server") if settings.index == 0 else ()
    children = [
        subprocess.Popen(
            (sys.executable, "-c", _SERVE), env={**os.environ, **settings.variables(role)}
        )
        for role in roles
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def _resolve(host: str) -> None:
    """Wait until a name resolves: ps-lite gives up at the first try."""
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while True:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the name {host}, where all workers meet, does not resolve: has the first one "
                    f"started, and is the headless Service there? {error}"
                ) from error
            time.sleep(_LOOK_EVERY_S)
        else:
            return
