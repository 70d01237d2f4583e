"""The benchmark's own load: it counts answers, and says when they are not 200."""

import asyncio
from collections.abc import Sequence

import pytest

from ops.dev.bench_soak import SoakMinute, SoakRequest, soak, verdict
from ops.dev.load import Load, ServerProcess, cpu_s, measure, memory_mb, running_echo
from tests.serving.running_server import RunningServer


def test_answers_are_counted_and_timed(server: RunningServer) -> None:
    load = Load("few", 4, 1, b'{"b3001": -70}', path=server.path)

    measured = measure(server.port, load, seconds=0.3)

    assert measured.errors == 0
    assert measured.requests_per_s > 1
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.answer_bytes > 100


def test_refusals_are_errors(server: RunningServer) -> None:
    measured = measure(server.port, Load("bad", 1, 1, b"{", path=server.path), seconds=0.2)

    assert measured.errors > 1


def test_an_echo_server_answers_the_requested_number_of_bytes() -> None:
    with running_echo(answer_bytes=70_000, processes=2) as echo:
        measured = measure(echo.port, Load("echo", 3, 1, b" " * 70_000), seconds=0.2)

        assert (measured.errors, measured.answer_bytes) == (0, 70_000)
        assert memory_mb(echo.pid) > 1
        assert cpu_s(echo.pid) >= 0


def test_a_soak_counts_wrong_answers_minute_by_minute(
    server: RunningServer,
) -> None:
    running = ServerProcess(server.port, server.process.pid, 0.0)
    good = SoakRequest(
        "good", Load("", 1, 1, b'{"b3001": -70}', path=server.path).request(), 200, 1
    )
    bad = SoakRequest("bad", Load("", 1, 1, b"{", path=server.path).request(), 400)
    misjudged = SoakRequest("one row too few", good.request, 200, 2)

    with running_echo(answer_bytes=300, processes=1) as echo:
        right = asyncio.run(soak(running, [good, bad], minutes=2, control=echo, minute_s=0.3))
        wrong = asyncio.run(soak(running, [misjudged], minutes=1, control=echo, minute_s=0.3))

    assert [minute.wrong for minute in right] == [0, 0]
    assert all(minute.answers > 1 and minute.memory_mb > 1 for minute in right)
    assert all(minute.ratio > 0 for minute in right)
    assert [minute.wrong == minute.answers for minute in wrong] == [True]


def minutes(
    p99_ms: Sequence[float], control_p99_ms: Sequence[float], memory_mb: Sequence[float]
) -> list[SoakMinute]:
    """As a soak sees them."""
    rows = zip(p99_ms, control_p99_ms, memory_mb, strict=True)
    return [
        SoakMinute(60.0, 90_000, 0, 1.0, ours, control, memory) for ours, control, memory in rows
    ]


STEADY, RISING = [2.0, 2.2, 9.0] * 3, [2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.9, 2.8, 2.7]
CONTROL, CALMING = [1.0] * 9, [1.0] * 6 + [0.5] * 3
MEMORY, GROWING = [100.0, 101.0, 100.0] * 3, [100.0 + more for more in range(9)]


@pytest.mark.parametrize(
    ("p99_ms", "control_p99_ms", "memory_mb", "said"),
    [
        (STEADY, CONTROL, MEMORY, ["flat", "flat"]),
        (RISING, CONTROL, MEMORY, ["slower", "flat"]),
        (RISING, RISING, MEMORY, ["flat", "flat"]),
        (STEADY, CALMING, MEMORY, ["flat", "flat"]),
        (STEADY, CONTROL, GROWING, ["flat", "more"]),
        ([2.0], [1.0], [100.0], ["flat", "flat"]),
    ],
    ids=["steady", "slower", "a busier machine", "a calmer machine", "a leak", "one minute"],
)
def test_only_a_rise_relative_to_the_control_is_the_servers(
    p99_ms: Sequence[float],
    control_p99_ms: Sequence[float],
    memory_mb: Sequence[float],
    said: Sequence[str],
) -> None:
    printed = verdict(minutes(p99_ms, control_p99_ms, memory_mb))

    assert [part.rpartition(": ")[2] for part in printed.split("; ")] == said
