"""The agent as its own process, `python -m trainer.agent`, with real training, on a fake AWS."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from events import names
from events.stack import Stack
from tests.agent.test_job_process import rows

SOON_S = 60


def eventually(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SOON_S
    while not happened():
        assert process.poll() is None, "the agent ended"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def stack(aws):
    """A deployed stack, as it describes itself in its parameter."""
    data, artifacts = aws.bucket("data"), aws.bucket("artifacts")
    sqs, events = aws.client("sqs"), aws.client("events")
    bus = f"bus-{data.name}"
    events.create_event_bus(Name=bus)
    stack = Stack(
        stage="test",
        data_bucket=data.name,
        artifact_bucket=artifacts.name,
        queue_url=sqs.create_queue(QueueName=f"uploads-{data.name}")["QueueUrl"],
        bus=bus,
        ledger_table="ledger",
        event_log="log",
        endpoint_prefix="rssi",
        topic_arn="arn:aws:sns:eu-west-1:123456789012:topic",
    )
    aws.client("ssm").put_parameter(
        Name=f"/rssi-mlops/{data.name}/stack", Type="String", Value=stack.model_dump_json()
    )
    return stack, data, artifacts


@pytest.fixture
def start_agent(aws, tmp_path):
    started: list[subprocess.Popen[str]] = []

    def start(**overrides: str) -> subprocess.Popen[str]:
        environment = {"PATH": os.environ["PATH"], **aws.environment}
        settings = {
            "RSSI_WORK_DIR": str(tmp_path / "runs"),
            "RSSI_QUIET_PERIOD_S": "0.2",
            **overrides,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer.agent"],
            env={**environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def object_created(bucket: str, key: str) -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    fields = {"id": "1", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    where = {"account": "111122223333", "region": "eu-west-1", "time": "2026-11-01T12:00:00Z"}
    return json.dumps({**fields, **where})


def released(artifacts) -> list[str]:
    return [
        found.key
        for found in artifacts.objects("sites/lab/releases/")
        if found.key.endswith("/release.json")
    ]


def test_a_message_wakes_the_agent_and_sigterm_ends_it_during_a_long_poll(aws, stack, start_agent):
    described, data, _ = stack
    sqs = aws.client("sqs")
    agent = start_agent(RSSI_STACK_PARAMETER=f"/rssi-mlops/{data.name}/stack", RSSI_RESYNC_S="3600")
    assert json.loads(agent.stdout.readline())["event"] == "ready"

    # Set aside by its name alone, so that nothing has to be trained to see that it was noticed.
    key = f"{names.surveys_prefix('lab')}a.txt"
    data.put(key, b"no survey", "text/plain")
    body = object_created(data.name, key)
    sqs.send_message(QueueUrl=described.queue_url, MessageBody=body)

    eventually(lambda: (described.bus, "SurveyQuarantined") in [e[:2] for e in aws.heard], agent)
    agent.send_signal(signal.SIGTERM)
    printed, _ = agent.communicate(timeout=10)
    assert agent.returncode == 0
    assert json.loads(printed.splitlines()[-1])["event"] == "stopped"


def test_an_agent_that_was_killed_amid_a_run_finishes_it_when_it_is_back(stack, start_agent):
    described, data, artifacts = stack
    overrides = {
        "RSSI_DATA_BUCKET": data.name,
        "RSSI_ARTIFACT_BUCKET": artifacts.name,
        "RSSI_BUS": described.bus,
    }
    data.put(f"{names.surveys_prefix('lab')}a.csv", rows(), "text/csv")
    first = start_agent(**overrides)
    while json.loads(first.stdout.readline())["event"] != "attempt started":
        pass
    first.kill()
    first.wait()

    second = start_agent(**overrides)
    while json.loads(second.stdout.readline())["event"] != "run reported":
        pass

    assert len(released(artifacts)) == 1


def test_an_agent_that_does_not_know_its_buckets_says_which_setting_is_missing(start_agent):
    agent = start_agent()

    printed, _ = agent.communicate(timeout=SOON_S)

    assert agent.returncode == 78
    assert "RSSI_DATA_BUCKET" in printed


def test_the_agent_pays_neither_for_mxnet_nor_for_polars():
    heavy = (
        "import sys, trainer.agent.__main__; print({'mxnet', 'polars', 'numpy'} & {*sys.modules})"
    )

    printed = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() == "set()"
