"""The server killed, stopped and fed nonsense while others ask: no answer lost, none wrong."""

import asyncio
import gc
import json
import os
import random
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uvloop

from tests.serving.running_server import PATIENCE_S, RunningServer, until
from tests.serving.small_model import (
    RELEASE,
    fingerprints,
    small_description,
    write_exported_bundle,
)
from trainer.localization.decoding import tempered
from trainer.localization.dense.mxnet_graph import exported_probabilities
from trainer.serving.formats.parsing import MAX_ROWS
from trainer.serving.http.connection import Connection, Connections
from trainer.serving.models.micro_batcher import MicroBatcher
from trainer.serving.models.service import SingleModelService

CONNECTIONS = 16
GOOD = b'{"instances":[{"b3001":-70},{"b3002":-80}]}'
BAD = [b"", b"{", b'{"instances":[]}', b'{"instances":[{"b3001":"x"}]}', b"[" * 3000, b"\xff" * 50]


def request(body: bytes, path: str = "/invocations") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the server keeps the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    return int(head[9:12]), body, b"connection: close" not in head


async def ask_until(port: int, over: asyncio.Event, seen: Counter[str], path: str) -> None:
    """Ask over one connection, good and bad mixed, and connect anew when told to."""
    chance = random.Random(len(seen))
    writer: asyncio.StreamWriter | None = None
    while not over.is_set():
        if writer is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return
        body = GOOD if chance.random() < 0.7 else chance.choice(BAD)
        try:
            writer.write(request(body, path))
            status, answer, keeps = await read_answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            seen["lost"] += 1
            writer.close()
            writer = None
            continue
        good = status == 200 and len(json.loads(answer)["predictions"]) == 2
        seen["right" if good == (body == GOOD) and status < 500 else "wrong"] += 1
        if not keeps:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


def under_load(running: RunningServer, requests: int, act: Callable[[], object]) -> Counter[str]:
    """Ask over many connections; after ``requests`` answers do ``act``, then as many again."""

    async def play() -> Counter[str]:
        seen: Counter[str] = Counter()
        over = asyncio.Event()
        askers = [
            asyncio.create_task(ask_until(running.port, over, seen, running.path))
            for _ in range(CONNECTIONS)
        ]
        async with asyncio.timeout(PATIENCE_S):
            while seen.total() < requests:  # noqa: ASYNC110 - waits for a count, not an event
                await asyncio.sleep(0.01)
            await asyncio.to_thread(act)
            while seen.total() < 2 * requests and not all(task.done() for task in askers):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            over.set()
            await asyncio.gather(*askers)
        return seen

    return asyncio.run(play())


@pytest.mark.parametrize("multi_model", [False, True], ids=["single", "multi"])
def test_sigterm_under_load_loses_no_request(bundle: Path, *, multi_model: bool) -> None:
    with RunningServer(bundle, workers=2, multi_model=multi_model, log_to_null=True) as running:
        seen = under_load(running, 400, running.process.terminate)
        assert running.process.wait(PATIENCE_S) == 0

    assert seen["right"] >= 400
    assert seen.keys() == {"right"}


def test_a_killed_worker_loses_only_what_it_was_answering(bundle: Path) -> None:
    with RunningServer(bundle, workers=2, log_to_null=True) as running:
        pid = running.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        until(lambda: len(children.read_text().split()) == 2)
        victim = int(children.read_text().split()[0])
        seen = under_load(running, 400, lambda: os.kill(victim, 9))

    assert seen["lost"] <= CONNECTIONS
    assert seen["wrong"] == 0


def test_good_and_bad_requests_mixed_leave_memory_where_it_was(bundle: Path) -> None:
    with RunningServer(bundle, workers=1, log_to_null=True) as running:
        status = Path(f"/proc/{running.process.pid}/status")

        def resident_kb() -> int:
            [line] = [one for one in status.read_text().splitlines() if one.startswith("VmRSS")]
            return int(line.split()[1])

        under_load(running, 1500, lambda: None)
        before = resident_kb()
        seen = under_load(running, 1500, lambda: None)
        grown = resident_kb() - before

    assert seen.keys() == {"right"}
    assert grown < 2048


async def exchange(port: int, sent: bytes, answers: int) -> list[tuple[int, bytes, bool]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(PATIENCE_S):
        found = [await read_answer(reader) for _ in range(answers)]
    writer.close()
    return found


def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    ping = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"
    sent = (request(GOOD, server.path) + ping + request(b"{", server.path)) * 30

    found = asyncio.run(exchange(server.port, sent, 90))

    assert [status for status, _, _ in found] == [200, 200, 400] * 30
    assert all(b"predictions" in body for _, body, _ in found[::3])


def test_a_chunked_body_is_put_together(server: RunningServer) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\n\r\n"
    head = f"POST {server.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    sent = f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks

    [(status, _, keeps)] = asyncio.run(exchange(server.port, sent, 1))

    assert (status, keeps) == (200, True)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET /ping HTTP/9.9\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /ping HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ended(
    server: RunningServer, sent: bytes, status: int
) -> None:
    [(answered, body, keeps)] = asyncio.run(exchange(server.port, sent, 1))

    assert (answered, keeps) == (status, False)
    assert json.loads(body)["error"]["message"]
    assert server.ask("GET", "/ping").status == 200


def test_an_old_client_is_answered_and_let_go(server: RunningServer) -> None:
    sent = b"GET /ping HTTP/1.0\r\n\r\n"

    [(status, _, keeps)] = asyncio.run(exchange(server.port, sent, 1))

    assert (status, keeps) == (200, False)


def test_concurrent_requests_answered_together_have_the_bytes_of_each_alone(
    server: RunningServer,
) -> None:
    bodies = [
        json.dumps(
            {"instances": [[-200.0 if np.isnan(dbm) else float(dbm) for dbm in row]]}
        ).encode()
        for row in fingerprints(24)
    ]

    async def all_at_once() -> list[bytes]:
        asked = [exchange(server.port, request(body, server.path), 1) for body in bodies]
        return [found[0][1] for found in await asyncio.gather(*asked)]

    async def one_by_one() -> list[bytes]:
        return [
            (await exchange(server.port, request(body, server.path), 1))[0][1] for body in bodies
        ]

    assert asyncio.run(all_at_once()) == asyncio.run(one_by_one())


def test_the_served_probabilities_are_those_of_mxnet_at_the_bundles_temperature(
    tmp_path: Path,
) -> None:
    exported = write_exported_bundle(tmp_path / "model.tar.gz")
    rssi = fingerprints(40)
    temperature = small_description().confidence_temperature
    assert temperature is not None
    theirs = tempered(exported_probabilities(exported, rssi), temperature)
    rows = [[None if np.isnan(dbm) else float(dbm) for dbm in row] for row in rssi]

    with RunningServer(tmp_path / "model.tar.gz") as running:
        answer = running.invoke({"instances": rows, "parameters": {"top_k": 6}})

    assert answer.document["release"] == RELEASE
    predictions = answer.document["predictions"]
    assert isinstance(predictions, list)
    ours = [
        {cell["location"]: cell["confidence"] for cell in prediction["top"]}
        for prediction in predictions
    ]
    served = np.array([[row[f"A{cell:02d}"] for cell in range(6)] for row in ours])
    assert np.abs(served - theirs).max() < 1e-5


def test_a_small_request_behind_a_huge_one_is_answered_before_it(server: RunningServer) -> None:
    huge = json.dumps({"instances": [[-70, -75, -80]] * MAX_ROWS}).encode()

    async def play() -> tuple[list[str], int, int]:
        order: list[str] = []
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.transport.set_write_buffer_limits(0)

        async def read_huge() -> tuple[int, bytes, bool]:
            found = await read_answer(reader)
            order.append("huge")
            return found

        async with asyncio.timeout(PATIENCE_S):
            waiting = asyncio.create_task(read_huge())
            writer.write(request(huge, server.path))
            await writer.drain()
            # All of it has left, so whoever asks from here on stands behind it.
            [(small, _, _)] = await exchange(server.port, request(GOOD, server.path), 1)
            order.append("small")
            status, answer, _ = await waiting
        writer.close()
        assert status == 200
        return order, small, answer.count(b'"location"')

    order, small, answered = asyncio.run(play())

    assert order == ["small", "huge"]
    assert (small, answered) == (200, MAX_ROWS)


def test_a_closed_connection_leaves_nothing_to_the_garbage_collector(bundle: Path) -> None:
    async def visit() -> list[weakref.ref[Connection]]:
        loop = asyncio.get_running_loop()
        connections = Connections(MicroBatcher(SingleModelService.open(bundle), None, loop))
        met = []

        def make() -> Connection:
            connection = connections.open_connection()
            met.append(weakref.ref(connection))
            return connection

        door = await loop.create_server(make, "127.0.0.1", 0)
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*door.sockets[0].getsockname())
            writer.write(request(GOOD))
            assert (await read_answer(reader))[0] == 200
            writer.close()
        connections.is_stopping = True
        await asyncio.wait_for(connections.all_closed(), PATIENCE_S)
        door.close()
        return met

    gc.disable()
    try:
        met = uvloop.run(visit())
    finally:
        gc.enable()

    assert [one() for one in met] == [None] * 3
