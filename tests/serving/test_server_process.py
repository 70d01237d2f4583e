"""The container's contract, over HTTP, against the process that the container runs."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.serving.running_server import PATIENCE_S, RunningServer, until
from tests.serving.small_model import RELEASE, small_network, write_small_bundle
from trainer.localization.bundle.reading import load_bundle
from trainer.serving.exchange import MAX_BODY_BYTES


def test_ping_answers_200_once_the_model_answers_its_own_smoke_rows(bundle: Path) -> None:
    with RunningServer(bundle) as running:
        answer = running.ask("GET", "/ping")

    assert answer.status == 200
    assert answer.document == {
        "status": "ok",
        "release": RELEASE,
        "digest": load_bundle(bundle).digest,
    }


def test_the_smoke_rows_are_answered_over_http_as_recorded(
    server: RunningServer, bundle: Path
) -> None:
    model = load_bundle(bundle)

    answer = server.invoke({"instances": [dict(row.rssi) for row in model.smoke]})

    assert answer.document["predictions"] == [
        {
            "location": row.answer.location,
            "x": row.answer.x,
            "y": row.answer.y,
            "confidence": row.answer.confidence,
        }
        for row in model.smoke
    ]
    attributes = answer.headers["x-amzn-sagemaker-custom-attributes"]
    assert attributes == f"release={RELEASE};digest={model.digest}"


def test_requests_on_one_connection_are_answered_one_after_the_other(
    server: RunningServer,
) -> None:
    connection = server.connection()
    body = json.dumps({"b3001": -70})
    for _ in range(20):
        connection.request("POST", server.path, body, {"content-type": "application/json"})
        assert len(json.load(connection.getresponse())["predictions"]) == 1
    connection.close()


def test_a_bad_request_does_not_hurt_the_next(server: RunningServer) -> None:
    assert server.invoke({"instances": [{"b3001": "x"}]}).status == 400
    assert server.invoke({"instances": [{"b3001": -70}]}).status == 200


def test_a_body_above_sagemakers_limit_is_refused_and_read_over(server: RunningServer) -> None:
    assert server.ask("POST", server.path, b" " * (MAX_BODY_BYTES + 1), "text/csv").status == 413
    assert server.ask("GET", "/ping").status == 200


def test_a_body_at_the_limit_is_answered(server: RunningServer) -> None:
    row = b'{"instances":[{"b3001":-70}]'
    body = row + b" " * (MAX_BODY_BYTES - len(row) - 1) + b"}"

    assert server.ask("POST", server.path, body, "application/json").status == 200


def test_a_client_that_leaves_in_the_middle_does_not_hurt_the_next(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{")

    assert server.ask("GET", "/ping").status == 200


def test_a_head_of_ping_has_no_body(server: RunningServer) -> None:
    assert server.ask("HEAD", "/ping").document == {}


def test_sigterm_ends_the_server_in_order(bundle: Path) -> None:
    with RunningServer(bundle) as running:
        assert running.ask("GET", "/ping").status == 200
        code, log = running.stop()

    assert code == 0
    assert log[-1]["event"] == "stopped"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_in_flight_at_sigterm_is_still_answered(bundle: Path, workers: int) -> None:
    body = b'{"b3001": -70}'
    with RunningServer(bundle, workers=workers) as running:
        running.ask("GET", "/ping")
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as client:
            client.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            # The server asks for the body, so the request is its now.
            assert client.recv(100).startswith(b"HTTP/1.1 100")
            running.process.terminate()
            client.sendall(body)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert running.process.wait(PATIENCE_S) == 0

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"predictions":[{' in answer


def test_all_workers_answer_and_all_of_them_end(bundle: Path) -> None:
    with RunningServer(bundle, workers=3) as running:
        until(lambda: len(_children(running.process.pid)) == 3)
        workers = _children(running.process.pid)
        # Or workers would be forked without the threads that their libraries count on.
        assert len([*Path(f"/proc/{running.process.pid}/task").iterdir()]) == 1
        answers = _ask_at_once(running, 30)
        code, _ = running.stop()

    assert answers == [200] * 30
    assert code == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_a_worker_that_dies_is_replaced(bundle: Path) -> None:
    with RunningServer(bundle, workers=2) as running:
        until(lambda: len(_children(running.process.pid)) == 2)
        lost = _children(running.process.pid)[0]
        os.kill(lost, 9)
        until(
            lambda: (
                len(_children(running.process.pid)) == 2
                and lost not in _children(running.process.pid)
            )
        )
        assert running.ask("GET", "/ping").status == 200
        code, log = running.stop()

    assert code == 0
    assert [line["pid"] for line in log if line["event"] == "worker died"] == [lost]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ask_at_once(running: RunningServer, times: int) -> list[int]:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(running.invoke({"b3001": -70}).status))
        for _ in range(times)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return statuses


def test_a_model_whose_answers_differ_from_the_recorded_ones_is_not_served_and_says_why(
    tmp_path: Path,
) -> None:
    wrong = write_small_bundle(tmp_path / "model.tar.gz", recorded_by=small_network(seed=5))
    with RunningServer(wrong) as running:
        ping, answer = running.ask("GET", "/ping"), running.invoke({"b3001": -70})

        assert running.started["event"] == "not serving"
    assert (ping.status, answer.status) == (503, 503)
    assert "is recorded" in str(ping.document["error"])


def test_a_missing_model_is_reported_by_a_server_that_stays_up(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as running:
        ping = running.ask("GET", "/ping")

    assert ping.status == 503
    assert "bundle.json" in str(ping.document["error"])


def test_every_log_line_is_json(bundle: Path) -> None:
    with RunningServer(bundle) as running:
        running.invoke({"instances": []})
        _, log = running.stop()

    assert [line["event"] for line in log] == ["refused", "metrics", "stopped"]
    assert all("level" in line for line in log)


@pytest.mark.parametrize("value", ["eight", "-1", "99999", "8_0"])
def test_an_impossible_port_is_refused_by_name(value: str) -> None:
    done = _serve({"SAGEMAKER_BIND_TO_PORT": value})

    assert done.returncode == 2
    assert "SAGEMAKER_BIND_TO_PORT" in done.stderr


def test_a_port_that_is_taken_is_reported(server: RunningServer) -> None:
    done = _serve({"SAGEMAKER_BIND_TO_PORT": str(server.port), "RSSI_BIND_HOST": "127.0.0.1"})

    assert done.returncode == 1
    assert f"port {server.port}" in done.stderr


def _serve(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer.serving", "serve"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
