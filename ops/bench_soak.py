"""Good and bad requests mixed, over many connections, for minutes: does the server stay as it was?

What may go wrong is what this looks for: answers that are wrong, missing or ours to blame (5xx),
memory that grows, answers that become slower. The load is bounded, as a machine at its limit says
nothing about the tenth minute that it did not say about the first.
"""

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from ops.bench_serving import WORKERS, Subject, fingerprints, make_subject, running_ours
from ops.errors import OpsError
from ops.load import Server, memory_mb

CONNECTIONS = 64
MINUTES = 10
REQUESTS_PER_S = 1500
"""About a fifth of what two cores can answer, so that the queue is not what is measured."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One kind of request, and the status and number of answers that it has to get."""

    name: str
    request: bytes
    status: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute saw."""

    answers: int
    wrong: int
    p50_ms: float
    p99_ms: float
    memory_mb: float


def bench_soak(console: Console, minutes: int = MINUTES) -> None:
    """Ask for some minutes and print each; ends with an error if any answer was not right."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = make_subject(Path(scratch))
        with running_ours(subject) as server:
            seen = uvloop.run(soak(server, _kinds(subject), minutes))
    title = f"{CONNECTIONS} connections, {REQUESTS_PER_S} requests/s, {WORKERS} workers"
    table = Table("minute", "answers", "wrong", "p50 ms", "p99 ms", "MB", title=title, box=None)
    for number, minute in enumerate(seen, start=1):
        table.add_row(
            str(number),
            f"{minute.answers:,}",
            str(minute.wrong),
            f"{minute.p50_ms:.2f}",
            f"{minute.p99_ms:.2f}",
            f"{minute.memory_mb:.1f}",
        )
    console.print(table)
    wrong = sum(minute.wrong for minute in seen)
    if wrong:
        raise OpsError(f"{wrong} answers were not what they had to be.")


def _kinds(subject: Subject) -> list[Asked]:
    """Seven good requests in ten; the others are wrong in as many ways as they are many."""
    rows = [
        [-200 if np.isnan(dbm) else int(dbm) for dbm in row] for row in fingerprints(64).tolist()
    ]
    objects = [dict(zip(subject.model.beacons, row, strict=True)) for row in rows]
    good = [
        *(Asked("one object", _post({"instances": [one]}), 200, 1) for one in objects[:5]),
        Asked("two lists", _post({"instances": rows[:2]}), 200, 2),
        Asked("a batch", _post({"instances": rows}), 200, len(rows)),
    ]
    bad = [
        Asked("a number too high", _post({"instances": [[12] * len(rows[0])]}), 400),
        Asked("no JSON", _raw(b'{"instances": [[-70,'), 400),
        Asked("another type", _raw(b"<rssi/>", "application/xml"), 415),
    ]
    return [*good, *bad]


def _post(document: object) -> bytes:
    return _raw(json.dumps(document).encode())


def _raw(body: bytes, content_type: str = "application/json") -> bytes:
    head = (
        f"POST /invocations HTTP/1.1\r\nhost: soak\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def soak(
    server: Server, kinds: Sequence[Asked], minutes: int, minute_s: float = 60.0
) -> list[Minute]:
    """Ask a mix of ``kinds`` for some minutes, and tell of each; a minute may be a short one."""
    seen = []
    begun = time.monotonic()
    for number in range(minutes):
        times: list[float] = []
        outcomes: Counter[bool] = Counter()
        until = begun + minute_s * (number + 1)
        await asyncio.gather(
            *(
                _ask(server.port, kinds, random.Random(place), until, times, outcomes)  # noqa: S311 - a mix, no secret
                for place in range(CONNECTIONS)
            )
        )
        ordered = sorted(times)
        seen.append(
            Minute(
                answers=len(ordered),
                wrong=outcomes[False],
                p50_ms=ordered[len(ordered) // 2] * 1000,
                p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
                memory_mb=memory_mb(server.pid),
            )
        )
    return seen


async def _ask(
    port: int,
    kinds: Sequence[Asked],
    chance: random.Random,
    until: float,
    times: list[float],
    outcomes: "Counter[bool]",
) -> None:
    """One connection's requests of a minute, at its share of the rate; connects anew if lost."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    pause = CONNECTIONS / REQUESTS_PER_S
    due = time.monotonic() + chance.random() * pause
    while (now := time.monotonic()) < until:
        await asyncio.sleep(max(0.0, due - now))
        # A late answer puts the next request off, but not all that follow.
        due = max(due, now) + pause
        asked = chance.choice(kinds)
        begun = time.perf_counter()
        try:
            writer.write(asked.request)
            status, body = await _answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            outcomes[False] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        times.append(time.perf_counter() - begun)
        outcomes[status == asked.status and body.count(b'"location"') == asked.rows] += 1
    writer.close()
    await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)
