"""Variants of the embedded SageMaker: their number of instances, data capture, and time limits."""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops.local.cloud import EmbeddedCloud
from ops.local.processes import Processes
from ops.local.sagemaker.endpoint_process import (
    ContainerRequest,
    ContainerSpec,
    ContainerTimeoutError,
    ServingProcess,
)
from tests.local.conftest import SERVER
from tests.local.local_helpers import eventually
from tests.local.sagemaker_helpers import Clients, archive, configure, invoke, settled

CAPTURE = {
    "DataCaptureConfig": {
        "EnableCapture": True,
        "InitialSamplingPercentage": 20,
        "DestinationS3Uri": "s3://captured/here",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }
}
CAPTURED = {
    "EnableCapture": True,
    "CaptureStatus": "Started",
    "CurrentSamplingPercentage": 20,
    "DestinationS3Uri": "s3://captured/here",
}


def scale(client: Clients, endpoint: str, instances: int) -> Any:
    client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredInstanceCount": instances}
        ],
    )
    return settled(client("sagemaker"), endpoint)


def count(described: Any) -> int:
    (variant,) = described["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"]
    return int(variant["CurrentInstanceCount"])


def update(client: Clients, endpoint: str, config: str, **options: object) -> Any:
    client("sagemaker").update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **options)
    return settled(client("sagemaker"), endpoint)


def test_an_endpoint_is_scaled_without_losing_a_request(
    cloud: EmbeddedCloud, client: Clients, live: str
) -> None:
    stop = threading.Event()

    def keep_invoking() -> list[str]:
        answers: list[str] = []
        while not stop.is_set():
            answers.append(invoke(client, live))
        return answers

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(keep_invoking) for _ in range(2)]
        try:
            assert count(scale(client, live, 3)) == 3
            assert len(set(cloud.serving_pids(live))) == 3
            assert count(scale(client, live, 1)) == 1
            assert len(cloud.serving_pids(live)) == 1
        finally:
            stop.set()
        assert {answer for caller in callers for answer in caller.result()} == {"old:x"}


def test_an_update_resets_the_scaled_count_unless_it_is_retained(
    cloud: EmbeddedCloud, client: Clients, bucket: str, live: str
) -> None:
    new = configure(client, bucket, f"{live}-new", release="new")
    scale(client, live, 3)
    end = update(client, live, new, RetainAllVariantProperties=True)
    assert count(end) == 3
    assert len(cloud.serving_pids(live)) == 3
    excluded = [{"VariantPropertyType": "DesiredInstanceCount"}]
    end = update(
        client,
        live,
        f"{live}-old",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=excluded,
    )
    assert count(end) == 1
    scale(client, live, 2)
    assert count(update(client, live, new)) == 1


def test_data_capture_is_described_and_lost_unless_it_is_retained(
    client: Clients, bucket: str, live: str
) -> None:
    configure(client, bucket, f"{live}-capturing", more=CAPTURE, release="new")
    configure(client, bucket, f"{live}-plain", release="new")
    assert "DataCaptureConfig" not in client("sagemaker").describe_endpoint(EndpointName=live)
    end = update(client, live, f"{live}-capturing")
    assert end["DataCaptureConfig"] == CAPTURED
    end = update(client, live, f"{live}-plain", RetainAllVariantProperties=True)
    assert end["DataCaptureConfig"] == CAPTURED
    end = update(client, live, f"{live}-old")
    assert "DataCaptureConfig" not in end


def test_an_unknown_variant_is_refused(client: Clients, live: str) -> None:
    runtime = client("sagemaker-runtime")
    known = runtime.invoke_endpoint(EndpointName=live, Body=b"x", TargetVariant="AllTraffic")
    assert known["Body"].read() == b"old:x"
    with pytest.raises(ClientError, match="Variant Shadow not found"):
        runtime.invoke_endpoint(EndpointName=live, Body=b"x", TargetVariant="Shadow")
    with pytest.raises(ClientError, match="Could not find variant Shadow"):
        client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=live,
            DesiredWeightsAndCapacities=[{"VariantName": "Shadow", "DesiredInstanceCount": 2}],
        )


def test_an_answer_that_only_trickles_in_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    processes = Processes()
    spec = ContainerSpec(
        label="trickle",
        command=["env", "MODEL_DIR={model}", sys.executable, str(SERVER)],
        archive=archive(release="old"),
        environment={},
        workspace=tmp_path,
        startup_timeout=10,
        request_timeout=0.5,
    )
    instance = ServingProcess(spec, processes, on_line=lambda _: None)
    try:
        instance.wait_until_ready()
        started = time.monotonic()
        with pytest.raises(ContainerTimeoutError):
            instance.invoke(ContainerRequest(b"trickle", {}), started + 0.5)
        assert time.monotonic() - started < 2
        answer = instance.invoke(ContainerRequest(b"x", {}), time.monotonic() + 5)
        assert answer.body == b"old:x"
        (connection,) = instance._connections
        instance.invoke(ContainerRequest(b"x", {}), time.monotonic() + 5)
        assert instance._connections == [connection], "the connection was not used again"
    finally:
        instance.stop()
        processes.close()


def test_a_sample_of_requests_and_answers_is_captured(
    client: Clients, bucket: str, name: str, live: str
) -> None:
    client("s3").create_bucket(Bucket=name)
    capture = {**CAPTURE["DataCaptureConfig"], "DestinationS3Uri": f"s3://{name}/here"}
    everything = {"DataCaptureConfig": {**capture, "InitialSamplingPercentage": 100}}
    update(client, live, configure(client, bucket, f"{live}-all", more=everything, release="new"))
    runtime = client("sagemaker-runtime")
    runtime.invoke_endpoint(EndpointName=live, Body=b"1,2", ContentType="text/csv")
    runtime.invoke_endpoint(EndpointName=live, Body=b"\x93", ContentType="application/x-npy")

    def records() -> list[Any] | None:
        listed = client("s3").list_objects_v2(Bucket=name, Prefix=f"here/{live}/AllTraffic/")
        texts = [
            client("s3").get_object(Bucket=name, Key=each["Key"])["Body"].read().decode()
            for each in listed.get("Contents", [])
        ]
        lines = [json.loads(line)["captureData"] for text in texts for line in text.splitlines()]
        return lines if len(lines) == 2 else None

    first, second = eventually(records)
    assert first["endpointInput"] == {
        "observedContentType": "text/csv",
        "mode": "INPUT",
        "data": "1,2",
        "encoding": "CSV",
    }
    assert first["endpointOutput"]["mode"] == "OUTPUT"
    assert second["endpointInput"]["encoding"] == "BASE64"
    assert second["endpointInput"]["data"] == "kw=="
