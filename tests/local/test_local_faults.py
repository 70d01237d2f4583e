"""Faults on request in the embedded cloud: what each does, to whom, and how it ends."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from typer.testing import CliRunner

from ops.cli.main import app
from ops.local.cloud import EmbeddedCloud
from ops.local.errors import ServiceError
from ops.local.faults.active import FaultRequest
from ops.local.faults.client import FaultClient, NoEmbeddedCloudError
from ops.local.faults.kinds import FaultType
from ops.local.sagemaker.container_faults import wrong_answer
from tests.local.local_helpers import eventually
from tests.local.sagemaker_helpers import Clients, configure, invoke, settled, status


@pytest.fixture
def faults(cloud: EmbeddedCloud) -> Iterator[FaultClient]:
    yield FaultClient(cloud.address)
    cloud.faults.clear()


@pytest.fixture
def new(client: Clients, bucket: str, name: str, live: str) -> str:
    """Another configuration than the live one."""
    return configure(client, bucket, f"{name}-new", release="new")


def roll(sagemaker: Any, endpoint: str, config: str) -> Any:
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    return settled(sagemaker, endpoint)


def fault(kind: FaultType, endpoint: str | None, **more: object) -> FaultRequest:
    return FaultRequest.model_validate({"kind": kind, "endpoint_name": endpoint, **more})


def outcome(client: Clients, endpoint: str) -> str:
    try:
        return invoke(client, endpoint, b'{"rows": ["O02", 3, 0.5]}')
    except ClientError as error:
        return str(error.response["Error"]["Code"])


RIGHT = 'new:{"rows": ["O02", 3, 0.5]}'


def test_a_fault_of_containers_takes_the_next_release_and_stays_with_it(
    client: Clients, sagemaker: Any, faults: FaultClient, live: str, new: str
) -> None:
    faults.set(fault(FaultType.WRONG, live))
    assert invoke(client, live) == "old:x", "the release that serves is not meant"
    roll(sagemaker, live, new)
    assert outcome(client, live) == RIGHT[::-1]
    roll(sagemaker, live, f"{live}-old")
    assert invoke(client, live) == "old:x", "the release that is put back is not meant"
    roll(sagemaker, live, new)
    assert outcome(client, live) == RIGHT[::-1]
    assert faults.clear(live) == 1
    assert outcome(client, live) == RIGHT


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(FaultType.WRONG, 20), (FaultType.WRONG_HALF, 10), (FaultType.WRONG_TENTH, 2)],
)
def test_so_many_answers_are_wrong(
    client: Clients, faults: FaultClient, live: str, kind: FaultType, wrong: int
) -> None:
    faults.set(fault(kind, live, live=True))
    answers = [invoke(client, live) for _ in range(20)]
    assert answers.count("x:dlo") == wrong
    assert answers.count("old:x") == 20 - wrong


def test_a_wrong_answer_has_the_form_of_a_right_one() -> None:
    right = {
        "release": "site-1",
        "predictions": [{"location": "O02", "x": 3.0, "y": None, "confidence": 0.5}],
    }
    wrong = json.loads(wrong_answer(json.dumps(right).encode()))
    assert wrong == {
        "release": "site-1",
        "predictions": [{"location": "20O", "x": 13.0, "y": None, "confidence": 0.25}],
    }


def test_a_slow_container_is_late_by_so_much(
    client: Clients, faults: FaultClient, live: str
) -> None:
    faults.set(fault(FaultType.SLOW, live, live=True, seconds=0.4))
    started = time.monotonic()
    assert invoke(client, live) == "old:x"
    assert time.monotonic() - started >= 0.4


def test_a_hanging_container_answers_when_the_fault_is_cleared(
    client: Clients, cloud: EmbeddedCloud, faults: FaultClient, live: str
) -> None:
    faults.set(fault(FaultType.HANG, live, live=True))
    runtime = client("sagemaker-runtime")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(runtime.invoke_endpoint, EndpointName=live, Body=b"x")
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.5)
        faults.clear()
        assert answer.result(timeout=5)["Body"].read() == b"old:x"


def test_a_crashing_container_fails_its_request_and_is_replaced(
    client: Clients, cloud: EmbeddedCloud, faults: FaultClient, live: str
) -> None:
    (before,) = cloud.serving_pids(live)
    faults.set(fault(FaultType.CRASH, live, live=True))
    with pytest.raises(ClientError, match="Received server error"):
        invoke(client, live)
    faults.clear()
    (after,) = eventually(
        lambda: [pid for pid in cloud.serving_pids(live) if pid != before] or None
    )
    assert after != before
    assert invoke(client, live) == "old:x"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FaultType.CAPACITY, "InsufficientInstanceCapacity"),
        (FaultType.NO_START, "did not pass the ping health check"),
    ],
)
def test_a_fleet_that_does_not_start_leaves_the_old_one_in_service(
    client: Clients,
    sagemaker: Any,
    faults: FaultClient,
    live: str,
    new: str,
    kind: FaultType,
    reason: str,
) -> None:
    faults.set(fault(kind, live))
    end = roll(sagemaker, live, new)
    assert end["EndpointConfigName"] == f"{live}-old"
    assert reason in end["FailureReason"]
    assert invoke(client, live) == "old:x"
    faults.clear(live)
    assert roll(sagemaker, live, new)["EndpointConfigName"] == new


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FaultType.QUOTA, "ResourceLimitExceeded"),
        (FaultType.THROTTLING, "ThrottlingException"),
        (FaultType.ACCESS_DENIED, "AccessDeniedException"),
    ],
)
def test_a_call_is_refused_so_often_for_this_endpoint_only(
    client: Clients,
    sagemaker: Any,
    faults: FaultClient,
    live: str,
    new: str,
    kind: FaultType,
    code: str,
) -> None:
    faults.set(fault(kind, "another-endpoint"))
    faults.set(fault(kind, live, times=2))
    for _ in range(2):
        with pytest.raises(ClientError) as refused:
            sagemaker.update_endpoint(EndpointName=live, EndpointConfigName=new)
        assert refused.value.response["Error"]["Code"] == code
    assert status(sagemaker, live) == "InService"
    assert roll(sagemaker, live, new)["EndpointConfigName"] == new
    assert [each["EndpointName"] for each in faults.active()] == ["another-endpoint"]


def test_a_call_of_another_service_can_be_refused_too(client: Clients, faults: FaultClient) -> None:
    faults.set(fault(FaultType.ACCESS_DENIED, None, operations=["PutEvents", "ListTables"]))
    for call in (lambda: client("events").put_events(Entries=[{}]), client("dynamodb").list_tables):
        with pytest.raises(ClientError, match="AccessDeniedException"):
            call()
    faults.clear()
    client("dynamodb").list_tables()


def test_a_fault_that_makes_no_sense_is_refused(faults: FaultClient) -> None:
    with pytest.raises(ServiceError, match="serves nothing now"):
        faults.set(fault(FaultType.HANG, "nowhere", live=True))
    with pytest.raises(ValueError, match="needs an endpoint name"):
        fault(FaultType.HANG, None)
    assert faults.active() == []


@pytest.mark.parametrize("address", [None, "https://sagemaker.us-east-1.amazonaws.com"])
def test_no_fault_is_ever_set_in_an_account(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    with pytest.raises(NoEmbeddedCloudError, match="never for an AWS account"):
        FaultClient(address)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    run = CliRunner().invoke(app, ["fault", "--site", "lab", "hang"])
    assert "never for an AWS account" in str(run.exception)


def test_the_command_lists_and_clears_faults(
    monkeypatch: pytest.MonkeyPatch, cloud: EmbeddedCloud, faults: FaultClient
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.address)
    faults.set(fault(FaultType.HANG, "rssi-dev-lab"))
    listed = CliRunner().invoke(app, ["fault"])
    assert listed.output == "hang at rssi-dev-lab: the next release\n"
    cleared = CliRunner().invoke(app, ["fault", "--clear"])
    assert cleared.output == "1 fault(s) ended.\nNo fault holds.\n"


def test_a_hundred_hanging_requests_leave_the_rest_of_the_cloud_answering(
    cloud: EmbeddedCloud, sagemaker: Any, faults: FaultClient, live: str
) -> None:
    faults.set(fault(FaultType.HANG, live, live=True))
    impatient = boto3.client(
        "sagemaker-runtime",
        endpoint_url=cloud.address,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(read_timeout=1, retries={"total_max_attempts": 1}, max_pool_connections=100),
    )

    def hangs(_: int) -> bool:
        with pytest.raises(ReadTimeoutError):
            impatient.invoke_endpoint(EndpointName=live, Body=b"x")
        return True

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(hangs, range(100)))
    started = time.monotonic()
    assert status(sagemaker, live) == "InService"
    assert time.monotonic() - started < 2
    impatient.close()
