"""`rssi agent`, as people run it: a process that works until it is stopped."""

import os
import signal
import subprocess
import sys

import pytest

from ops.account.agent import agent_environment


@pytest.fixture
def settings(aws, tmp_path):
    data, artifacts = aws.bucket("data"), aws.bucket("artifacts")
    return {
        "PATH": os.environ["PATH"],
        **aws.environment,
        "RSSI_DATA_BUCKET": data.name,
        "RSSI_ARTIFACT_BUCKET": artifacts.name,
        "RSSI_BUS": "any",
        "RSSI_WORK_DIR": str(tmp_path / "runs"),
    }


def start(settings: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "agent", *options],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_works_until_it_is_stopped(settings):
    agent = start(settings, "--runner", "process")
    assert '"event": "ready"' in agent.stdout.readline()

    agent.send_signal(signal.SIGTERM)
    printed, _ = agent.communicate(timeout=20)

    assert agent.returncode == 0
    assert '"event": "stopped"' in printed


def test_what_is_missing_is_logged_and_shown_by_the_exit_code(settings, tmp_path):
    agent = start(settings, "--runner", "kubernetes", "--pod-template", str(tmp_path / "missing"))

    printed, complaint = agent.communicate(timeout=20)

    assert agent.returncode == 1
    assert "KUBECONFIG" in printed
    assert "exit code 78" in complaint


def test_without_any_names_it_uses_the_stages_stack(monkeypatch):
    monkeypatch.delenv("RSSI_DATA_BUCKET", raising=False)
    assert agent_environment("prod") == {"RSSI_STACK_PARAMETER": "/rssi-mlops/prod/stack"}

    monkeypatch.setenv("RSSI_DATA_BUCKET", "mine")
    assert agent_environment("prod") == {}
