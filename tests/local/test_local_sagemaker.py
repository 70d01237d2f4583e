"""SageMaker endpoints of the embedded cloud: real processes, AWS's statuses, no request lost."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops.local.cloud import EmbeddedCloud
from tests.local.local_helpers import eventually
from tests.local.sagemaker_helpers import Clients, configure, invoke, settled, status

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
PATIENT = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        "TerminationWaitInSeconds": 300,
        "MaximumExecutionTimeoutInSeconds": 1800,
    },
}


def test_an_endpoint_answers_with_what_its_container_says(client: Clients, live: str) -> None:
    answer = client("sagemaker-runtime").invoke_endpoint(
        EndpointName=live, Body=b"row", ContentType="text/csv", CustomAttributes="trace=1"
    )
    assert answer["Body"].read() == b"old:row"
    assert answer["ContentType"] == "text/plain"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["CustomAttributes"] == "greeting=hello"


@pytest.mark.parametrize(
    ("body", "code", "kind"), [(b"fail", 500, "server"), (b"refuse", 400, "client")]
)
def test_an_error_of_the_container_reaches_the_client_as_a_model_error(
    client: Clients, live: str, body: bytes, code: int, kind: str
) -> None:
    with pytest.raises(ClientError) as refused:
        invoke(client, live, body)
    response: dict[str, Any] = {**refused.value.response}
    assert response["Error"]["Code"] == "ModelError"
    assert f"Received {kind} error ({code}) from primary" in response["Error"]["Message"]
    assert response["OriginalStatusCode"] == code
    assert response["OriginalMessage"] == f"old:{body.decode()}"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424


def test_an_image_that_no_command_stands_for_fails_the_endpoint_and_says_what_to_set(
    client: Clients, bucket: str, name: str, endpoints: list[str]
) -> None:
    config = configure(client, bucket, name, image=f"{REGISTRY}/unknown:1", release="any")
    client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config)
    endpoints.append(name)
    end = settled(client("sagemaker"), name)
    assert end["EndpointStatus"] == "Failed"
    assert f"container image {REGISTRY}/unknown:1" in end["FailureReason"]
    assert "--serving-command" in end["FailureReason"]


def test_an_endpoint_that_does_not_exist_is_not_found(client: Clients) -> None:
    with pytest.raises(ClientError, match="Endpoint nowhere of account 123456789012 not found"):
        invoke(client, "nowhere")


def test_an_update_loses_no_request_and_ends_on_the_new_configuration(
    client: Clients, bucket: str, live: str, name: str
) -> None:
    new = configure(client, bucket, f"{name}-new", release="new")
    stop = threading.Event()

    def keep_invoking() -> list[str]:
        answers: list[str] = []
        while not stop.is_set() and len(answers) < 5000:
            answers.append(invoke(client, live))
        return answers

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(keep_invoking) for _ in range(4)]
        client("sagemaker").update_endpoint(
            EndpointName=live, EndpointConfigName=new, DeploymentConfig=PATIENT
        )
        try:
            end = settled(client("sagemaker"), live)
        finally:
            stop.set()
        answers = [caller.result() for caller in callers]
    assert end["EndpointConfigName"] == new
    assert {answer for each in answers for answer in each} == {"old:x", "new:x"}
    for each in answers:
        assert each == sorted(each, reverse=True), "traffic went back to the old fleet"
    assert invoke(client, live) == "new:x"


def test_an_update_whose_container_ends_returns_to_the_old_configuration_with_the_reason(
    client: Clients, bucket: str, live: str, name: str
) -> None:
    bad = configure(client, bucket, f"{name}-bad", release="bad", mode="exit")
    client("sagemaker").update_endpoint(EndpointName=live, EndpointConfigName=bad)
    answers = {invoke(client, live) for _ in range(30)}
    end = settled(client("sagemaker"), live)
    assert answers == {"old:x"}
    assert end["EndpointStatus"] == "InService"
    assert end["EndpointConfigName"] == f"{name}-old"
    assert "the weights are missing" in end["FailureReason"]


def test_an_alarm_during_the_bake_gives_the_traffic_back(
    client: Clients, bucket: str, live: str, name: str
) -> None:
    new = configure(client, bucket, f"{name}-new", release="new")
    client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        Statistic="Sum",
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    client("sagemaker").update_endpoint(
        EndpointName=live,
        EndpointConfigName=new,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                **PATIENT["BlueGreenUpdatePolicy"],
                "TerminationWaitInSeconds": 3600,
                "MaximumExecutionTimeoutInSeconds": 7200,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": f"{name}-errors"}]},
        },
    )
    eventually(lambda: invoke(client, live) == "new:x")
    client("cloudwatch").set_alarm_state(
        AlarmName=f"{name}-errors", StateValue="ALARM", StateReason="the test says so"
    )
    end = settled(client("sagemaker"), live)
    assert end["EndpointConfigName"] == f"{name}-old"
    assert f"{name}-errors" in end["FailureReason"]
    assert invoke(client, live) == "old:x"


def test_an_update_in_progress_refuses_another_and_a_deletion(
    client: Clients, bucket: str, live: str, name: str, sagemaker: Any
) -> None:
    new = configure(client, bucket, f"{name}-new", release="new")
    sagemaker.update_endpoint(EndpointName=live, EndpointConfigName=new, DeploymentConfig=PATIENT)
    assert status(sagemaker, live) == "Updating"
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.update_endpoint(EndpointName=live, EndpointConfigName=f"{name}-old")
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName=live)


def test_a_killed_container_is_replaced_and_a_request_waits_for_the_replacement(
    cloud: EmbeddedCloud, client: Clients, live: str
) -> None:
    (pid,) = cloud.serving_pids(live)
    os.kill(pid, signal.SIGKILL)
    assert invoke(client, live) == "old:x"
    (successor,) = cloud.serving_pids(live)
    assert successor != pid
    assert status(client("sagemaker"), live) == "InService"


def test_an_endpoint_whose_first_container_ends_has_failed_and_cannot_be_updated(
    client: Clients, bucket: str, name: str, endpoints: list[str], sagemaker: Any
) -> None:
    bad = configure(client, bucket, f"{name}-bad", release="bad", mode="exit")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=bad)
    endpoints.append(name)
    end = settled(sagemaker, name)
    assert end["EndpointStatus"] == "Failed"
    assert "the weights are missing" in end["FailureReason"]
    with pytest.raises(ClientError, match="delete it and create it again"):
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=bad)


def test_a_name_that_exists_or_does_not_is_refused_in_sagemakers_words(
    client: Clients, bucket: str, live: str, name: str, sagemaker: Any
) -> None:
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        configure(client, bucket, f"{name}-old", release="again")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint configuration"):
        sagemaker.create_endpoint_config(
            EndpointConfigName=f"{name}-old",
            ProductionVariants=[{"VariantName": "v", "ModelName": f"{name}-old"}],
        )
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        sagemaker.create_endpoint(EndpointName=live, EndpointConfigName=f"{name}-old")
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        sagemaker.update_endpoint(EndpointName=live, EndpointConfigName="nothing")
    with pytest.raises(ClientError, match="Could not find model"):
        sagemaker.describe_model(ModelName="nothing")
    with pytest.raises(ClientError, match="must satisfy regular expression"):
        sagemaker.create_endpoint(EndpointName="a_b", EndpointConfigName=f"{name}-old")


def test_deleting_the_live_configuration_is_allowed_and_the_next_update_fails(
    client: Clients, bucket: str, live: str, name: str, sagemaker: Any
) -> None:
    new = configure(client, bucket, f"{name}-new", release="new")
    sagemaker.delete_endpoint_config(EndpointConfigName=f"{name}-old")
    assert invoke(client, live) == "old:x"
    with pytest.raises(ClientError, match=f"Could not find endpoint configuration .*{name}-old"):
        sagemaker.update_endpoint(EndpointName=live, EndpointConfigName=new)


def test_each_change_of_status_is_an_event_in_the_documented_shape(
    client: Clients, bucket: str, name: str, endpoints: list[str], sagemaker: Any
) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
    client("logs").create_log_group(logGroupName=f"/{name}")
    client("events").put_rule(
        Name=name, EventPattern=json.dumps({"source": ["aws.sagemaker"], "resources": [arn]})
    )
    log_arn = f"arn:aws:logs:us-east-1:123456789012:log-group:/{name}"
    client("events").put_targets(Rule=name, Targets=[{"Id": "log", "Arn": log_arn}])
    config = configure(client, bucket, name, release="old")
    bad = configure(client, bucket, f"{name}-bad", release="bad", mode="exit")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    endpoints.append(name)
    settled(sagemaker, name)
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=bad)

    def events() -> list[Any] | None:
        found = client("logs").filter_log_events(logGroupName=f"/{name}")["events"]
        return [json.loads(each["message"]) for each in found] if len(found) >= 5 else None

    seen = eventually(events)
    assert [each["detail"]["EndpointStatus"] for each in seen] == [
        "CREATING",
        "IN_SERVICE",
        "UPDATING",
        "ROLLING_BACK",
        "IN_SERVICE",
    ]
    assert {each["detail-type"] for each in seen} == {"SageMaker Endpoint State Change"}
    assert seen[1]["detail"]["EndpointName"] == name
    assert seen[-1]["detail"]["EndpointConfigName"] == config
    assert seen[1]["time"].isdigit()


def test_lists_are_filtered_and_paged(
    client: Clients, bucket: str, name: str, sagemaker: Any
) -> None:
    for number in range(3):
        configure(client, bucket, f"{name}-{number}", release="old")
    pages = sagemaker.get_paginator("list_models").paginate(
        NameContains=name, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    names = [[model["ModelName"] for model in each["Models"]] for each in pages]
    assert names == [[f"{name}-0", f"{name}-1"], [f"{name}-2"]]


def test_tags_of_an_endpoint_can_be_set_and_read(
    client: Clients, live: str, sagemaker: Any
) -> None:
    arn = sagemaker.describe_endpoint(EndpointName=live)["EndpointArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "site", "Value": "library-1f"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "site", "Value": "library-1f"}]


def test_what_is_not_emulated_is_refused_by_name(sagemaker: Any) -> None:
    with pytest.raises(ClientError, match=r"ProductionVariants.*too_long|at most 1 item"):
        sagemaker.create_endpoint_config(
            EndpointConfigName="two",
            ProductionVariants=[{"VariantName": v, "ModelName": "m"} for v in ("a", "b")],
        )
    with pytest.raises(ClientError, match="ShadowProductionVariants: is not emulated here"):
        sagemaker.create_endpoint_config(
            EndpointConfigName="shadow",
            ProductionVariants=[{"VariantName": "a", "ModelName": "m"}],
            ShadowProductionVariants=[{"VariantName": "b", "ModelName": "m"}],
        )
