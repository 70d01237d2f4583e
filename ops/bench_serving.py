"""Figures of the serving container, beside a plain Flask + gunicorn + MXNet server of one model.

Both run as processes with two workers on loopback and take turns, since a machine's speed drifts;
load is one process's raw sockets over an event loop, so that making requests costs little beside
answering them. What may go wrong: the load shares the cores with the servers, so rates are lower
bounds, and ratios tell more than absolutes.
"""

import asyncio
import contextlib
import http.client
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from ops.errors import OpsError
from trainer.localization.bundle import LoadedModel, ModelDescription, write_bundle
from trainer.localization.features import FeatureParameters
from trainer.localization.network import Dense, Network
from trainer.localization.network_mxnet import export
from trainer.localization.readings import FloatMatrix
from trainer.serving.exchange import Request
from trainer.serving.service import INVOCATIONS, SingleModel, answer
from trainer.training.smoke import choose_smoke

BEACONS, CELLS, HIDDEN = 13, 105, 128
WORKERS = 2
BATCH = 1000
TURNS = 3
SITES = 100
SECONDS = 3.0
"""Of each measurement, in each turn."""
START_TIMEOUT_S = 60.0

REFERENCE = '''
"""A plain server: Flask, gunicorn's synchronous workers, MXNet; imported after the fork."""
import json, os, sys
os.environ["OMP_NUM_THREADS"] = "1"
from flask import Flask, request

app = Flask(__name__)
beacons, cells = json.load(open(os.environ["BENCH_NAMES"]))


def load():
    from trainer.localization.mxnet_loader import load_mxnet
    mx = load_mxnet()
    net, args, _ = mx.model.load_checkpoint(os.environ["BENCH_PREFIX"], 0)
    executors = {}

    def predict(rows):
        key = len(rows)
        if key not in executors:
            shape = mx.nd.zeros((key, len(beacons)))
            executors[key] = net.bind(mx.cpu(), {"data": shape, **args}, grad_req="null")
        return executors[key].forward(is_train=False, data=mx.nd.array(rows))[0].asnumpy()

    return predict


model = load()


@app.get("/ping")
def ping():
    return "ok"


@app.post("/invocations")
def invocations():
    instances = request.get_json()["instances"]
    rows = [[row.get(name, -200.0) for name in beacons] if isinstance(row, dict) else row
            for row in instances]
    found = model(rows)
    best = found.argmax(axis=1)
    return {"predictions": [{"location": cells[cell], "confidence": float(row[cell])}
                            for cell, row in zip(best, found)]}
'''


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, over how many connections at once."""

    name: str
    connections: int
    rows: int
    body: bytes
    content_type: str = "application/json"
    path: str = "/invocations"

    def request(self) -> bytes:
        """The bytes of one request."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\n"
            f"content-type: {self.content_type}\r\naccept: {self.content_type}\r\n"
            f"content-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True, slots=True)
class Measured:
    """How one load went."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is up."""

    port: int
    pid: int
    cold_s: float


@dataclass(frozen=True, slots=True)
class Subject:
    """The model, and where its bundle and its MXNet export lie."""

    folder: Path
    model: LoadedModel

    @property
    def bundle(self) -> Path:
        """``model.tar.gz``."""
        return self.folder / "model.tar.gz"


def bench_serving(console: Console) -> None:
    """Measure both servers and print the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = _make_subject(Path(scratch))
        _print_floor(console, subject)
        loads = _loads(subject.model)
        ours: list[list[Measured]] = []
        theirs: list[list[Measured]] = []
        for _ in range(TURNS):
            with running_ours(subject) as server:
                ours.append([measure(server.port, load) for load in loads])
                memory = _memory_mb(server.pid)
            with running_reference(subject) as server:
                # Answers of one worker alone would wait for the import of the other.
                measure(server.port, loads[1])
                theirs.append([measure(server.port, load) for load in loads if load.rows == 1])
        _print_loads(console, loads, ours, theirs)
        console.print(f"memory of {WORKERS} workers and their parent: {memory:.0f} MB (PSS)")
        _print_cold(console, subject)
        _print_shelf(console, subject)


def _print_floor(console: Console, subject: Subject) -> None:
    """What one process does without HTTP."""
    service = SingleModel.open(subject.bundle)
    model = subject.model
    one, batch = _fingerprints(1), _fingerprints(BATCH)
    request = Request("POST", INVOCATIONS, {"content-type": "application/json"}, _json(model, one))
    rows = [
        ("forward and decoding, one row", _best_s(lambda: model.predict(one)), 1),
        ("JSON to JSON, one row", _best_s(lambda: answer(service, request)), 1),
        (f"forward and decoding, {BATCH} rows", _best_s(lambda: model.predict(batch)), BATCH),
    ]
    table = Table("in one process", "µs", "rows/s", title="Floor", box=None)
    for name, seconds, count in rows:
        table.add_row(name, f"{seconds * 1e6:.0f}", f"{count / seconds:,.0f}")
    console.print(table)


def _best_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(200):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def _print_loads(
    console: Console,
    loads: Sequence[Load],
    ours: Sequence[Sequence[Measured]],
    theirs: Sequence[Sequence[Measured]],
) -> None:
    table = Table(
        "load", "p50 ms", "p99 ms", "requests/s", "rows/s", "reference p50", "its requests/s",
        "ratio", title=f"{WORKERS} workers, median of {TURNS} turns", box=None,
    )  # fmt: skip
    for place, load in enumerate(loads):
        mine = _median([turn[place] for turn in ours])
        cells = [
            load.name,
            f"{mine.p50_ms:.2f}",
            f"{mine.p99_ms:.2f}",
            f"{mine.requests_per_s:,.0f}",
            f"{mine.requests_per_s * load.rows:,.0f}",
        ]
        if place < len(theirs[0]):
            other = _median([turn[place] for turn in theirs])
            ratio = mine.requests_per_s / other.requests_per_s
            cells += [f"{other.p50_ms:.2f}", f"{other.requests_per_s:,.0f}", f"{ratio:.1f}"]
        table.add_row(*cells)
        if mine.errors:
            raise OpsError(f"{mine.errors} of our answers to {load.name} were no 200.")
    console.print(table)


def _median(turns: Sequence[Measured]) -> Measured:
    return Measured(
        requests_per_s=statistics.median(turn.requests_per_s for turn in turns),
        p50_ms=statistics.median(turn.p50_ms for turn in turns),
        p99_ms=statistics.median(turn.p99_ms for turn in turns),
        errors=sum(turn.errors for turn in turns),
    )


def _print_cold(console: Console, subject: Subject) -> None:
    ours, theirs = [], []
    for _ in range(TURNS):
        with running_ours(subject) as server:
            ours.append(server.cold_s)
        with running_reference(subject) as server:
            theirs.append(server.cold_s)
    mine, other = statistics.median(ours), statistics.median(theirs)
    console.print(
        f"cold start to the first 200 of /ping: {mine:.2f} s; reference {other:.2f} s; "
        f"{other / mine:.1f} times faster"
    )


def _print_shelf(console: Console, subject: Subject) -> None:
    """One site's latency with many in the server: nothing else going on, and others loading."""
    quiet, loading = [], []
    path = "/models/site-0/invoke"
    load = Load("8 connections", 8, 1, _json(subject.model, _fingerprints(1)), path=path)
    with running_ours(subject, multi_model=True) as server:
        for number in range(SITES):
            _load_model(server.port, f"site-{number}", subject.bundle)
        for _ in range(TURNS):
            quiet.append(measure(server.port, load))
            with _loading_others(server.port, subject.bundle) as loaded:
                loading.append(measure(server.port, load))
        memory = _memory_mb(server.pid)
    before, during = _median(quiet), _median(loading)
    console.print(
        f"{SITES} sites in one server, {memory:.0f} MB: p99 {before.p99_ms:.2f} ms quiet, "
        f"{during.p99_ms:.2f} ms while others load ({during.p99_ms / before.p99_ms:.1f} times; "
        f"{loaded[0]} loads in the last turn)"
    )


@contextlib.contextmanager
def _loading_others(port: int, bundle: Path) -> Iterator[list[int]]:
    """Load and unload another model over and over, with a pause as long as a load."""
    over, loads = threading.Event(), [0]

    def work() -> None:
        while not over.is_set():
            begun = time.perf_counter()
            _load_model(port, "another", bundle)
            _ask(port, "DELETE", "/models/another", b"")
            loads[0] += 1
            over.wait(time.perf_counter() - begun)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield loads
    finally:
        over.set()
        thread.join()


def _load_model(port: int, name: str, bundle: Path) -> None:
    _ask(port, "POST", "/models", json.dumps({"model_name": name, "url": str(bundle)}).encode())


def _ask(port: int, method: str, path: str, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OpsError(f"{method} {path} was answered {answer.status}: {answer.read()!r}")
    finally:
        connection.close()


def measure(port: int, load: Load, seconds: float = SECONDS) -> Measured:
    """Send one load for some seconds, each connection its next request after its last answer."""
    return uvloop.run(_measure(port, load, seconds))


async def _measure(port: int, load: Load, seconds: float) -> Measured:
    loop = asyncio.get_running_loop()
    request = load.request()
    times: list[float] = []
    errors: list[int] = []
    deadline = loop.time() + seconds
    begun = time.perf_counter()
    clients = [_Client(request, deadline, times, errors) for _ in range(load.connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.over for client in clients))
    elapsed = time.perf_counter() - begun
    if len(times) < 2:
        raise OpsError(f"{load.name}: the server answered {len(times)} requests in {seconds} s.")
    ordered = sorted(times)
    return Measured(
        requests_per_s=len(times) / elapsed,
        p50_ms=ordered[len(times) // 2] * 1000,
        p99_ms=ordered[int(len(times) * 0.99)] * 1000,
        errors=len(errors),
    )


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(
        self, request: bytes, deadline: float, times: list[float], errors: list[int]
    ) -> None:
        self._request = request
        self._deadline = deadline
        self._times = times
        self._errors = errors
        self._buffer = bytearray()
        self._wanted = 0
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._wanted:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._wanted = end + 4 + int(length)
        if len(self._buffer) < self._wanted:
            return
        self._times.append(time.perf_counter() - self._begun)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self._errors.append(1)
        self._buffer.clear()
        if self._loop.time() >= self._deadline:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._errors.append(1)
        if not self.over.done():
            self.over.set_result(None)

    def eof_received(self) -> None:
        # gunicorn's synchronous workers close after each answer.
        self._errors.append(1)

    def _ask(self) -> None:
        self._wanted = 0
        self._begun = time.perf_counter()
        self._transport.write(self._request)


@contextlib.contextmanager
def running_ours(subject: Subject, *, multi_model: bool = False) -> Iterator[Server]:
    """The container's process."""
    port = _free_port()
    environment = {
        "RSSI_MODEL_DIR": str(subject.bundle),
        "RSSI_BIND_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(WORKERS),
        "SAGEMAKER_MULTI_MODEL": str(multi_model).lower(),
    }
    command = [sys.executable, "-m", "trainer.serving", "serve"]
    with _running(command, environment, port) as server:
        yield server


@contextlib.contextmanager
def running_reference(subject: Subject) -> Iterator[Server]:
    """The plain server of the same model."""
    port = _free_port()
    module = subject.folder / "reference_server.py"
    module.write_text(textwrap.dedent(REFERENCE))
    environment = {
        "BENCH_PREFIX": str(subject.folder / "mxnet"),
        "BENCH_NAMES": str(subject.folder / "names.json"),
        "PYTHONPATH": os.pathsep.join([str(subject.folder), str(Path(__file__).parents[1])]),
    }
    command = [
        *(sys.executable, "-m", "gunicorn", "reference_server:app", "--bind", f"127.0.0.1:{port}"),
        *("--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "1"),
        *("--keep-alive", "60", "--log-level", "error"),
    ]
    with _running(command, environment, port) as server:
        yield server


@contextlib.contextmanager
def _running(command: Sequence[str], environment: dict[str, str], port: int) -> Iterator[Server]:
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _pings(port):
            if process.poll() is not None or time.perf_counter() - begun > START_TIMEOUT_S:
                raise OpsError(f"{command[2]} did not answer /ping; it can't be measured.")
            time.sleep(0.002)
        yield Server(port, process.pid, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait()


def _pings(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _memory_mb(pid: int) -> float:
    """Of a process and its children: each page once, shared ones in equal parts."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    texts = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in (str(pid), *children)]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) / 1024


def _make_subject(folder: Path) -> Subject:
    """Random weights in recipe A's shapes: speed does not depend on what they are."""
    random = np.random.default_rng(0)
    network = Network(
        tuple(
            Dense(
                weight=(random.normal(size=(after, before)) * (2 / before) ** 0.5).astype("f4"),
                bias=np.zeros(after, dtype=np.float32),
            )
            for before, after in pairwise((8 * BEACONS, HIDDEN, HIDDEN, CELLS))
        )
    )
    description = ModelDescription(
        release="bench-0123456789ab",
        site="bench",
        beacons=tuple(f"b30{number:02d}" for number in range(1, BEACONS + 1)),
        cells=tuple(f"C{number:03d}" for number in range(CELLS)),
        positions=tuple((number % 15 * 3.0, number // 15 * 3.0) for number in range(CELLS)),
        features=FeatureParameters(),
    )
    unsmoked = LoadedModel(description, network, (), "")
    exported = export(network, description.features)
    smoke = choose_smoke(unsmoked, _fingerprints(200))
    written = write_bundle(folder / "model.tar.gz", description, network, exported, smoke)
    (folder / "mxnet-symbol.json").write_bytes(exported.symbol)
    (folder / "mxnet-0000.params").write_bytes(exported.params)
    (folder / "names.json").write_text(json.dumps([description.beacons, description.cells]))
    return Subject(folder, LoadedModel(description, network, smoke, written.digest))


def _fingerprints(rows: int) -> FloatMatrix:
    """(rows, beacons) dBm, NaN where a beacon was not heard, as about half are."""
    random = np.random.default_rng(1)
    rssi = random.integers(-95, -55, size=(rows, BEACONS)).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.5] = np.nan
    return rssi


def _loads(model: LoadedModel) -> list[Load]:
    one, batch = _fingerprints(1), _fingerprints(BATCH)
    buffer = io.BytesIO()
    np.save(buffer, batch)
    npy = "application/x-npy"
    return [
        Load("1 connection, 1 row", 1, 1, _json(model, one)),
        Load("64 connections, 1 row", 64, 1, _json(model, one)),
        Load(f"4 connections, {BATCH} rows, JSON", 4, BATCH, _json_lists(batch)),
        Load(f"4 connections, {BATCH} rows, npy", 4, BATCH, buffer.getvalue(), npy),
    ]


def _json(model: LoadedModel, rssi: FloatMatrix) -> bytes:
    rows = [
        {name: int(dbm) for name, dbm in zip(model.beacons, row, strict=True) if not np.isnan(dbm)}
        for row in rssi
    ]
    return json.dumps({"instances": rows}).encode()


def _json_lists(rssi: FloatMatrix) -> bytes:
    rows = [[-200 if np.isnan(dbm) else int(dbm) for dbm in row] for row in rssi]
    return json.dumps({"instances": rows}).encode()


def main() -> None:
    """``python -m ops.bench_serving``."""
    bench_serving(Console())


if __name__ == "__main__":
    main()
