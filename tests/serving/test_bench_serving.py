"""The benchmark's own load: it counts answers, and says when they are no 200."""

from running_server import RunningServer

from ops.bench_serving import Load, measure


def test_answers_are_counted_and_timed(server: RunningServer) -> None:
    load = Load("few", 4, 1, b'{"b3001": -70}', path=server.path)

    measured = measure(server.port, load, seconds=0.3)

    assert measured.errors == 0
    assert measured.requests_per_s > 1
    assert 0 < measured.p50_ms <= measured.p99_ms


def test_refusals_are_errors(server: RunningServer) -> None:
    measured = measure(server.port, Load("bad", 1, 1, b"{", path=server.path), seconds=0.2)

    assert measured.errors > 1
