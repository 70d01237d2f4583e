"""One fit on several machines: MXNet's own key-value store, ``dist_sync`` over ps-lite.

Each worker computes the gradient of its part of every batch, the server adds the parts up, and all
workers take the same step; so they stay equal, and the outcome is that of one worker but for the
rounding of sums. Every worker is a whole attempt at the same run: the first to be done claims the
release, and the others find it claimed. The process with the number 0 also runs ps-lite's scheduler
and its server, as children.

What may go wrong: a worker that is lost. The others then wait for it in vain until the Job's
deadline, so the Job fails with the first pod that does, and the run is started anew. Nothing here
encrypts: only the pods of one run should reach each other (trainer/deploy/components/workers).

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
"""For the name of the first pod: its node may have to pull the image."""
_LOOK_EVERY_S = 1.0
_JOIN = "from trainer.localization.mxnet_loader import load_mxnet; load_mxnet()"
"""With ps-lite's variables set, MXNet's import is the scheduler's or server's whole life."""


class WorkerGroupSettings(BaseSettings):
    """Who a worker is and where all meet, from variables that start with ``RSSI_``."""

    model_config = SettingsConfigDict(env_prefix="RSSI_", frozen=True, extra="ignore")

    workers: Annotated[int, Field(ge=1, le=64)]
    meeting_host: Text
    """Where the others reach the process with the number 0; a name, as its address is not known
    beforehand."""
    meeting_port: Annotated[int, Field(ge=1, le=65_535)] = MEETING_PORT
    own_host: Text
    """Where the others reach this process: its pod's address."""
    index: Annotated[int, Field(ge=0, validation_alias="JOB_COMPLETION_INDEX")]

    def variables(self, role: str) -> dict[str, str]:
        """What ps-lite reads, for one of its roles: scheduler, server or worker."""
        # The scheduler listens at this very address, so the first process names its own.
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
    """The workers of one fit, as one of them sees it."""

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
    def adding_up(self, gradient: Any) -> Iterator[Callable[[], None]]:
        """For one fit: what is given replaces ``gradient`` by the sum of all workers' ones.

        Every worker has to begin the same fits in the same order; all end them together.
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
        # Else the server might be gone, with the first process, before another one has its sums.
        store._barrier()  # noqa: SLF001 - MXNet has no other name for it


_joined: list[WorkerGroup] = []
"""This process's peers: ps-lite keeps one group for each process, and so do we."""


def worker_group() -> WorkerGroup:
    """The workers that this process fits with; by default it is alone."""
    return _joined[0] if _joined else WorkerGroup(0, 1)


@contextmanager
def join_worker_group(settings: WorkerGroupSettings) -> Iterator[None]:
    """Be one of several workers; the one with the number 0 brings scheduler and server along.

    Raises:
        TimeoutError: the first of them is not to be found.
    """
    with _served(settings):
        if settings.index:
            _find(settings.meeting_host)
        os.environ.update(settings.variables("worker"))
        _joined.append(WorkerGroup(settings.index, settings.workers))
        try:
            yield
        finally:
            _joined.clear()


@contextmanager
def _served(settings: WorkerGroupSettings) -> Iterator[None]:
    """Scheduler and server, where they belong to this process."""
    roles = ("scheduler", "server") if settings.index == 0 else ()
    children = [
        subprocess.Popen(
            (sys.executable, "-c", _JOIN), env={**os.environ, **settings.variables(role)}
        )
        for role in roles
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def _find(host: str) -> None:
    """Wait until a name is known: ps-lite gives up at the first try."""
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while True:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"nobody knows {host}, where all workers are to meet: has the first one "
                    f"started, and is the headless Service there? {error}"
                ) from error
            time.sleep(_LOOK_EVERY_S)
        else:
            return
