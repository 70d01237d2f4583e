"""The three paths that the agent answers on, over HTTP."""

import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from trainer.agent.errors import ConfigurationError
from trainer.agent.health import HealthServer, HealthState
from trainer.agent.metrics import AgentMetrics


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
def served(seconds):
    health, metrics = HealthState(seconds), AgentMetrics()
    server = HealthServer("127.0.0.1", 0, health, metrics)
    yield health, metrics, server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_loop_that_is_heard_of_is_healthy_and_one_that_hangs_is_not(served, seconds):
    health, _, server = served
    health.expect_heartbeat(within_s=300)
    seconds.now = 600.0
    assert get(server, "/healthz")[0] == 200

    seconds.now = 300.0 + 3600.0
    assert get(server, "/healthz")[0] == 503


def test_readiness_comes_with_the_first_look_at_everything(served):
    health, _, server = served
    assert get(server, "/readyz")[0] == 503

    health.ready = True

    assert get(server, "/readyz")[0] == 200


def test_metrics_are_in_prometheus_text_format(served):
    _, metrics, server = served
    metrics.received(12.5)
    metrics.leads(leading=True)
    metrics.credentials_end(datetime(2026, 11, 1, tzinfo=UTC))
    metrics.failed("kubernetes")

    status, text = get(server, "/metrics")

    assert status == 200
    assert "rssi_queue_lag_seconds 12.5" in text
    assert "rssi_leading 1.0" in text
    assert "rssi_credentials_expiry_timestamp_seconds 1.793" in text
    assert 'rssi_border_errors_total{border="kubernetes"} 1.0' in text


def test_nothing_else_can_be_asked_for(served):
    assert get(served[2], "/")[0] == 404


def test_a_port_that_is_taken_is_named(served):
    with pytest.raises(ConfigurationError, match="RSSI_HEALTH_PORT"):
        HealthServer("127.0.0.1", served[2].port, HealthState(), AgentMetrics())
