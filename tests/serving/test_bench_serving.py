"""The benchmark's own load: it counts answers, and says when they are no 200."""

from running_server import RunningServer

from ops.load import Load, cpu_s, measure, memory_mb, running_echo


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
