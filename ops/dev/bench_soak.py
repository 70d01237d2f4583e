"""A soak test: good and bad requests over many connections, for minutes.

Looks for wrong or missing answers, growing memory and growing latency. The rate is bounded: at its
limit a machine shows nothing in the tenth minute that it did not show in the first. On a shared
machine latencies vary anyway, so the same client sends requests to an echo server as a control, and
only a rise relative to the control counts.
"""

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from ops.dev.bench_subject import WORKERS, Subject, fingerprints, make_subject, running_ours
from ops.dev.load import ServerProcess, memory_mb, running_echo
from ops.errors import OpsError

MINUTES = 10
FLAT = 1.25
"""Highest ratio of the last third's median latency to the first third's,"""
FLAT_MEMORY = 1.02
"""and of memory."""


@dataclass(frozen=True, slots=True)
class RequestRate:
    """A number of connections, and the rate of all of them together."""

    connections: int
    requests_per_s: float


SOAKED = RequestRate(64, 1500)
"""About a fifth of what two cores can answer, so that queueing is not what is measured."""
CONTROL = RequestRate(4, 100)
"""6000 answers a minute: enough for a 99th percentile, and hardly any work."""


@dataclass(frozen=True, slots=True)
class SoakRequest:
    """One kind of request, and the status and number of predictions that it must get."""

    name: str
    request: bytes
    status: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class SoakMinute:
    """Figures of one minute."""

    seconds: float
    answers: int
    wrong: int
    p50_ms: float
    p99_ms: float
    control_p99_ms: float
    """The echo server's."""
    memory_mb: float
    """The server's own pages, without mapped files."""

    @property
    def ratio(self) -> float:
        """Our p99 divided by the control's."""
        return self.p99_ms / self.control_p99_ms


def bench_soak(console: Console, minutes: int = MINUTES) -> None:
    """Run the soak and print each minute; raises an error if any answer was wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = make_subject(Path(scratch))
        kinds = _kinds(subject)
        with running_ours(subject) as server, running_echo(_ECHOED_BYTES, 1) as echo:
            seen = uvloop.run(soak(server, kinds, minutes, control=echo))
    rate = f"{SOAKED.connections} connections, {SOAKED.requests_per_s} requests/s"
    table = Table(
        "minute", "answers", "a second", "wrong", "p50 ms", "p99 ms", "control's p99 ms", "times",
        "MB", title=f"{rate}, {WORKERS} workers", box=None,
    )  # fmt: skip
    for number, minute in enumerate(seen, start=1):
        table.add_row(
            str(number),
            f"{minute.answers:,}",
            f"{minute.answers / minute.seconds:,.0f}",
            str(minute.wrong),
            f"{minute.p50_ms:.2f}",
            f"{minute.p99_ms:.2f}",
            f"{minute.control_p99_ms:.2f}",
            f"{minute.ratio:.2f}",
            f"{minute.memory_mb:.1f}",
        )
    console.print(table)
    console.print(verdict(seen))
    wrong = sum(minute.wrong for minute in seen)
    if wrong:
        raise OpsError(f"{wrong} answers were wrong.")


def verdict(seen: Sequence[SoakMinute]) -> str:
    """Compare the last third of the minutes with the first, by medians."""
    delays = _Trend.of([one.p99_ms for one in seen])
    ratios = _Trend.of([one.ratio for one in seen])
    memory = _Trend.of([one.memory_mb for one in seen])
    # A machine that becomes busier slows both; one that becomes calmer need not speed both up.
    slower = delays.rises(FLAT) and ratios.rises(FLAT)
    trends = [
        f"p99 {delays} ms, {ratios} times the control's: {'slower' if slower else 'flat'}",
        f"memory {memory} MB: {'more' if memory.rises(FLAT_MEMORY) else 'flat'}",
    ]
    return "from the first third to the last: " + "; ".join(trends)


@dataclass(frozen=True, slots=True)
class _Trend:
    """The medians of the first third of some values and of the last."""

    first: float
    last: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Trend":
        third = max(1, len(values) // 3)
        return cls(statistics.median(values[:third]), statistics.median(values[-third:]))

    def rises(self, limit: float) -> bool:
        return self.last > self.first * limit

    def __str__(self) -> str:
        return f"{self.first:.2f} to {self.last:.2f}"


_ECHOED_BYTES = 300
"""About what ours answer to one fingerprint."""


def _kinds(subject: Subject) -> list[SoakRequest]:
    """Seven good requests in ten; the others are wrong in as many ways as they are many."""
    rows = [
        [-200 if np.isnan(dbm) else int(dbm) for dbm in row] for row in fingerprints(64).tolist()
    ]
    objects = [dict(zip(subject.model.beacons, row, strict=True)) for row in rows]
    good = [
        *(SoakRequest("one object", _post({"instances": [one]}), 200, 1) for one in objects[:5]),
        SoakRequest("two lists", _post({"instances": rows[:2]}), 200, 2),
        SoakRequest("a batch", _post({"instances": rows}), 200, len(rows)),
    ]
    bad = [
        SoakRequest("a number too high", _post({"instances": [[12] * len(rows[0])]}), 400),
        SoakRequest("no JSON", _raw(b'{"instances": [[-70,'), 400),
        SoakRequest("another type", _raw(b"<rssi/>", "application/xml"), 415),
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


@dataclass(slots=True)
class _Tally:
    """The answers of a minute."""

    times: list[float] = field(default_factory=list)
    wrong: int = 0

    def at_ms(self, share: float) -> float:
        return sorted(self.times)[int(len(self.times) * share)] * 1000


async def soak(
    server: ServerProcess,
    kinds: Sequence[SoakRequest],
    minutes: int,
    *,
    control: ServerProcess,
    minute_s: float = 60.0,
) -> list[SoakMinute]:
    """Send a random mix of ``kinds`` for some minutes of ``minute_s`` seconds each."""
    plain = [SoakRequest("control", kinds[0].request, 200)]
    seen = []
    for _ in range(minutes):
        ours, theirs = _Tally(), _Tally()
        begun = time.monotonic()
        until = begun + minute_s
        await asyncio.gather(
            _send_all(server.port, kinds, until, SOAKED, ours),
            _send_all(control.port, plain, until, CONTROL, theirs),
        )
        seen.append(
            SoakMinute(
                seconds=time.monotonic() - begun,
                answers=len(ours.times),
                wrong=ours.wrong,
                p50_ms=ours.at_ms(0.5),
                p99_ms=ours.at_ms(0.99),
                control_p99_ms=theirs.at_ms(0.99),
                memory_mb=memory_mb(server.pid, "Pss_Anon"),
            )
        )
    return seen


async def _send_all(
    port: int, kinds: Sequence[SoakRequest], until: float, rate: RequestRate, tally: _Tally
) -> None:
    pause = rate.connections / rate.requests_per_s
    places = range(rate.connections)
    await asyncio.gather(
        *(_send(port, kinds, random.Random(place), until, pause, tally) for place in places)  # noqa: S311 - a mix, no secret
    )


async def _send(
    port: int,
    kinds: Sequence[SoakRequest],
    choices: random.Random,
    until: float,
    pause: float,
    tally: _Tally,
) -> None:
    """Send one connection's requests of a minute at its share of the rate; reconnects if lost.

    Sends at least one, however late, so that no minute is without an answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.monotonic() + choices.random() * pause
    while True:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        # A late answer delays the next request, but not all that follow.
        due = max(due, time.monotonic()) + pause
        kind = choices.choice(kinds)
        begun = time.perf_counter()
        try:
            writer.write(kind.request)
            status, body = await _read_answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            tally.wrong += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        else:
            tally.times.append(time.perf_counter() - begun)
            tally.wrong += (status, body.count(b'"location"')) != (kind.status, kind.rows)
        if due >= until:
            break
    writer.close()
    await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)
