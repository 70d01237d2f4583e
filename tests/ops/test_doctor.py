"""What `rssi doctor` finds, with AWS by moto and a fake API server, and what it says to mend it."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from ops.account.doctor import CheckResult, CheckStatus, check_agent
from ops.cli.main import app
from ops.dev.fakes.kubernetes_http import Fault
from tests.agent.kubernetes_world import IMAGE, kubeconfig
from tests.agent.test_deploy import DEPLOY
from trainer.agent.runners.kubernetes.permissions import NEEDED, NEEDED_TO_LEAD


@pytest.fixture
def site(aws, kubernetes, tmp_path, monkeypatch):
    """Everything as it should be; what a test takes away is found missing."""
    data, artifacts = aws.bucket("data"), aws.bucket("artifacts")
    data.put("sites/lab/surveys/a.csv", b"rows", "text/csv")
    sqs = aws.client("sqs")
    dead = sqs.create_queue(QueueName=f"dead-{data.name}")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": attributes["Attributes"]["QueueArn"], "maxReceiveCount": "3"}
    queue = sqs.create_queue(
        QueueName=f"q-{data.name}", Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    aws.client("events").create_event_bus(Name=f"bus-{data.name}")
    (tmp_path / "template.yaml").write_text(f"image: {IMAGE}")
    variables = {
        **aws.environment,
        "KUBECONFIG": str(kubeconfig(tmp_path, kubernetes.server)),
        "RSSI_RUNNER": "kubernetes",
        "RSSI_LEASE": "rssi-agent",
        "RSSI_POD_TEMPLATE": str(tmp_path / "template.yaml"),
        "RSSI_DATA_BUCKET": data.name,
        "RSSI_ARTIFACT_BUCKET": artifacts.name,
        "RSSI_BUS": f"bus-{data.name}",
        "RSSI_QUEUE_URL": queue["QueueUrl"],
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return artifacts


def findings() -> dict[str, CheckResult]:
    return {result.what: result for result in check_agent("dev")}


def test_an_agent_that_has_everything_passes_and_nothing_is_left_behind(site):
    found = findings()

    assert {finding.health for finding in found.values()} == {CheckStatus.GOOD}, found
    assert "1 sites" in found["data bucket"].seen
    assert list(site.objects("")) == []
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


@pytest.mark.parametrize(
    ("variable", "value", "what", "words"),
    [
        ("RSSI_DATA_BUCKET", "no-such-bucket", "data bucket", "agent policy"),
        ("RSSI_ARTIFACT_BUCKET", "no-such-bucket", "artifact bucket, writing", "s3:PutObject"),
        ("RSSI_QUEUE_URL", "http://127.0.0.1:1/123456789012/none", "queue", "sqs:ReceiveMessage"),
        ("RSSI_POD_TEMPLATE", "/nowhere", "cluster", "mount the pod template"),
    ],
)
def test_what_is_missing_is_named_with_a_way_to_mend_it(
    site, monkeypatch, variable, value, what, words
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv(variable, value)

    found = findings()

    assert found[what].health is CheckStatus.MISSING
    assert words in found[what].mend
    ended = CliRunner().invoke(app, ["doctor", "--json"])
    assert "are missing" in str(ended.exception)


def test_each_permission_that_the_role_does_not_grant_is_named(site, kubernetes):
    kubernetes.server.allowed = lambda verb, resource: (verb, resource) != ("get", "pods/log")

    found = findings()

    assert found["may get pods/log"].health is CheckStatus.MISSING
    assert "kubectl apply -k" in found["may get pods/log"].mend
    assert found["may create jobs"].health is CheckStatus.GOOD


def test_a_cluster_that_refuses_is_a_result_and_no_crash(site, kubernetes):
    kubernetes.server.faults.append(Fault("GET", "jobs", 403))

    assert findings()["Jobs"].health is CheckStatus.MISSING


def test_a_missing_queue_is_only_doubtful_since_the_resync_finds_everything(site, monkeypatch):
    monkeypatch.delenv("RSSI_QUEUE_URL")

    found = findings()

    assert found["queue"].health is CheckStatus.DOUBTFUL
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


def test_missing_names_are_reported(site, monkeypatch):
    monkeypatch.delenv("RSSI_BUS")

    found = findings()

    assert found["settings"].health is CheckStatus.MISSING
    assert "RSSI_BUS" in found["settings"].mend
    assert "bus" not in found, "what rests on it is left"


def test_the_shipped_role_grants_exactly_what_is_checked():
    role = next(
        document
        for document in yaml.safe_load_all((DEPLOY / "base" / "role.yaml").read_text())
        if document["kind"] == "Role"
    )
    granted = {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    checked = {
        (needed.verb, needed.group, "/".join(filter(None, (needed.resource, needed.subresource))))
        for needed in (*NEEDED, *NEEDED_TO_LEAD)
    }

    assert checked == granted
