"""Figures of the serving container, beside a plain Flask + gunicorn + MXNet server of one model.

Both run as processes with two workers on loopback and take turns, since a machine's speed drifts.
What may go wrong: the load shares the cores with the servers, so rates are lower bounds, and ratios
tell more than absolutes. So two floors stand beside them: a server that answers without a thought,
which shows what asking costs, and what one process computes without HTTP.
"""

import contextlib
import http.client
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.dev.load import (
    START_TIMEOUT_S,
    Load,
    LoadResult,
    ServerProcess,
    cpu_s,
    free_port,
    measure,
    memory_mb,
    running,
    running_echo,
)
from ops.errors import OpsError
from trainer.localization.bundle.description import ModelDescription
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.mxnet_graph import export
from trainer.localization.dense.network import Dense, Network
from trainer.localization.readings import FloatMatrix
from trainer.serving.exchange import HttpRequest
from trainer.serving.models.service import INVOCATIONS, SingleModelService, respond
from trainer.training.job.smoke import blended_smoke_rows

BEACONS, CELLS, HIDDEN = 13, 105, 128
WORKERS = 2
BATCH = 1000
TURNS = 3
SITES = 100
SHELF_TURNS, SHELF_SECONDS = 15, 1.0
"""Short and many: whether something is slower beside something else shows within a second."""
OTHER_SITES = 6
"""That are loaded in a turn: each of another number of cells, as what is known of one shape helps
to load the next model of that shape."""
SECONDS = 3.0
"""Of each measurement, in each turn."""

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
class Subject:
    """The model, and where its bundle and its MXNet export lie."""

    folder: Path
    model: LoadedModel

    @property
    def bundle(self) -> Path:
        """``model.tar.gz``."""
        return self.folder / "model.tar.gz"


@dataclass(frozen=True, slots=True)
class ProfiledLoad:
    """One load on our server: how it went, and the processor time that the server used for it."""

    measured: LoadResult
    server_us: float
    """Microseconds per request, of all its processes."""


def bench_serving(console: Console) -> None:
    """Measure both servers and print the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = make_subject(Path(scratch))
        _print_floor(console, subject)
        loads = loads_of(subject.model)
        ours: list[list[ProfiledLoad]] = []
        theirs: list[list[LoadResult]] = []
        echoes: list[list[LoadResult]] = []
        for _ in range(TURNS):
            with running_ours(subject) as server:
                ours.append([_profile(server, load) for load in loads])
                memory = memory_mb(server.pid)
            with running_reference(subject) as server:
                # Answers of one worker alone would wait for the import of the other.
                measure(server.port, loads[1], SECONDS)
                theirs.append(
                    [measure(server.port, load, SECONDS) for load in loads if load.rows == 1]
                )
            echoes.append([_echoed(load, turn) for load, turn in zip(loads, ours[-1], strict=True)])
        _print_loads(console, loads, ours, theirs, echoes)
        console.print(f"memory of {WORKERS} workers and their parent: {memory:.0f} MB (PSS)")
        _print_cold(console, subject)
        _print_shelf(console, subject)


def _profile(server: ServerProcess, load: Load) -> ProfiledLoad:
    before = cpu_s(server.pid)
    measured = measure(server.port, load, SECONDS)
    used = cpu_s(server.pid) - before
    return ProfiledLoad(measured, used * 1e6 / (measured.requests_per_s * SECONDS))


def _echoed(load: Load, turn: ProfiledLoad) -> LoadResult:
    """The same load on servers that answer without a thought, with as many bytes."""
    with running_echo(turn.measured.answer_bytes, WORKERS) as server:
        return measure(server.port, load, SECONDS / 3)


def _print_floor(console: Console, subject: Subject) -> None:
    """What one process does without HTTP, and the least that its multiplications take."""
    service = SingleModelService.open(subject.bundle)
    model = subject.model
    one, batch = fingerprints(1), fingerprints(BATCH)
    loads = loads_of(model)
    requests = {load.name: _in_process(load) for load in loads}
    rows = [
        ("model, one row", lambda: model.table(one), 1),
        ("reading it from JSON", lambda: service.handle(requests[loads[0].name]), 1),
        ("JSON to JSON, one row", lambda: respond(service, requests[loads[0].name]), 1),
        (f"multiplications alone, {BATCH} rows", _multiplications(model), BATCH),
        (f"model, {BATCH} rows", lambda: model.table(batch), BATCH),
        (f"JSON to JSON, {BATCH} rows", lambda: respond(service, requests[loads[2].name]), BATCH),
        (f"npy to npy, {BATCH} rows", lambda: respond(service, requests[loads[3].name]), BATCH),
    ]
    table = Table("in one process", "µs", "rows/s", title="Floor", box=None)
    for name, work, count in rows:
        seconds = _best_s(work)
        table.add_row(name, f"{seconds * 1e6:.0f}", f"{count / seconds:,.0f}")
    console.print(table)


def _in_process(load: Load) -> HttpRequest:
    headers = {"content-type": load.content_type, "accept": load.content_type}
    return HttpRequest("POST", INVOCATIONS, headers, load.body)


def _multiplications(model: LoadedModel) -> Callable[[], object]:
    """The products of the network's layers by the machine's BLAS, with nothing between them."""
    random = np.random.default_rng(2)
    pairs = [
        (random.random((BATCH, layer.weight.shape[1]), dtype=np.float32), layer.weight.T.copy())
        for layer in model.network.layers
    ]
    return lambda: [rows @ weight for rows, weight in pairs]


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
    ours: Sequence[Sequence[ProfiledLoad]],
    theirs: Sequence[Sequence[LoadResult]],
    echoes: Sequence[Sequence[LoadResult]],
) -> None:
    title = f"{WORKERS} workers, median of {TURNS} turns"
    table = Table("load", "p50 ms", "p99 ms", "requests/s", "rows/s", title=title, box=None)
    beside = Table(
        "load", "server's CPU, µs/request", "no thought: p50 ms", "requests/s",
        "reference: p50 ms", "requests/s", "ours, times", title="Beside it", box=None,
    )  # fmt: skip
    for place, load in enumerate(loads):
        mine = _median([turn[place].measured for turn in ours])
        if mine.errors:
            raise OpsError(f"{mine.errors} of our answers to {load.name} were no 200.")
        table.add_row(
            load.name,
            f"{mine.p50_ms:.2f}",
            f"{mine.p99_ms:.2f}",
            f"{mine.requests_per_s:,.0f}",
            f"{mine.requests_per_s * load.rows:,.0f}",
        )
        echo = _median([turn[place] for turn in echoes])
        cells = [
            load.name,
            f"{statistics.median(turn[place].server_us for turn in ours):,.0f}",
            f"{echo.p50_ms:.2f}",
            f"{echo.requests_per_s:,.0f}",
        ]
        if place < len(theirs[0]):
            other = _median([turn[place] for turn in theirs])
            ratio = mine.requests_per_s / other.requests_per_s
            cells += [f"{other.p50_ms:.2f}", f"{other.requests_per_s:,.0f}", f"{ratio:.1f}"]
        beside.add_row(*cells)
    console.print(table)
    console.print(beside)


def _median(turns: Sequence[LoadResult]) -> LoadResult:
    return LoadResult(
        requests_per_s=statistics.median(turn.requests_per_s for turn in turns),
        p50_ms=statistics.median(turn.p50_ms for turn in turns),
        p99_ms=statistics.median(turn.p99_ms for turn in turns),
        p999_ms=statistics.median(turn.p999_ms for turn in turns),
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
    turns: list[tuple[LoadResult, LoadResult]] = []
    loads = 0
    path = "/models/site-0/invoke"
    others = [_another(subject, CELLS + 1 + n) for n in range(SHELF_TURNS * OTHER_SITES)]
    load = Load("8 connections", 8, 1, _json(subject.model, fingerprints(1)), path=path)
    with running_ours(subject, multi_model=True) as server:
        for number in range(SITES):
            _load_model(server.port, f"site-{number}", subject.bundle)
        for turn in range(SHELF_TURNS):
            quiet = measure(server.port, load, SHELF_SECONDS)
            with _loading_others(server.port, others[turn::SHELF_TURNS]) as loaded:
                turns.append((quiet, measure(server.port, load, SHELF_SECONDS)))
            loads += loaded()
        memory = memory_mb(server.pid)
    title = f"{SITES} sites in one server, {memory:.0f} MB, median of {SHELF_TURNS} turns"
    table = Table("one site's", "p50 ms", "p99 ms", "p99.9 ms", title=title, box=None)
    during = f"while others load ({loads / SHELF_TURNS / SHELF_SECONDS:.0f} a second)"
    for name, one in zip(("quiet", during), map(_median, zip(*turns, strict=True)), strict=True):
        table.add_row(name, f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.p999_ms:.2f}")
    # Of one turn each, as a machine that others use too is another one in the next.
    ratios = [
        statistics.median(over.delays[place] / calm.delays[place] for calm, over in turns)
        for place in range(3)
    ]
    table.add_row("times, turn by turn", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


@contextlib.contextmanager
def _loading_others(port: int, bundles: Sequence[Path]) -> Iterator[Callable[[], int]]:
    """Load and unload one model after the other, with a pause as long as a load.

    From a process of its own, as a thread would keep those waiting who are measured beside it.
    Yields what tells how often.
    """
    processes = multiprocessing.get_context("fork")
    over, loads = processes.Event(), processes.Value("i", 0)

    def work() -> None:
        for bundle in cycle(bundles):
            begun = time.perf_counter()
            _load_model(port, "another", bundle)
            _ask(port, "DELETE", "/models/another", b"")
            loads.value += 1
            if over.wait(time.perf_counter() - begun):
                return

    process = processes.Process(target=work)
    process.start()
    try:
        yield lambda: loads.value
    finally:
        over.set()
        process.join()


def _another(subject: Subject, cells: int) -> Path:
    folder = subject.folder / f"with {cells} cells"
    folder.mkdir()
    return make_subject(folder, cells).bundle


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


@contextlib.contextmanager
def running_ours(subject: Subject, *, multi_model: bool = False) -> Iterator[ServerProcess]:
    """The container's process."""
    port = free_port()
    environment = {
        "RSSI_MODEL_DIR": str(subject.bundle),
        "RSSI_BIND_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(WORKERS),
        "SAGEMAKER_MULTI_MODEL": str(multi_model).lower(),
    }
    command = [sys.executable, "-m", "trainer.serving", "serve"]
    with running(command, environment, port) as server:
        yield server


@contextlib.contextmanager
def running_reference(subject: Subject) -> Iterator[ServerProcess]:
    """The plain server of the same model."""
    port = free_port()
    module = subject.folder / "reference_server.py"
    module.write_text(textwrap.dedent(REFERENCE))
    environment = {
        "BENCH_PREFIX": str(subject.folder / "mxnet"),
        "BENCH_NAMES": str(subject.folder / "names.json"),
        "PYTHONPATH": os.pathsep.join([str(subject.folder), str(Path(__file__).parents[2])]),
    }
    command = [
        *(sys.executable, "-m", "gunicorn", "reference_server:app", "--bind", f"127.0.0.1:{port}"),
        *("--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "1"),
        *("--keep-alive", "60", "--log-level", "error"),
    ]
    with running(command, environment, port) as server:
        yield server


def make_subject(folder: Path, cells: int = CELLS) -> Subject:
    """Random weights in recipe A's shapes: speed does not depend on what they are."""
    random = np.random.default_rng(0)
    network = Network(
        tuple(
            Dense(
                weight=(random.normal(size=(after, before)) * (2 / before) ** 0.5).astype("f4"),
                bias=np.zeros(after, dtype=np.float32),
            )
            for before, after in pairwise((8 * BEACONS, HIDDEN, HIDDEN, cells))
        )
    )
    description = ModelDescription(
        release="bench-0123456789ab",
        site="bench",
        beacons=tuple(f"b30{number:02d}" for number in range(1, BEACONS + 1)),
        cells=tuple(f"C{number:03d}" for number in range(cells)),
        positions=tuple((number % 15 * 3.0, number // 15 * 3.0) for number in range(cells)),
        features=FeatureParameters(),
    )
    unsmoked = LoadedModel(description, network, (), "")
    exported = export(network, description.features)
    smoke = blended_smoke_rows(unsmoked, fingerprints(200))
    written = write_bundle(folder / "model.tar.gz", description, network, exported, smoke)
    (folder / "mxnet-symbol.json").write_bytes(exported.symbol)
    (folder / "mxnet-0000.params").write_bytes(exported.params)
    (folder / "names.json").write_text(json.dumps([description.beacons, description.cells]))
    return Subject(folder, LoadedModel(description, network, smoke, written.digest))


def fingerprints(rows: int) -> FloatMatrix:
    """(rows, beacons) dBm, NaN where a beacon was not heard, as about half are."""
    random = np.random.default_rng(1)
    rssi = random.integers(-95, -55, size=(rows, BEACONS)).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.5] = np.nan
    return rssi


def loads_of(model: LoadedModel) -> list[Load]:
    one, batch = fingerprints(1), fingerprints(BATCH)
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
    """``python -m ops.dev.bench_serving``."""
    bench_serving(Console())


if __name__ == "__main__":
    main()
