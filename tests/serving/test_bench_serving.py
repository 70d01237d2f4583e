"""The benchmark's own load: it counts answers, and says when they are no 200."""

import asyncio

from running_server import RunningServer

from ops.bench_soak import Asked, soak
from ops.load import Load, Server, cpu_s, measure, memory_mb, running_echo


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


def test_a_server_without_a_thought_answers_as_many_bytes_as_it_is_told() -> None:
    with running_echo(answer_bytes=70_000, processes=2) as echo:
        measured = measure(echo.port, Load("echo", 3, 1, b" " * 70_000), seconds=0.2)

        assert (measured.errors, measured.answer_bytes) == (0, 70_000)
        assert memory_mb(echo.pid) > 1
        assert cpu_s(echo.pid) >= 0


def test_a_soak_tells_minute_by_minute_how_many_answers_were_not_what_they_had_to_be(
    server: RunningServer,
) -> None:
    running = Server(server.port, server.process.pid, 0.0)
    good = Asked("good", Load("", 1, 1, b'{"b3001": -70}', path=server.path).request(), 200, 1)
    bad = Asked("bad", Load("", 1, 1, b"{", path=server.path).request(), 400)
    misjudged = Asked("one row too few", good.request, 200, 2)

    right = asyncio.run(soak(running, [good, bad], minutes=2, minute_s=0.3))
    wrong = asyncio.run(soak(running, [misjudged], minutes=1, minute_s=0.3))

    assert [minute.wrong for minute in right] == [0, 0]
    assert all(minute.answers > 1 and minute.memory_mb > 1 for minute in right)
    assert [minute.wrong == minute.answers for minute in wrong] == [True]
