"""CloudWatch alarms of the embedded cloud: evaluated from data, reported, heeded by rollouts."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops.local.cloud import EmbeddedCloud
from ops.local.cloudwatch.evaluation import AlarmRule, statistic
from ops.local.cloudwatch.expressions import evaluate
from ops.local.cloudwatch.metric_store import MetricKey, MetricStore
from ops.local.faults.active import FaultRequest
from tests.local.local_helpers import eventually
from tests.local.sagemaker_helpers import Clients, configure, invoke, settled


@pytest.fixture
def make_alarm(client: Clients, name: str) -> Iterator[Callable[..., str]]:
    """Makes an alarm on metric `name` of namespace `Test`; it is deleted after the test."""

    def make(**changes: Any) -> str:
        alarm = {
            "AlarmName": name,
            "Namespace": "Test",
            "MetricName": name,
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "Statistic": "Sum",
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
        }
        client("cloudwatch").put_metric_alarm(**{**alarm, **changes})
        return name

    yield make
    client("cloudwatch").delete_alarms(AlarmNames=[name])


def state(client: Clients, alarm: str) -> str:
    """The state; `unchecked` before the first evaluation, when moto claims that it is OK."""
    (found,) = client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    unchecked = str(found["StateReason"]).startswith("Unchecked")
    return "unchecked" if unchecked else str(found["StateValue"])


def put(client: Clients, metric: str, value: float) -> None:
    client("cloudwatch").put_metric_data(
        Namespace="Test", MetricData=[{"MetricName": metric, "Value": value}]
    )


def rule(periods: int = 3, to_alarm: int = 2, missing: str = "missing") -> AlarmRule:
    return AlarmRule(1.0, "GreaterThanOrEqualToThreshold", periods, to_alarm, missing)


BAD, GOOD = 5.0, 0.0


@pytest.mark.parametrize(
    ("missing", "points", "expected"),
    [
        ("missing", [GOOD, BAD, BAD], "ALARM"),
        ("missing", [GOOD, GOOD, BAD], "OK"),
        ("missing", [None, None, None], "INSUFFICIENT_DATA"),
        ("missing", [None, None, BAD], "ALARM"),
        ("missing", [None, GOOD, BAD], "OK"),
        ("breaching", [None, None, None], "ALARM"),
        ("breaching", [GOOD, GOOD, None], "OK"),
        ("notBreaching", [None, None, BAD], "OK"),
        ("notBreaching", [None, BAD, BAD], "ALARM"),
        ("ignore", [None, None, BAD], "as before"),
        ("ignore", [None, BAD, BAD], "ALARM"),
        ("ignore", [None, GOOD, GOOD], "OK"),
    ],
)
def test_two_of_three_data_points_decide_and_missing_ones_count_as_the_alarm_says(
    missing: str, points: list[float | None], expected: str
) -> None:
    assert rule(missing=missing).state(points, "as before") == expected  # type: ignore[arg-type]


def test_statistics_are_those_of_cloudwatch() -> None:
    values = [float(number) for number in range(1, 101)]
    assert statistic("Sum", values) == 5050
    assert statistic("SampleCount", values) == 100
    assert statistic("p50", values) == pytest.approx(50.5)
    assert statistic("p99", values) == pytest.approx(99.01)
    assert statistic("Average", []) is None


def test_an_alarm_follows_the_data_and_each_change_is_an_event_and_a_message(
    client: Clients, make_alarm: Callable[..., str], name: str
) -> None:
    topic = client("sns").create_topic(Name=name)["TopicArn"]
    queue = client("sqs").create_queue(QueueName=name)["QueueUrl"]
    queue_arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    client("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=queue_arn["Attributes"]["QueueArn"]
    )
    client("logs").create_log_group(logGroupName=f"/{name}")
    pattern = {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "detail": {"alarmName": [name]},
    }
    client("events").put_rule(Name=name, EventPattern=json.dumps(pattern))
    log_arn = f"arn:aws:logs:us-east-1:123456789012:log-group:/{name}"
    client("events").put_targets(Rule=name, Targets=[{"Id": "log", "Arn": log_arn}])

    make_alarm(AlarmActions=[topic])
    eventually(lambda: state(client, name) == "OK")

    def provoked() -> bool:
        put(client, name, 2)
        return state(client, name) == "ALARM"

    # A busy machine may look away while one alarm lasts: keep it going until it was seen.
    eventually(provoked)
    eventually(lambda: state(client, name) == "OK")

    def changes() -> list[Any] | None:
        found = client("logs").filter_log_events(logGroupName=f"/{name}")["events"]
        return [json.loads(each["message"])["detail"] for each in found] if len(found) > 2 else None

    seen = eventually(changes)
    assert [(each["previousState"]["value"], each["state"]["value"]) for each in seen[:3]] == [
        ("INSUFFICIENT_DATA", "OK"),
        ("OK", "ALARM"),
        ("ALARM", "OK"),
    ]
    reason = seen[1]["state"]["reason"]
    assert re.search(r"1 out of the last 1 datapoints \[\d+\] was breaching", reason)
    (received,) = client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
    message = json.loads(json.loads(received["Body"])["Message"])
    assert (message["AlarmName"], message["NewStateValue"]) == (name, "ALARM")


def test_a_state_that_is_set_holds_for_a_while_and_the_next_evaluation_takes_it_back(
    client: Clients, make_alarm: Callable[..., str], name: str
) -> None:
    make_alarm()
    eventually(lambda: state(client, name) == "OK")
    client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert state(client, name) == "ALARM"
        time.sleep(0.05)
    eventually(lambda: state(client, name) == "OK")


def test_an_alarm_that_is_put_again_keeps_its_state(
    client: Clients, make_alarm: Callable[..., str], name: str
) -> None:
    make_alarm(TreatMissingData="breaching")
    eventually(lambda: state(client, name) == "ALARM")
    make_alarm(TreatMissingData="ignore", AlarmDescription="changed")
    time.sleep(0.5)
    assert state(client, name) == "ALARM"


def test_an_endpoint_publishes_its_metrics_with_its_names_and_units(
    client: Clients, live: str
) -> None:
    for body in (b"x", b"x"):
        invoke(client, live, body)
    for body in (b"fail", b"refuse"):
        with pytest.raises(ClientError, match="ModelError"):
            invoke(client, live, body)

    def total(metric: str, kind: str = "Sum") -> float:
        points = client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[
                {"Name": "EndpointName", "Value": live},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
            StartTime=datetime.now(UTC) - timedelta(minutes=5),
            EndTime=datetime.now(UTC) + timedelta(minutes=5),
            Period=3600,
            Statistics=[kind],
        )["Datapoints"]
        return float(points[0][kind]) if points else 0.0

    eventually(lambda: total("Invocations") == 4)
    assert total("Invocation4XXErrors") == 1
    assert total("Invocation5XXErrors") == 1
    assert 100 < total("ModelLatency", "Maximum") < 10_000_000
    assert total("OverheadLatency", "SampleCount") == 4


def test_failing_answers_raise_the_alarm_that_brings_the_old_fleet_back(
    client: Clients, cloud: EmbeddedCloud, bucket: str, live: str, make_alarm: Callable[..., str]
) -> None:
    new = configure(client, bucket, f"{live}-new", release="new")
    make_alarm(
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[
            {"Name": "EndpointName", "Value": live},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ],
    )
    cloud.faults.set(FaultRequest.model_validate({"kind": "crash", "endpoint_name": live}))
    client("sagemaker").update_endpoint(
        EndpointName=live,
        EndpointConfigName=new,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    "Type": "ALL_AT_ONCE",
                    "WaitIntervalInSeconds": 0,
                },
                "TerminationWaitInSeconds": 3600,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": live}]},
        },
    )

    def failed() -> bool:
        try:
            invoke(client, live)
        except ClientError:
            return True
        return False

    eventually(failed)
    bad_since = time.monotonic()
    end = settled(client("sagemaker"), live)
    assert time.monotonic() - bad_since < 3
    cloud.faults.clear()
    assert end["EndpointConfigName"] == f"{live}-old"
    assert end["FailureReason"].endswith(f"in ALARM state: {live}.")
    assert invoke(client, live) == "old:x"


def test_metrics_in_a_functions_log_are_data_too(
    client: Clients, make_alarm: Callable[..., str], make_function: Callable[..., str], name: str
) -> None:
    make_alarm(Statistic="Maximum", Threshold=7, Dimensions=[{"Name": "service", "Value": "smoke"}])
    blob = {
        "_aws": {
            "Timestamp": 0,
            "CloudWatchMetrics": [
                {"Namespace": "Test", "Dimensions": [["service"]], "Metrics": [{"Name": name}]}
            ],
        },
        "service": "smoke",
        name: [3.0, 9.0],
    }
    source = f"import json\ndef handle(event, context):\n    print(json.dumps({blob!r}))"
    function = make_function(source)

    def provoked() -> bool:
        client("lambda").invoke(FunctionName=function)
        return state(client, name) == "ALARM"

    eventually(provoked)


def test_what_a_store_keeps_is_bounded() -> None:
    store = MetricStore()
    for number in range(5001):
        store.record(MetricKey("n", str(number), frozenset()), [1.0])
    store.record(MetricKey("n", "5000", frozenset()), [1.0] * 3000)
    now = time.monotonic()
    assert store.between(MetricKey("n", "0", frozenset()), now - 60, now) == []
    assert len(store.between(MetricKey("n", "5000", frozenset()), now - 60, now)) == 2000


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("100 * bad / all_", 25),
        ("(bad + 1) / (all_ - 2)", 1),
        ("IF(all_ >= 4, bad / all_, 0)", 0.25),
        ("IF(all_ > 4, 1, -1)", -1),
        ("bad / FILL(none, 2)", 0.5),
        ("bad / none", None),
        ("bad / (all_ - 4)", None),
    ],
)
def test_metric_math_is_arithmetic_that_knows_missing_data(
    expression: str, expected: float | None
) -> None:
    assert evaluate(expression, {"bad": 1.0, "all_": 4.0, "none": None}) == expected


@pytest.mark.parametrize("expression", ["ANOMALY_DETECTION_BAND(m1, 2)", "m9", "__import__('os')"])
def test_metric_math_that_is_not_emulated_is_no_number(expression: str) -> None:
    with pytest.raises(ValueError, match="is not emulated"):
        evaluate(expression, {"m1": 1.0})


def test_an_alarm_on_a_share_follows_the_data(
    client: Clients, make_alarm: Callable[..., str], name: str
) -> None:
    def series(identifier: str, metric: str) -> dict[str, Any]:
        stat = {"Metric": {"Namespace": "Test", "MetricName": metric}, "Period": 60, "Stat": "Sum"}
        return {"Id": identifier, "ReturnData": False, "MetricStat": stat}

    client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        EvaluationPeriods=1,
        Threshold=10,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
        Metrics=[
            series("bad", f"{name}-bad"),
            series("total", f"{name}-total"),
            {"Id": "share", "Expression": "100 * bad / total", "ReturnData": True},
        ],
    )
    eventually(lambda: state(client, name) == "OK")

    def put_both(bad: float) -> bool:
        put(client, f"{name}-total", 100)
        put(client, f"{name}-bad", bad)
        return state(client, name) == "ALARM"

    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert not put_both(1), "one percent is no alarm"
    eventually(lambda: put_both(30))
    client("cloudwatch").delete_alarms(AlarmNames=[name])


def test_requests_that_hang_do_not_keep_the_old_fleet_from_coming_back(
    client: Clients, cloud: EmbeddedCloud, bucket: str, live: str, make_alarm: Callable[..., str]
) -> None:
    new = configure(client, bucket, f"{live}-new", release="new")
    make_alarm()
    cloud.faults.set(FaultRequest.model_validate({"kind": "hang", "endpoint_name": live}))
    client("sagemaker").update_endpoint(
        EndpointName=live,
        EndpointConfigName=new,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    "Type": "ALL_AT_ONCE",
                    "WaitIntervalInSeconds": 0,
                },
                "TerminationWaitInSeconds": 3600,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": live}]},
        },
    )
    eventually(
        lambda: (
            "PendingDeploymentSummary" in client("sagemaker").describe_endpoint(EndpointName=live)
        )
    )
    with ThreadPoolExecutor(4) as pool:
        time.sleep(1)
        hanging = [pool.submit(invoke, client, live) for _ in range(4)]
        time.sleep(0.2)
        assert not any(each.done() for each in hanging)
        client("cloudwatch").set_alarm_state(
            AlarmName=live, StateValue="ALARM", StateReason="it hangs"
        )
        started = time.monotonic()
        end = settled(client("sagemaker"), live)
        assert time.monotonic() - started < 2
        assert end["EndpointConfigName"] == f"{live}-old"
        assert invoke(client, live) == "old:x"
        cloud.faults.clear()
        assert {each.result() for each in hanging} == {"new:x"}
