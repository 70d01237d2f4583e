"""Runs the server: a socket for each worker process, and a graceful shutdown.

SIGTERM comes in the midst of requests, and SageMaker follows with SIGKILL after 30 s: so workers
announce the end of their connections and finish the requests they have. A worker that dies is
replaced, and its successor inherits the socket with all clients that wait at it.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvloop

from trainer.serving.http.connection import Connections
from trainer.serving.logs import JsonLines, log, write_line
from trainer.serving.metrics import Counters, WorkerCounters
from trainer.serving.models.micro_batcher import MicroBatcher
from trainer.serving.models.service import PredictionService, SingleModelService
from trainer.serving.settings import ServingSettings

GRACE_S = 20
"""How long requests in flight may take after SIGTERM; SageMaker waits for 30 s."""
BACKLOG = 2048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CRASH_PAUSE_S = 1.0
"""Between a worker's death and its replacement, so that a crash at start makes no busy loop."""
_LINGER_S = 0.25
"""After SIGTERM, requests on their way are still answered, with ``connection: close``."""
_LAST_CALL_S = 0.05
"""For the requests of the connections that were accepted last."""
_SWEEP_S = 5.0
_SO_ATTACH_FILTER = 26
"""From Linux's socket.h; Python has no name for it."""
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A packet filter of one instruction: keep no byte of any packet."""
_SWITCH_S = 0.0005
"""A thread that parses a large request lets the event loop run as often as this."""


def run(settings: ServingSettings) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: what to serve, where, and with how many processes; port 0 lets the system
            choose, and the log says which.

    Returns:
        The exit code: 0 after an orderly end.

    Raises:
        OSError: the address can't be listened on.
    """
    _exit_on_signals()
    logging.basicConfig(handlers=[JsonLines()], level=logging.WARNING, force=True)
    service = _service(settings)
    counters = Counters(settings.workers) if settings.metrics else None
    with contextlib.ExitStack() as stack:
        listening = [
            stack.enter_context(one)
            for one in listen(settings.host, settings.port, settings.workers)
        ]
        _announce(service, listening[0], settings.workers)

        def work(worker: int) -> None:
            own = counters.of(worker) if counters else None
            uvloop.run(
                _EventLoopWorker(service, listening[worker], own, settings.emf_period_s).run()
            )

        if settings.workers == 1:
            work(0)
        else:
            _WorkerPool(work, settings.workers).run()
    log("info", "stopped")
    return 0


def _service(settings: ServingSettings) -> PredictionService:
    if not settings.multi_model:
        return SingleModelService.open(settings.model)
    from trainer.serving.models.multi_model import MultiModelService  # noqa: PLC0415 - a single-model container starts without it

    return MultiModelService.empty(settings.models_memory_mb * 2**20, settings.workers)


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket for each worker, all at one address.

    The kernel distributes connections among them; at a single socket the worker that wakes first
    would take all that wait.

    Raises:
        OSError: the address is taken or not this machine's.
    """
    # SO_REUSEPORT would share the port with another server of this user: so probe without it.
    with _bound(host, port, shared=False) as probe:
        port = probe.getsockname()[1]
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_bound(host, port, shared=True))
            sockets[-1].listen(BACKLOG)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    return one


def _announce(service: PredictionService, listening: socket.socket, workers: int) -> None:
    address = listening.getsockname()
    what = service.describe()
    level, event = ("error", "not serving") if "reason" in what else ("info", "serving")
    log(level, event, host=address[0], port=address[1], workers=workers, **what)


class _EventLoopWorker:
    """The event loop of one process, from the first connection to the last."""

    def __init__(
        self,
        service: PredictionService,
        listening: socket.socket,
        counters: WorkerCounters | None,
        emf_period_s: int,
    ) -> None:
        self._service = service
        self._listening = listening
        self._counters = counters
        self._emf_period_s = emf_period_s
        self._stop_requested = asyncio.Event()

    async def run(self) -> None:
        """Answer until a signal, then finish the requests that came before it."""
        sys.setswitchinterval(_SWITCH_S)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop_requested.set)
        connections = Connections(MicroBatcher(self._service, self._counters, loop))
        server = await loop.create_server(
            connections.open_connection, sock=self._listening.dup(), backlog=BACKLOG
        )
        tasks = [
            asyncio.create_task(_every(_SWEEP_S, connections.close_overdue)),
            asyncio.create_task(_every(self._emf_period_s, self._report_to_cloudwatch)),
        ]
        await self._stop_requested.wait()
        connections.is_stopping = True
        # From here on the backlog holds one connection at most; other clients try again.
        self._listening.listen(0)
        await asyncio.sleep(_LINGER_S)
        server.close()
        await self._accept_waiting(connections)
        await asyncio.sleep(_LAST_CALL_S)
        connections.close_idle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connections.all_closed(), GRACE_S)
        for task in tasks:
            task.cancel()
        self._report_to_cloudwatch()

    async def _accept_waiting(self, connections: Connections) -> None:
        """Accept the backlog, and end the listening in all processes at once.

        The parent and the other workers hold this socket too; if it were only closed here, the
        kernel would go on accepting connections that nobody answers.
        """
        loop = asyncio.get_running_loop()
        _drop_new_connections(self._listening)
        self._listening.settimeout(0.0)
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listening.accept()
                await loop.connect_accepted_socket(connections.open_connection, accepted)
        self._listening.shutdown(socket.SHUT_RDWR)

    def _report_to_cloudwatch(self) -> None:
        line = self._counters.emf(self._service.describe()) if self._counters else None
        if line is not None:
            write_line(line)


def _drop_new_connections(listening: socket.socket) -> None:
    """Drop the packets of new connections, but keep the backlog.

    A client that connected between the last ``accept`` and the close would be cut off with a
    request in flight; a client that can't connect knows that no request was received.
    """
    instructions = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    program = struct.pack("HP", 1, ctypes.addressof(instructions))
    # Without filters in the kernel the gap is as narrow as two system calls.
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


async def _every(seconds: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        act()


class _WorkerPool:
    """Forked worker processes; nothing imported so far has threads that a fork would lose.

    They share the model's memory with their parent, as it is never written to.
    """

    def __init__(self, work: Callable[[int], None], count: int) -> None:
        self._work = work
        self._count = count
        self._stopping = False
        self._pids: dict[int, int] = {}

    def run(self) -> None:
        """Keep the workers alive until a signal, then wait for all of them."""
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        # The collector does not write to frozen objects, so their memory stays shared.
        gc.freeze()
        for worker in range(self._count):
            self._start(worker)
        while self._pids:
            pid, status = os.wait()
            worker = self._pids.pop(pid)
            if not self._stopping:
                log("error", "worker died", pid=pid, code=os.waitstatus_to_exitcode(status))
                time.sleep(_CRASH_PAUSE_S)
                self._start(worker)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._pids:
            # It may have ended a moment ago.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start(self, worker: int) -> None:
        if self._stopping:
            return
        # A signal between fork and bookkeeping would miss the new worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            _become_worker(lambda: self._work(worker))
        self._pids[pid] = worker
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _become_worker(work: Callable[[], None]) -> None:
    """Work and exit, never returning into the parent's code."""
    code = 1
    try:
        _exit_on_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        work()
        code = 0
    except Exception as error:  # noqa: BLE001 - the outermost edge of a process
        log("error", "worker failed", error=repr(error))
    finally:
        sys.stdout.flush()
        os._exit(code)


def _exit_on_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, _exit_at_once)


def _exit_at_once(_number: int, _frame: FrameType | None) -> None:
    """A signal came before the server was up: there is nothing to finish."""
    os._exit(0)
