"""What an agent of certain sites may do: the shipped policy, and a real run that keeps to it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from events import names
from events.stack import Stack
from ops.demo.survey import generated_survey
from tests.aws.aws_world import Aws, fake_aws
from tests.cdk.conftest import Synthesize
from tests.cdk.iam_world import (
    ACCOUNT,
    REGION,
    Judge,
    Request,
    as_list,
    judged,
    resolve,
)

SITE = "library-1f"
LONG = tuple(f"{'s' * 31}{letter}" for letter in "abcdefg")
AGENTS = {"library": [SITE, "library-2f"], "campus": LONG}
NAMES = {
    "StorageData6BB23F4E": "d" * 63,
    "StorageArtifacts08431D1F": "a" * 63,
}
"""As long as buckets' names can be."""
AGENT_KEY, SOON_S = "agent", 60.0


@pytest.fixture(scope="module")
def template(synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    outdir = tmp_path_factory.mktemp("agents") / "cdk.out"
    result = synthesize(outdir, context={"rssi-mlops:agents": AGENTS})
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads((outdir / "RssiMlops-dev.template.json").read_text())
    return document


def named(template: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the template's resources are called once they are deployed."""
    called: dict[str, dict[str, str]] = {}
    for name, resource in template["Resources"].items():
        match resource["Type"]:
            case "AWS::S3::Bucket":
                called[name] = {"Ref": NAMES[name], "Arn": f"arn:aws:s3:::{NAMES[name]}"}
            case "AWS::SQS::Queue":
                short = name[:79]
                arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{short}"
                called[name] = {"Ref": short, "QueueName": short, "Arn": arn}
            case "AWS::Events::EventBus":
                bus = resource["Properties"]["Name"]
                arn = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}"
                called[name] = {"Ref": bus, "Arn": arn}
            case _:
                called[name] = {"Ref": name, "Arn": name}
    return called


def policies(template: dict[str, Any], agent: str) -> list[dict[str, Any]]:
    called = named(template)
    return [
        resolve(resource["Properties"]["PolicyDocument"], called)
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::ManagedPolicy" and f"Agent{agent.title()}" in name
    ]


def judge_of(template: dict[str, Any], agent: str) -> Judge:
    return Judge([one for policy in policies(template, agent) for one in policy["Statement"]])


def parts_of(template: dict[str, Any], kind: str, agent: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind and name.startswith(f"Agent{agent.title()}")
    }


def test_each_agent_has_a_queue_that_hears_of_its_sites_only(template: dict[str, Any]) -> None:
    (rule,) = parts_of(template, "AWS::Events::Rule", "library").values()
    queues = parts_of(template, "AWS::SQS::Queue", "library")
    (heard,) = (name for name, queue in queues.items() if "RedrivePolicy" in queue)
    assert rule["EventPattern"]["detail"]["object"]["key"] == [
        {"wildcard": "sites/library-1f/surveys/*"},
        {"wildcard": "sites/library-2f/surveys/*"},
    ]
    assert [target["Arn"]["Fn::GetAtt"][0] for target in rule["Targets"]] == [heard]
    everyone = [name for name in template["Resources"] if name.startswith("WireSurvey")]
    assert everyone == []


def test_the_parameter_of_an_agent_tells_it_its_queue_and_its_sites(
    template: dict[str, Any],
) -> None:
    (parameter,) = parts_of(template, "AWS::SSM::Parameter", "library").values()
    told = Stack.model_validate_json(resolve(parameter["Value"], named(template)))
    assert parameter["Name"] == "/rssi-mlops/dev/agents/library"
    assert told.sites == ("library-1f", "library-2f")
    assert told.queue_url is not None
    assert told.queue_url.startswith("AgentLibrarySurveys")


def test_policies_fit_into_what_iam_takes_with_the_longest_names(template: dict[str, Any]) -> None:
    found = policies(template, "campus")
    assert len(found) == 3
    assert max(len(json.dumps(one, separators=(",", ":"))) for one in found) <= 6144


def test_all_policies_of_an_agent_are_in_the_outputs(template: dict[str, Any]) -> None:
    outputs = {name: json.dumps(one["Value"]) for name, one in template["Outputs"].items()}
    (arns,) = (value for name, value in outputs.items() if name.startswith("AgentCampusPolicyArns"))
    assert arns.count('"Ref"') == 3


@pytest.mark.parametrize(
    ("action", "resource", "keys"),
    [
        ("s3:GetObject", "data/sites/other/surveys/a.csv", {}),
        ("s3:GetObject", "data/sites/library-1fx/surveys/a.csv", {}),
        ("s3:ListBucketVersions", "data", {"s3:prefix": "sites/other/"}),
        ("s3:ListBucketVersions", "data", {"s3:prefix": "sites/"}),
        ("s3:ListBucketVersions", "data", {"s3:prefix": ""}),
        ("s3:ListBucket", "data", {}),
        ("s3:PutObject", "data/sites/library-1f/surveys/a.csv", {}),
        ("s3:DeleteObject", "data/sites/library-1f/surveys/a.csv", {}),
        ("s3:GetObject", "artifacts/sites/other/releases/other-0123456789ab/release.json", {}),
        ("s3:PutObject", "artifacts/sites/other/releases/other-0123456789ab/release.json", {}),
        ("s3:PutObject", "artifacts/sites/library-1f/champion.json", {}),
        ("s3:DeleteObject", "artifacts/sites/library-1f/snapshots/a.json", {}),
        ("s3:ListBucket", "artifacts", {}),
    ],
)
def test_nothing_of_another_site_and_nothing_more_of_its_own_is_allowed(
    template: dict[str, Any], action: str, resource: str, keys: dict[str, str]
) -> None:
    bucket, slash, key = resource.partition("/")
    name = NAMES["StorageData6BB23F4E" if bucket == "data" else "StorageArtifacts08431D1F"]
    asked = Request(action, f"arn:aws:s3:::{name}{slash}{key}", keys)
    assert not judge_of(template, "library").allows(asked)


def test_one_agent_can_neither_read_nor_fill_another_one_s_queue(template: dict[str, Any]) -> None:
    judge = judge_of(template, "library")
    for queue in parts_of(template, "AWS::SQS::Queue", "campus"):
        arn = named(template)[queue]["Arn"]
        for action in ("ReceiveMessage", "DeleteMessage", "SendMessage", "GetQueueAttributes"):
            assert not judge.allows(Request(f"sqs:{action}", arn))


def test_an_agent_speaks_under_its_own_name_only(template: dict[str, Any]) -> None:
    judge = judge_of(template, "library")
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/rssi-mlops"
    said = {"events:source": "rssi-mlops.release"}
    assert not judge.allows(Request("events:PutEvents", bus, said))
    assert judge.allows(Request("events:PutEvents", bus, {"events:source": "rssi-mlops.agent"}))


# A run.


@pytest.fixture
def judge(template: dict[str, Any]) -> Judge:
    return judge_of(template, "library")


@pytest.fixture
def aws(judge: Judge) -> Iterator[Aws]:
    with fake_aws(lambda application: judged(application, judge, AGENT_KEY)) as started:
        yield started


def deploy(aws: Aws, template: dict[str, Any]) -> Stack:
    """Make what the policy names, for the agent called library."""
    s3, sqs = aws.client("s3"), aws.client("sqs")
    for bucket in NAMES.values():
        place = {"LocationConstraint": REGION}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    aws.client("events").create_event_bus(Name="rssi-mlops")
    called = named(template)
    queues = parts_of(template, "AWS::SQS::Queue", "library")
    for name, queue in sorted(queues.items(), key=lambda found: "RedrivePolicy" in found[1]):
        policy = json.dumps(resolve(queue.get("RedrivePolicy"), called))
        attributes = {"RedrivePolicy": policy} if "RedrivePolicy" in queue else {}
        url = sqs.create_queue(QueueName=called[name]["QueueName"], Attributes=attributes)
    (parameter,) = parts_of(template, "AWS::SSM::Parameter", "library").values()
    told = Stack.model_validate_json(resolve(parameter["Value"], called))
    stack = told.model_copy(update={"queue_url": url["QueueUrl"]})
    aws.client("ssm").put_parameter(
        Name=parameter["Name"], Type="String", Value=stack.model_dump_json()
    )
    return stack


def test_an_agent_gets_by_with_its_policy_and_needs_all_of_it(
    aws: Aws, judge: Judge, template: dict[str, Any], tmp_path: Path
) -> None:
    stack = deploy(aws, template)
    s3, sqs = aws.client("s3"), aws.client("sqs")
    surveys = names.surveys_prefix(SITE)
    s3.put_object(Bucket=stack.data_bucket, Key=f"{surveys}good.csv", Body=generated_survey().first)
    s3.put_object(Bucket=stack.data_bucket, Key=f"{surveys}notes.txt", Body=b"no survey")
    for message in (uploaded(stack.data_bucket, f"{surveys}good.csv"), "no event at all"):
        sqs.send_message(QueueUrl=stack.queue_url, MessageBody=message)

    def heard() -> list[str]:
        return [kind for _, kind, _ in aws.heard]

    with agent(aws, tmp_path / "agent.log") as process:
        eventually(lambda: "TrainingSucceeded" in heard() or process.poll() is not None)
        eventually(lambda: "sqs:DeleteMessage" in judge.used and "sqs:SendMessage" in judge.used)
    log = (tmp_path / "agent.log").read_text()

    assert sorted(heard()) == ["SurveyQuarantined", "TrainingStarted", "TrainingSucceeded"], log
    assert judge.denied == [], log
    # Given up uploads are S3's own business; a version is read by the Job of what was sealed.
    assert judge.granted - judge.used == {"s3:AbortMultipartUpload"}


def uploaded(bucket: str, key: str) -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    fields = {"id": "1", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    where = {"account": ACCOUNT, "region": REGION, "time": "2026-11-01T12:00:00Z"}
    return json.dumps({**fields, **where})


@contextmanager
def agent(aws: Aws, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An agent's process, with the credentials that are judged."""
    environment = {
        "PATH": os.environ["PATH"],
        **aws.environment,
        "AWS_ACCESS_KEY_ID": AGENT_KEY,
        "RSSI_STACK_PARAMETER": "/rssi-mlops/dev/agents/library",
        "RSSI_WORK_DIR": str(log.with_name("runs")),
        "RSSI_QUIET_PERIOD_S": "1",
    }
    command = [sys.executable, "-m", "trainer.agent"]
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_only_statements_that_the_judge_understands_are_in_the_policy(
    template: dict[str, Any],
) -> None:
    for policy in (*policies(template, "library"), *policies(template, "campus")):
        for statement in policy["Statement"]:
            assert set(statement.get("Condition", {})) <= {"StringLike", "StringEquals"}
            assert not [one for one in as_list(statement["Action"]) if "*" in one]
