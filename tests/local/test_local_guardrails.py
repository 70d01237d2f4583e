"""Deployment guardrails of the embedded SageMaker: bakes, shares of the traffic, AWS's bounds."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.local_helpers import ROLE, eventually
from tests.local.sagemaker_helpers import Clients, configure, invoke, settled, status


def blue_green(
    routing: str = "ALL_AT_ONCE",
    size: int | None = None,
    wait: int = 0,
    termination: int = 0,
    limit: int = 7200,
    kind: str = "INSTANCE_COUNT",
) -> Any:
    traffic: dict[str, Any] = {"Type": routing, "WaitIntervalInSeconds": wait}
    if size is not None:
        member = "CanarySize" if routing == "CANARY" else "LinearStepSize"
        traffic[member] = {"Type": kind, "Value": size}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": traffic,
            "TerminationWaitInSeconds": termination,
            "MaximumExecutionTimeoutInSeconds": limit,
        }
    }


def with_alarms(deployment: Any, *names: str) -> Any:
    alarms = [{"AlarmName": name} for name in names]
    return {**deployment, "AutoRollbackConfiguration": {"Alarms": alarms}}


def make_alarm(client: Clients, name: str) -> None:
    client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        Statistic="Sum",
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )


@pytest.fixture
def three(client: Clients, bucket: str, name: str, endpoints: list[str]) -> str:
    """An endpoint of three instances; configurations `{name}-new` (three) and `{name}-one`."""
    old = configure(client, bucket, f"{name}-old", instances=3, release="old")
    configure(client, bucket, f"{name}-new", instances=3, release="new")
    configure(client, bucket, f"{name}-one", release="new")
    client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=old)
    endpoints.append(name)
    assert settled(client("sagemaker"), name)["EndpointStatus"] == "InService"
    return name


@pytest.fixture
def new(client: Clients, bucket: str, name: str, live: str) -> str:
    """Another configuration of one instance."""
    return configure(client, bucket, f"{name}-new", release="new")


def pending(sagemaker: Any, name: str) -> Any:
    described = sagemaker.describe_endpoint(EndpointName=name)
    if "PendingDeploymentSummary" not in described:
        return None
    return described["PendingDeploymentSummary"]["ProductionVariants"][0]


def test_the_new_fleet_answers_before_the_termination_wait_while_the_status_is_updating(
    client: Clients, sagemaker: Any, live: str, new: str
) -> None:
    log = f"/{live}"
    client("logs").create_log_group(logGroupName=log)
    pattern = {"detail-type": ["SageMaker Endpoint Deployment State Change"]}
    pattern["resources"] = [sagemaker.describe_endpoint(EndpointName=live)["EndpointArn"]]
    client("events").put_rule(Name=live, EventPattern=json.dumps(pattern))
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{log}"
    client("events").put_targets(Rule=live, Targets=[{"Id": "log", "Arn": arn}])

    sagemaker.update_endpoint(
        EndpointName=live, EndpointConfigName=new, DeploymentConfig=blue_green(termination=900)
    )
    eventually(lambda: invoke(client, live) == "new:x")

    assert status(sagemaker, live) == "Updating"
    (stage,) = pending(sagemaker, live)["VariantStatus"]
    assert stage["Status"] == "Baking"
    found = eventually(lambda: client("logs").filter_log_events(logGroupName=log)["events"])
    detail = json.loads(found[0]["message"])["detail"]
    assert detail["EndpointStatus"] == "UPDATING"
    assert detail["EndpointConfigName"] == f"{live}-old"
    summary = detail["PendingDeploymentSummary"]
    assert summary["EndpointConfigName"] == new
    assert summary["ProductionVariants"][0]["VariantStatus"][0]["StatusMessage"] == (
        "Baking for 900 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity "
        "of 1 instance(s)."
    )
    assert isinstance(summary["StartTime"], int)
    assert settled(sagemaker, live)["EndpointConfigName"] == new


def test_a_canary_gets_its_share_of_the_requests_and_then_all(
    client: Clients, sagemaker: Any, three: str
) -> None:
    deployment = blue_green("CANARY", size=1, wait=1800, termination=300)
    sagemaker.update_endpoint(
        EndpointName=three, EndpointConfigName=f"{three}-new", DeploymentConfig=deployment
    )
    eventually(lambda: (pending(sagemaker, three) or {}).get("CurrentInstanceCount") == 1)
    answers = [invoke(client, three) for _ in range(200)]
    assert pending(sagemaker, three)["CurrentInstanceCount"] == 1, "the canary's wait was too short"
    assert 30 < answers.count("new:x") < 110  # a third of 200, five standard deviations each way
    assert settled(sagemaker, three)["EndpointConfigName"] == f"{three}-new"
    assert {invoke(client, three) for _ in range(20)} == {"new:x"}


def test_a_linear_deployment_moves_step_by_step(sagemaker: Any, three: str) -> None:
    deployment = blue_green("LINEAR", size=1, wait=300)
    sagemaker.update_endpoint(
        EndpointName=three, EndpointConfigName=f"{three}-new", DeploymentConfig=deployment
    )
    seen: list[int] = []
    while variant := pending(sagemaker, three):
        if variant["CurrentInstanceCount"] not in seen:
            seen.append(variant["CurrentInstanceCount"])
        time.sleep(0.02)
    assert seen[:3] == [0, 1, 2]
    assert settled(sagemaker, three)["EndpointConfigName"] == f"{three}-new"


def test_a_rolling_deployment_moves_batch_by_batch(sagemaker: Any, three: str) -> None:
    batch = {"Type": "INSTANCE_COUNT", "Value": 1}
    sagemaker.update_endpoint(
        EndpointName=three,
        EndpointConfigName=f"{three}-new",
        DeploymentConfig={
            "RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": 300}
        },
    )
    eventually(lambda: (pending(sagemaker, three) or {}).get("CurrentInstanceCount") == 2)
    assert settled(sagemaker, three)["EndpointConfigName"] == f"{three}-new"


def test_an_alarm_during_the_canary_gives_all_traffic_back(
    client: Clients, sagemaker: Any, three: str
) -> None:
    make_alarm(client, three)
    deployment = with_alarms(blue_green("CANARY", size=1, wait=3600), three)
    sagemaker.update_endpoint(
        EndpointName=three, EndpointConfigName=f"{three}-new", DeploymentConfig=deployment
    )
    eventually(lambda: invoke(client, three) == "new:x")
    client("cloudwatch").set_alarm_state(
        AlarmName=three, StateValue="ALARM", StateReason="the test says so"
    )
    end = settled(sagemaker, three)
    assert end["EndpointConfigName"] == f"{three}-old"
    assert end["FailureReason"].endswith(f"in ALARM state: {three}.")
    assert {invoke(client, three) for _ in range(20)} == {"old:x"}


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        (blue_green(termination=3600, limit=1800), "larger than the total waiting time"),
        (blue_green(termination=600, limit=600), "larger than the total waiting time"),
        (blue_green(termination=3601), "TerminationWaitInSeconds"),
        (blue_green("CANARY", size=1), "needs a variant of at least 2 instances"),
        (blue_green("LINEAR", size=1), "needs a variant of at least 2 instances"),
        (blue_green("CANARY"), "CanarySize must be specified"),
        (with_alarms(blue_green(), "no-such-alarm"), r"alarm\(s\) no-such-alarm"),
        (with_alarms(blue_green(), *map(str, range(11))), "at most 10 items"),
    ],
)
def test_a_deployment_outside_sagemakers_bounds_is_refused_and_nothing_moves(
    sagemaker: Any, live: str, new: str, deployment: Any, message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        sagemaker.update_endpoint(
            EndpointName=live, EndpointConfigName=new, DeploymentConfig=deployment
        )
    assert status(sagemaker, live) == "InService"


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        (blue_green("CANARY", size=2), "CanarySize must be between 1 and 50 percent"),
        (blue_green("CANARY", size=51, kind="CAPACITY_PERCENT"), "it is 51"),
        (blue_green("LINEAR", size=5, kind="CAPACITY_PERCENT"), "between 10 and 50 percent"),
        (blue_green("LINEAR", size=1, wait=3600), r"total waiting time \(7200\)"),
    ],
)
def test_a_share_or_a_sum_of_waits_outside_the_bounds_is_refused(
    sagemaker: Any, three: str, deployment: Any, message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        sagemaker.update_endpoint(
            EndpointName=three, EndpointConfigName=f"{three}-new", DeploymentConfig=deployment
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ExecutionRoleArn": "admin-of-everything-there-is"}, "executionRoleArn"),
        ({"PrimaryContainer": {"Image": "docker.io/nginx:1"}}, "Using non-ECR image"),
    ],
)
def test_a_role_or_image_of_the_wrong_form_is_refused(
    sagemaker: Any, name: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        sagemaker.create_model(
            **{
                "ModelName": name,
                "ExecutionRoleArn": ROLE,
                "PrimaryContainer": {"Image": "docker.io/nginx:1"},
                **change,
            }
        )


SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}


@pytest.mark.parametrize(
    ("variant", "more", "message"),
    [
        ({"InstanceType": "ml.m5.huge", "InitialInstanceCount": 1}, {}, "enum value set"),
        ({}, {}, "must specify InstanceType and InitialInstanceCount"),
        ({"ServerlessConfig": {**SERVERLESS, "MemorySizeInMB": 2000}}, {}, "1024, 2048"),
        (
            {"ServerlessConfig": SERVERLESS},
            {
                "DataCaptureConfig": {
                    "InitialSamplingPercentage": 5,
                    "DestinationS3Uri": "s3://captured/here",
                    "CaptureOptions": [{"CaptureMode": "Input"}],
                }
            },
            "DataCaptureConfig is not supported for serverless",
        ),
    ],
)
def test_a_variant_that_no_endpoint_could_have_is_refused(
    sagemaker: Any, live: str, variant: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        sagemaker.create_endpoint_config(
            EndpointConfigName=f"{live}-bad",
            ProductionVariants=[
                {"VariantName": "AllTraffic", "ModelName": f"{live}-old", **variant}
            ],
            **more,
        )


def test_an_endpoint_of_instances_does_not_become_serverless(sagemaker: Any, live: str) -> None:
    variant = {"VariantName": "AllTraffic", "ModelName": f"{live}-old"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{live}-serverless",
        ProductionVariants=[{**variant, "ServerlessConfig": SERVERLESS}],
    )
    with pytest.raises(ClientError, match="instance-based endpoint to a serverless"):
        sagemaker.update_endpoint(EndpointName=live, EndpointConfigName=f"{live}-serverless")
