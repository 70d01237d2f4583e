"""Figures of the serving container, beside a plain Flask + gunicorn + MXNet server of one model.

Both run as processes with two workers on loopback and take turns, since a machine's speed drifts.
The load shares the cores with the servers: rates are lower bounds, and ratios say more than
absolute figures. Two baselines show the load's own share: an echo server, and one process without
HTTP.
"""

import contextlib
import http.client
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.dev.bench_subject import (
    BATCH,
    CELLS,
    WORKERS,
    Subject,
    fingerprints,
    json_body,
    loads_of,
    make_subject,
    running_ours,
    running_reference,
)
from ops.dev.load import (
    START_TIMEOUT_S,
    Load,
    LoadResult,
    ServerProcess,
    cpu_s,
    measure,
    memory_mb,
    running_echo,
)
from ops.errors import OpsError
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.serving.exchange import HttpRequest
from trainer.serving.models.service import INVOCATIONS, SingleModelService, respond

TURNS = 3
SITES = 100
MANY_TURNS, MANY_SECONDS = 15, 1.0
"""Many short turns: a difference in latency shows within a second."""
OTHER_SITES = 6
"""Models loaded during a turn, each with another number of cells: a second model of one shape would
load faster."""
SECONDS = 3.0
"""Length of each measurement, in each turn."""


@dataclass(frozen=True, slots=True)
class ProfiledLoad:
    """One load on our server, with the processor time that the server used for it."""

    measured: LoadResult
    server_us: float
    """Microseconds per request, over all processes of the server."""


def bench_serving(console: Console) -> None:
    """Measure both servers and print the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = make_subject(Path(scratch))
        _print_in_process(console, subject)
        loads = loads_of(subject.model)
        ours: list[list[ProfiledLoad]] = []
        theirs: list[list[LoadResult]] = []
        echoes: list[list[LoadResult]] = []
        for _ in range(TURNS):
            with running_ours(subject) as server:
                ours.append([_profile(server, load) for load in loads])
                memory = memory_mb(server.pid)
            with running_reference(subject) as server:
                # Warm-up: else one worker's requests would wait for the import in the other.
                measure(server.port, loads[1], SECONDS)
                theirs.append(
                    [measure(server.port, load, SECONDS) for load in loads if load.rows == 1]
                )
            echoes.append([_echoed(load, turn) for load, turn in zip(loads, ours[-1], strict=True)])
        _print_loads(console, loads, ours, theirs, echoes)
        console.print(f"memory of {WORKERS} workers and their parent: {memory:.0f} MB (PSS)")
        _print_cold(console, subject)
        _print_many_models(console, subject)


def _profile(server: ServerProcess, load: Load) -> ProfiledLoad:
    before = cpu_s(server.pid)
    measured = measure(server.port, load, SECONDS)
    used = cpu_s(server.pid) - before
    return ProfiledLoad(measured, used * 1e6 / (measured.requests_per_s * SECONDS))


def _echoed(load: Load, turn: ProfiledLoad) -> LoadResult:
    """The same load on echo servers that answer as many bytes."""
    with running_echo(turn.measured.answer_bytes, WORKERS) as server:
        return measure(server.port, load, SECONDS / 3)


def _print_in_process(console: Console, subject: Subject) -> None:
    """Print what one process does without HTTP, and the time of its multiplications alone."""
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
    table = Table("in one process", "µs", "rows/s", title="Without HTTP", box=None)
    for name, work, count in rows:
        seconds = _best_s(work)
        table.add_row(name, f"{seconds * 1e6:.0f}", f"{count / seconds:,.0f}")
    console.print(table)


def _in_process(load: Load) -> HttpRequest:
    headers = {"content-type": load.content_type, "accept": load.content_type}
    return HttpRequest("POST", INVOCATIONS, headers, load.body)


def _multiplications(model: LoadedModel) -> Callable[[], object]:
    """The matrix products of the network's layers by the machine's BLAS, and nothing else."""
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
        "load", "server's CPU, µs/request", "echo: p50 ms", "requests/s",
        "reference: p50 ms", "requests/s", "ours, times", title="Beside it", box=None,
    )  # fmt: skip
    for place, load in enumerate(loads):
        mine = _median([turn[place].measured for turn in ours])
        if mine.errors:
            raise OpsError(f"{mine.errors} of our answers to {load.name} were not 200.")
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


def _print_many_models(console: Console, subject: Subject) -> None:
    """Print one site's latency among many in a server: idle, and while others are loaded."""
    turns: list[tuple[LoadResult, LoadResult]] = []
    loads = 0
    path = "/models/site-0/invoke"
    others = [_another(subject, CELLS + 1 + n) for n in range(MANY_TURNS * OTHER_SITES)]
    load = Load("8 connections", 8, 1, json_body(subject.model, fingerprints(1)), path=path)
    with running_ours(subject, multi_model=True) as server:
        for number in range(SITES):
            _load_model(server.port, f"site-{number}", subject.bundle)
        for turn in range(MANY_TURNS):
            quiet = measure(server.port, load, MANY_SECONDS)
            with _loading_others(server.port, others[turn::MANY_TURNS]) as loaded:
                turns.append((quiet, measure(server.port, load, MANY_SECONDS)))
            loads += loaded()
        memory = memory_mb(server.pid)
    title = f"{SITES} sites in one server, {memory:.0f} MB, median of {MANY_TURNS} turns"
    table = Table("one site's", "p50 ms", "p99 ms", "p99.9 ms", title=title, box=None)
    during = f"while others load ({loads / MANY_TURNS / MANY_SECONDS:.0f} a second)"
    for name, one in zip(("quiet", during), map(_median, zip(*turns, strict=True)), strict=True):
        table.add_row(name, f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.p999_ms:.2f}")
    # By turn: on a shared machine the next turn has another speed.
    ratios = [
        statistics.median(busy.delays[place] / quiet.delays[place] for quiet, busy in turns)
        for place in range(3)
    ]
    table.add_row("times, turn by turn", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


@contextlib.contextmanager
def _loading_others(port: int, bundles: Sequence[Path]) -> Iterator[Callable[[], int]]:
    """Load and unload one model after the other, with a pause as long as a load.

    Runs in a process, because a thread would delay the measuring client. Yields a function that
    returns the number of loads so far.
    """
    processes = multiprocessing.get_context("fork")
    stopped, loads = processes.Event(), processes.Value("i", 0)

    def work() -> None:
        for bundle in cycle(bundles):
            begun = time.perf_counter()
            _load_model(port, "another", bundle)
            _request(port, "DELETE", "/models/another", b"")
            loads.value += 1
            if stopped.wait(time.perf_counter() - begun):
                return

    process = processes.Process(target=work)
    process.start()
    try:
        yield lambda: loads.value
    finally:
        stopped.set()
        process.join()


def _another(subject: Subject, cells: int) -> Path:
    folder = subject.folder / f"with {cells} cells"
    folder.mkdir()
    return make_subject(folder, cells).bundle


def _load_model(port: int, name: str, bundle: Path) -> None:
    _request(port, "POST", "/models", json.dumps({"model_name": name, "url": str(bundle)}).encode())


def _request(port: int, method: str, path: str, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OpsError(f"{method} {path} was answered with {answer.status}: {answer.read()!r}")
    finally:
        connection.close()


def main() -> None:
    """``python -m ops.dev.bench_serving``."""
    bench_serving(Console())


if __name__ == "__main__":
    main()
