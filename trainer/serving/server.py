"""Runs the application: one socket, some worker processes, an orderly end.

What may go wrong: SIGTERM comes in the midst of requests (SageMaker follows with SIGKILL after
30 s), so workers stop accepting and finish what they have; a worker that dies is replaced.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from trainer.serving.app import App
from trainer.serving.logs import JsonLines, log
from trainer.serving.service import Service

GRACE_S = 20
"""How long requests in flight may take after SIGTERM; SageMaker waits for 30 s."""
BACKLOG = 2048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CRASH_PAUSE_S = 1.0
"""Between a worker's death and its replacement, so that a crash at start does not spin."""


def run(model: Path, host: str, port: int, workers: int) -> int:
    """Serve a bundle until SIGTERM or SIGINT.

    Args:
        model: ``model.tar.gz`` or the folder it was unpacked to.
        host: the address to listen on.
        port: the port to listen on; 0 lets the system choose, the log says which.
        workers: processes that answer.

    Returns:
        The exit code: 0 after an orderly end.

    Raises:
        OSError: the address can't be listened on.
    """
    _leave_when_told()
    logging.basicConfig(handlers=[JsonLines()], level=logging.WARNING, force=True)
    service = Service.open(model)
    with listen(host, port) as listening:
        _announce(service, listening, workers)
        if workers == 1:
            _serve(service, listening)
        else:
            _Workers(lambda: _serve(service, listening), workers).run()
    log("info", "stopped")
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, inherited by all workers.

    Raises:
        OSError: the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _announce(service: Service, listening: socket.socket, workers: int) -> None:
    address = listening.getsockname()
    where = {"host": address[0], "port": address[1], "workers": workers}
    if service.model is None:
        log("error", "not serving", reason=service.refusal, **where)
    else:
        model = service.model
        log("info", "serving", release=model.release, digest=model.digest, **where)


def _serve(service: Service, listening: socket.socket) -> None:
    """Answer in this process until a signal ends it."""
    server = uvicorn.Server(
        uvicorn.Config(
            App(service),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    # From here on, as a signal before uvicorn listens for them must not be lost; and uvicorn raises
    # it again once it has ended in order, which must not kill us then.
    for number in _SIGNALS:
        signal.signal(number, server.handle_exit)
    server.run(sockets=[listening])


class _Workers:
    """Forked worker processes; numpy holds no threads to lose, and nothing else is imported."""

    def __init__(self, work: Callable[[], None], count: int) -> None:
        self._work = work
        self._count = count
        self._stopping = False
        self._pids: set[int] = set()

    def run(self) -> None:
        """Keep the workers alive until a signal, then wait for all of them."""
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        for _ in range(self._count):
            self._start()
        while self._pids:
            pid, status = os.wait()
            self._pids.discard(pid)
            if not self._stopping:
                log("error", "worker died", pid=pid, code=os.waitstatus_to_exitcode(status))
                time.sleep(_CRASH_PAUSE_S)
                self._start()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._pids:
            # It may have ended by itself a moment ago.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start(self) -> None:
        if self._stopping:
            return
        # A signal between fork and bookkeeping would miss the new worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            _become_worker(self._work)
        self._pids.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _become_worker(work: Callable[[], None]) -> None:
    """Work and leave, never returning into the parent's code."""
    code = 1
    try:
        _leave_when_told()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        work()
        code = 0
    except Exception as error:  # noqa: BLE001 - the process's edge
        log("error", "worker failed", error=repr(error))
    finally:
        sys.stdout.flush()
        os._exit(code)


def _leave_when_told() -> None:
    for number in _SIGNALS:
        signal.signal(number, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Told to stop before the server was up: there is nothing to finish."""
    os._exit(0)
