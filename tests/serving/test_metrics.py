"""What the server counts, for Prometheus and for CloudWatch."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.running_server import RunningServer
from tests.serving.small_model import RELEASE
from trainer.serving.metrics import Counters
from trainer.serving.settings import read_settings


def scraped(running: RunningServer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    connection = running.connection()
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.getheader("content-type", "").startswith("text/plain")
    text = response.read().decode()
    connection.close()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_rows_and_errors_of_all_workers_are_counted(bundle: Path) -> None:
    with RunningServer(bundle, workers=2) as running:
        for _ in range(6):
            running.invoke({"instances": [{"b3001": -70}] * 3})
        running.invoke({"instances": [{"b3001": "x"}]})
        running.ask("POST", "/invocations", b"", "text/html")
        found = scraped(running)

    assert found["rssi_requests_total", (("status", "200"),)] == 6
    assert found["rssi_errors_total", (("kind", "bad_request"),)] == 1
    assert found["rssi_errors_total", (("kind", "content_type"),)] == 1
    assert found["rssi_request_rows_sum", ()] == 18
    assert found["rssi_request_rows_bucket", (("le", "2"),)] == 0
    assert found["rssi_request_rows_bucket", (("le", "5"),)] == 6
    assert found["rssi_request_seconds_count", ()] == 8
    assert 0 < found["rssi_request_seconds_sum", ()] < 8
    [labels] = [labels for name, labels in found if name == "rssi_model_info"]
    assert dict(labels)["release"] == RELEASE


def test_metrics_may_be_off(bundle: Path) -> None:
    with RunningServer(bundle, environment={"RSSI_METRICS": "off"}) as running:
        assert running.invoke({"b3001": -70}).status == 200
        assert running.ask("GET", "/metrics").status == 404
        _, log = running.stop()

    assert [line["event"] for line in log] == ["refused", "stopped"]


@pytest.mark.parametrize(
    ("word", "on"), [("off", False), ("0", False), ("FALSE", False), ("", True), ("On", True)]
)
def test_the_switch_is_understood_in_several_words(word: str, *, on: bool) -> None:
    assert read_settings({"RSSI_METRICS": word}).metrics is on


def test_only_get_is_taken(server: RunningServer) -> None:
    assert server.ask("POST", "/metrics").status == 405


def test_what_happened_is_logged_for_cloudwatch_on_the_way_down(bundle: Path) -> None:
    with RunningServer(bundle) as running:
        running.invoke({"instances": [{"b3001": -70}] * 3})
        running.invoke({"instances": []})
        _, log = running.stop()

    [line] = [line for line in log if line["event"] == "metrics"]
    assert (line["Requests"], line["Errors4XX"], line["Errors5XX"], line["Rows"]) == (2, 1, 0, 3)
    assert line["Release"] == RELEASE
    directive = line["_aws"]["CloudWatchMetrics"][0]  # type: ignore[index]
    assert all(metric["Name"] in line for metric in directive["Metrics"])
    assert directive["Dimensions"] == [["Release"]]


def test_a_line_holds_only_what_is_new_and_silence_is_no_line() -> None:
    counters = Counters(2).of(1)
    counters.count(200, 0.002, 5)
    first = counters.emf({"release": "a"}, clock=lambda: 12.0)
    silence = counters.emf({"release": "a"})
    counters.count(500, 0.2, 0)
    second = counters.emf({"release": "a"})

    assert silence is None
    assert first is not None
    assert second is not None
    assert json.loads(first)["_aws"]["Timestamp"] == 12_000
    assert (json.loads(first)["Requests"], json.loads(first)["Latency"]) == (1, [2.0])
    assert (json.loads(second)["Errors5XX"], json.loads(second)["Latency"]) == (1, [200.0])


def test_labels_are_escaped() -> None:
    text = Counters(1).exposition({"reason": 'a "b"\\\nc'}).decode()

    [family] = [
        family
        for family in text_string_to_metric_families(text)
        if family.name == "rssi_model_info"
    ]
    assert family.samples[0].labels == {"reason": 'a "b"\\\nc'}
