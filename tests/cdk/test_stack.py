"""What the template promises: who hears what, who may do what, and what is never lost or public."""

import fnmatch
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.stack import Stack
from functions.core.candidates.site_policy import GateMode, SitePolicy, policy_parameter
from functions.entry import Handler
from functions.settings import SETTINGS_OF_FUNCTION
from ops.account.clean_up import clean_up_function
from tests.cdk.conftest import DECLARED_SITES

PLAIN_TYPES = {
    "AWS::DynamoDB::Table",
    "AWS::Events::EventBus",
    "AWS::Events::Rule",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::Logs::ResourcePolicy",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Parameter",
}
STEPS = ("create_model", "decide", "roll_endpoint", "smoke_test", "roll_back")
SPEAKERS = (*STEPS, "reconcile")
FUNCTIONS = (*SPEAKERS, "clean_up")


class Template:
    """A synthesized template, asked by type, handler and reference."""

    def __init__(self, file: Path) -> None:
        self.document: dict[str, Any] = json.loads(file.read_text())
        self.resources: dict[str, dict[str, Any]] = self.document["Resources"]

    def all_of(self, kind: str) -> dict[str, dict[str, Any]]:
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def one_of(self, kind: str, containing: str = "") -> str:
        (name,) = (name for name in self.all_of(kind) if containing in name)
        return name

    def properties(self, name: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.resources[name].get("Properties", {})
        return properties

    def function(self, step: str) -> str:
        (name,) = (
            name
            for name, properties in self.all_of("AWS::Lambda::Function").items()
            if properties["Handler"] == f"functions.{step}.handler"
        )
        return name

    def rules_to(self, target: object) -> list[dict[str, Any]]:
        return [
            rule
            for rule in self.all_of("AWS::Events::Rule").values()
            if any(entry["Arn"] == target for entry in rule["Targets"])
        ]

    def rule_to(self, target: object) -> dict[str, Any]:
        (rule,) = self.rules_to(target)
        return rule

    def statements_of(self, role: str) -> dict[str, dict[str, Any]]:
        return {
            statement.get("Sid", ""): statement
            for policy in self.all_of("AWS::IAM::Policy").values()
            if {"Ref": role} in policy["Roles"]
            for statement in policy["PolicyDocument"]["Statement"]
        }

    def role_of(self, step: str) -> dict[str, dict[str, Any]]:
        return self.statements_of(self.properties(self.function(step))["Role"]["Fn::GetAtt"][0])


@pytest.fixture(scope="session")
def dev(assembly: Path) -> Template:
    return Template(assembly / "RssiMlops-dev.template.json")


@pytest.fixture(scope="session")
def prod(production: Path) -> Template:
    return Template(production / "RssiMlops-prod.template.json")


# Everything can be deployed by plain API calls.


def test_the_stack_is_made_of_plain_resources_without_custom_ones(prod: Template) -> None:
    assert {resource["Type"] for resource in prod.resources.values()} == PLAIN_TYPES


def test_the_template_looks_nothing_up_when_it_is_deployed(dev: Template) -> None:
    assert set(dev.document) == {"Description", "Resources", "Outputs"}


# The buckets.


def test_buckets_are_versioned_private_encrypted_and_tell_event_bridge(dev: Template) -> None:
    buckets = dev.all_of("AWS::S3::Bucket")
    assert len(buckets) == 2
    for bucket in buckets.values():
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["NotificationConfiguration"] == {
            "EventBridgeConfiguration": {"EventBridgeEnabled": True}
        }
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]


def test_buckets_refuse_requests_without_tls(dev: Template) -> None:
    policies = dev.all_of("AWS::S3::BucketPolicy").values()
    assert {policy["Bucket"]["Ref"] for policy in policies} == set(dev.all_of("AWS::S3::Bucket"))
    for policy in policies:
        (deny,) = policy["PolicyDocument"]["Statement"]
        assert deny["Effect"] == "Deny"
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_no_version_of_an_object_ever_expires(dev: Template) -> None:
    for bucket in dev.all_of("AWS::S3::Bucket").values():
        (rule,) = bucket["LifecycleConfiguration"]["Rules"]
        assert set(rule) == {"AbortIncompleteMultipartUpload", "Id", "Status"}


def test_production_keeps_its_data_when_the_stack_goes(prod: Template) -> None:
    kept = ("AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup")
    resources = [one for one in prod.resources.values() if one["Type"] in kept]
    assert {one["DeletionPolicy"] for one in resources} == {"Retain"}
    assert {one["UpdateReplacePolicy"] for one in resources} == {"Retain"}
    assert prod.properties(prod.one_of("AWS::DynamoDB::Table"))["DeletionProtectionEnabled"] is True


# The messaging.


def test_an_uploaded_survey_reaches_the_queue_and_nothing_else_does(dev: Template) -> None:
    queue = {"Fn::GetAtt": [surveys_queue(dev), "Arn"]}
    rule = dev.rule_to(queue)
    assert "EventBusName" not in rule
    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": {"name": [{"Ref": dev.one_of("AWS::S3::Bucket", "Data")}]},
            "object": {"key": [{"wildcard": "sites/*/surveys/*"}]},
        },
    }
    (allow,) = (
        statement for statement in queue_policy(dev, queue) if statement["Effect"] == "Allow"
    )
    assert allow["Condition"] == {
        "ArnEquals": {
            "aws:SourceArn": {"Fn::GetAtt": [dev.one_of("AWS::Events::Rule", "Survey"), "Arn"]}
        }
    }


def test_the_agent_has_five_tries_of_five_minutes_within_two_weeks(dev: Template) -> None:
    queue = dev.properties(surveys_queue(dev))
    assert queue["VisibilityTimeout"] == 300
    assert queue["ReceiveMessageWaitTimeSeconds"] == 20
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 5


@pytest.mark.parametrize(
    ("step", "kinds"),
    [
        ("create_model", ["ReleaseFound"]),
        ("decide", ["ApprovalRequested", "RejectionRequested", "ResumeRequested"]),
        (
            "roll_endpoint",
            [
                "ModelCreated",
                "DeploymentSucceeded",
                "DeploymentFailed",
                "RolledBack",
                "DeploymentStalled",
                "SiteResumed",
            ],
        ),
        ("smoke_test", ["RolloutStarted", "DeploymentStalled"]),
        ("roll_back", ["SmokeTestFailed", "RollbackRequested", "DeploymentStalled"]),
    ],
)
def test_our_own_events_start_a_step_whoever_says_them(
    dev: Template, step: str, kinds: list[str]
) -> None:
    bus = {"Ref": dev.one_of("AWS::Events::EventBus")}
    patterns = [
        rule["EventPattern"]
        for rule in dev.rules_to({"Fn::GetAtt": [dev.function(step), "Arn"]})
        if rule.get("EventBusName") == bus
    ]
    assert patterns == [{"detail-type": kinds}]


def test_reconcile_runs_every_five_minutes(dev: Template) -> None:
    (rule,) = dev.rules_to({"Fn::GetAtt": [dev.function("reconcile"), "Arn"]})
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert rule["State"] == "ENABLED"


def test_clean_up_runs_every_night_and_has_the_longest_time_that_there_is(dev: Template) -> None:
    (rule,) = dev.rules_to({"Fn::GetAtt": [dev.function("clean_up"), "Arn"]})
    assert rule["ScheduleExpression"] == "cron(17 2 * * ? *)"
    assert rule["State"] == "ENABLED"
    assert dev.properties(dev.function("clean_up"))["Timeout"] == 900


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_sent_exactly_the_events_that_it_handles(dev: Template, step: str) -> None:
    sent = {
        kind
        for rule in dev.rules_to({"Fn::GetAtt": [dev.function(step), "Arn"]})
        for kind in rule["EventPattern"]["detail-type"]
    }
    assert sent == set(handler_of(step).kinds)


def test_only_a_release_s_manifest_starts_create_model(dev: Template) -> None:
    (rule,) = (
        rule
        for rule in dev.rules_to({"Fn::GetAtt": [dev.function("create_model"), "Arn"]})
        if "EventBusName" not in rule
    )
    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": {"name": [{"Ref": dev.one_of("AWS::S3::Bucket", "Artifacts")}]},
            "object": {"key": [{"wildcard": "sites/*/releases/*/release.json"}]},
        },
    }


@pytest.mark.parametrize("step", ["roll_endpoint", "smoke_test"])
def test_a_change_of_the_stage_s_endpoints_starts_who_waits_for_it(
    dev: Template, prod: Template, step: str
) -> None:
    for template, prefix in ((dev, "rssi-dev-"), (prod, "rssi-prod-")):
        (pattern,) = (
            rule["EventPattern"]
            for rule in template.rules_to({"Fn::GetAtt": [template.function(step), "Arn"]})
            if "EventBusName" not in rule
        )
        assert pattern == {
            "source": ["aws.sagemaker"],
            "detail-type": ["SageMaker Endpoint State Change"],
            "detail": {"EndpointName": [{"prefix": prefix}]},
        }


def test_event_bridge_may_invoke_each_function_by_its_rule_only(dev: Template) -> None:
    permissions = dev.all_of("AWS::Lambda::Permission").values()
    invoked = {one["FunctionName"]["Fn::GetAtt"][0] for one in permissions}
    assert invoked == set(dev.all_of("AWS::Lambda::Function"))
    assert all(one["SourceArn"]["Fn::GetAtt"][0] in dev.resources for one in permissions)


@pytest.mark.parametrize("step", FUNCTIONS)
def test_what_a_step_can_not_handle_ends_in_its_own_dead_letter_queue(
    dev: Template, step: str
) -> None:
    function = dev.function(step)
    (invocation,) = (
        config
        for config in dev.all_of("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"] == {"Ref": function}
    )
    assert invocation["MaximumRetryAttempts"] == 2
    assert invocation["MaximumEventAgeInSeconds"] == 6 * 3600
    dead_letters = invocation["DestinationConfig"]["OnFailure"]["Destination"]
    for rule in dev.rules_to({"Fn::GetAtt": [function, "Arn"]}):
        (target,) = rule["Targets"]
        assert target["DeadLetterConfig"] == {"Arn": dead_letters}
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 6 * 3600
    environment = dev.properties(function)["Environment"]["Variables"]
    assert environment["RSSI_DEAD_LETTER_QUEUE_URL"] == {"Ref": dead_letters["Fn::GetAtt"][0]}
    assert dead_letters_are_writable(dev, dead_letters, step)


def test_no_two_functions_share_a_dead_letter_queue(dev: Template) -> None:
    queues = {
        str(config["DestinationConfig"])
        for config in dev.all_of("AWS::Lambda::EventInvokeConfig").values()
    }
    assert len(queues) == len(FUNCTIONS)


def test_all_that_we_say_is_logged(dev: Template) -> None:
    rule = dev.properties(dev.one_of("AWS::Events::Rule", "Everything"))
    log = dev.one_of("AWS::Logs::LogGroup", "EventLog")
    assert rule["EventPattern"] == {"source": [{"prefix": "rssi-mlops"}]}
    (target,) = rule["Targets"]
    # A target's ARN ends with the name; CloudFormation's attribute ends with `:*`.
    assert target["Arn"]["Fn::Join"][1][-2:] == [":log-group:", {"Ref": log}]
    policy = dev.properties(dev.one_of("AWS::Logs::ResourcePolicy"))
    assert {"Fn::GetAtt": [log, "Arn"]} in policy["PolicyDocument"]["Fn::Join"][1]


def test_people_hear_of_what_ended_well_or_badly(prod: Template) -> None:
    topic = prod.one_of("AWS::SNS::Topic")
    assert prod.rule_to({"Ref": topic})["EventPattern"] == {
        "detail-type": [
            "SurveyQuarantined",
            "TrainingFailed",
            "ReleaseRejected",
            "RollbackRefused",
            "DeploymentSucceeded",
            "SmokeTestFailed",
            "DeploymentFailed",
            "RolledBack",
            "EndpointDrifted",
        ]
    }
    (subscription,) = prod.all_of("AWS::SNS::Subscription").values()
    assert subscription == {
        "Endpoint": "on-call@example.com",
        "Protocol": "email",
        "TopicArn": {"Ref": topic},
    }


# The functions.


def test_each_function_runs_on_arm_and_finds_its_dependencies_in_the_layer(dev: Template) -> None:
    layer = {"Ref": dev.one_of("AWS::Lambda::LayerVersion")}
    for function in dev.all_of("AWS::Lambda::Function").values():
        assert function["Runtime"] == "python3.11"
        assert function["Architectures"] == ["arm64"]
        assert function["Layers"] == [layer]
        nightly = function["Handler"] == "functions.clean_up.handler"
        assert (function["MemorySize"], function["Timeout"]) == (512, 900 if nightly else 60)


@pytest.mark.parametrize("step", FUNCTIONS)
def test_a_function_gets_exactly_the_variables_of_its_settings(dev: Template, step: str) -> None:
    environment = dev.properties(dev.function(step))["Environment"]["Variables"]
    assert environment["POWERTOOLS_SERVICE_NAME"] == step
    read_by_powertools = {name for name in environment if name.startswith("POWERTOOLS_")}
    assert set(environment) - read_by_powertools == set(SETTINGS_OF_FUNCTION[step].variables())
    assert all(field.is_required() for field in SETTINGS_OF_FUNCTION[step].model_fields.values())
    assert handler_of(step).settings is SETTINGS_OF_FUNCTION[step]


def test_settings_reach_the_functions(prod: Template) -> None:
    smoke_test = prod.properties(prod.function("smoke_test"))["Environment"]["Variables"]
    create_model = prod.properties(prod.function("create_model"))["Environment"]["Variables"]
    assert smoke_test["RSSI_SMOKE_LATENCY_MS"] == "250"
    assert smoke_test["RSSI_ENDPOINT_PREFIX"] == "rssi-prod"
    assert create_model["RSSI_SERVING_IMAGE"].startswith("123456789012.dkr.ecr.eu-west-1.")


def test_each_function_writes_to_a_log_of_its_own_that_ends(dev: Template) -> None:
    logs = {
        function["LoggingConfig"]["LogGroup"]["Ref"]
        for function in dev.all_of("AWS::Lambda::Function").values()
    }
    assert len(logs) == len(FUNCTIONS)
    assert {dev.properties(log)["RetentionInDays"] for log in logs} == {14}


# Who may do what.


def test_no_identity_has_a_managed_policy_of_aws(dev: Template) -> None:
    assert all("ManagedPolicyArns" not in role for role in dev.all_of("AWS::IAM::Role").values())


def test_no_permission_has_a_wildcard_for_an_action(dev: Template) -> None:
    actions = [action for statement in granted(dev) for action in as_list(statement["Action"])]
    assert actions
    assert not [action for action in actions if "*" in action]


def test_only_what_has_no_resources_in_aws_is_permitted_on_all(dev: Template) -> None:
    on_all = {
        action
        for statement in granted(dev)
        if "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    }
    assert on_all == {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}


@pytest.mark.parametrize("step", ["create_model", "decide", "roll_back"])
def test_the_execution_role_can_be_passed_to_sagemaker_only(dev: Template, step: str) -> None:
    passing = dev.role_of(step)["PassExecutionRole"]
    assert passing["Action"] == "iam:PassRole"
    assert passing["Resource"] == {"Fn::GetAtt": [execution_role(dev), "Arn"]}
    assert passing["Condition"] == {
        "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
    }


def test_only_those_who_make_models_can_pass_a_role(dev: Template) -> None:
    passing = [one for one in granted(dev) if "iam:PassRole" in as_list(one["Action"])]
    assert len(passing) == 3


@pytest.mark.parametrize(
    ("step", "actions"),
    [
        ("create_model", {"CreateModel", "DescribeModel"}),
        ("decide", {"CreateModel", "DescribeModel"}),
        (
            "roll_endpoint",
            {
                "CreateEndpoint",
                "CreateEndpointConfig",
                "DeleteEndpoint",
                "DescribeEndpoint",
                "DescribeEndpointConfig",
                "UpdateEndpoint",
            },
        ),
        ("smoke_test", {"DescribeEndpoint", "InvokeEndpoint"}),
        (
            "roll_back",
            {
                "CreateModel",
                "DeleteEndpoint",
                "DescribeEndpoint",
                "DescribeEndpointConfig",
                "DescribeModel",
            },
        ),
    ],
)
def test_a_step_may_do_in_sagemaker_what_it_is_for(
    dev: Template, step: str, actions: set[str]
) -> None:
    permitted = {
        action.removeprefix("sagemaker:")
        for statement in dev.role_of(step).values()
        for action in as_list(statement["Action"])
        if action.startswith("sagemaker:")
    }
    assert permitted == actions


def test_a_stage_can_not_touch_another_stage_s_endpoints(prod: Template) -> None:
    for step in ("roll_endpoint", "smoke_test", "roll_back"):
        for statement in prod.role_of(step).values():
            for resource in map(json.dumps, as_list(statement["Resource"])):
                assert ":endpoint/" not in resource or ":endpoint/rssi-prod-*" in resource


def test_everyone_speaks_on_the_bus_under_their_own_name(dev: Template) -> None:
    bus = {"Fn::GetAtt": [dev.one_of("AWS::Events::EventBus"), "Arn"]}
    for step in SPEAKERS:
        assert dev.role_of(step)["PutEvents"]["Resource"] == bus
        assert event_source_of(dev.role_of(step)["PutEvents"]) == "rssi-mlops.release"
    assert event_source_of(agent_policy(dev)["PutEvents"]) == "rssi-mlops.agent"


def test_only_clean_up_can_delete_objects_and_only_those_of_attempts(dev: Template) -> None:
    deleting = [
        statement
        for statement in granted(dev)
        if any("s3:Delete" in action for action in as_list(statement["Action"]))
    ]
    assert deleting == [dev.role_of("clean_up")["DeleteAttempts"]]
    assert deleting[0]["Action"] == ["s3:DeleteObject", "s3:DeleteObjectVersion"]
    artifacts = dev.one_of("AWS::S3::Bucket", "Artifacts")
    assert deleting[0]["Resource"]["Fn::Join"][1] == [
        {"Fn::GetAtt": [artifacts, "Arn"]},
        "/sites/*/releases/*/attempts/*",
    ]


def test_clean_up_knows_neither_the_ledger_nor_the_bus(dev: Template) -> None:
    actions = {
        action.split(":")[0]
        for statement in dev.role_of("clean_up").values()
        for action in as_list(statement["Action"])
    }
    assert actions == {"logs", "s3", "sqs"}


def test_the_agent_can_not_delete_an_object_nor_write_what_is_not_its_own(dev: Template) -> None:
    policy = agent_policy(dev)
    actions = {action for one in policy.values() for action in as_list(one["Action"])}
    assert not [action for action in actions if action.startswith("s3:Delete")]
    artifacts = dev.one_of("AWS::S3::Bucket", "Artifacts")
    written = [resource["Fn::Join"][1] for resource in policy["WriteArtifacts"]["Resource"]]
    assert [parts[0]["Fn::GetAtt"][0] for parts in written] == [artifacts] * 4
    assert [parts[1] for parts in written] == [
        "/sites/*/quarantine/*",
        "/sites/*/releases/*",
        "/sites/*/runs/*",
        "/sites/*/snapshots/*",
    ]


def test_only_who_sees_the_ledger_writes_down_what_is_live_and_the_agent_reads_it(
    dev: Template,
) -> None:
    writers = {step for step in FUNCTIONS if "WriteChampion" in dev.role_of(step)}
    assert writers == {"smoke_test", "reconcile"}
    for step in writers:
        statement = dev.role_of(step)["WriteChampion"]
        assert statement["Resource"]["Fn::Join"][1][1] == "/sites/*/champion.json"
        assert set(statement["Action"]) == {"s3:GetObject", "s3:PutObject"}
    read = agent_policy(dev)["ReadArtifacts"]["Resource"]
    assert "/sites/*/champion.json" in [resource["Fn::Join"][1][1] for resource in read]


def test_the_pointer_to_what_is_live_starts_nothing(dev: Template) -> None:
    patterns = [
        wildcard
        for rule in dev.all_of("AWS::Events::Rule").values()
        for wildcard in rule.get("EventPattern", {})
        .get("detail", {})
        .get("object", {})
        .get("key", [])
    ]
    assert len(patterns) == 2
    key = "sites/lab/champion.json"
    assert not [one for one in patterns if fnmatch.fnmatchcase(key, one["wildcard"])]


def test_sagemaker_reads_releases_and_pulls_one_repository(prod: Template) -> None:
    statements = prod.statements_of(execution_role(prod))
    assert statements["ReadReleases"]["Resource"]["Fn::Join"][1][1] == "/sites/*/releases/*"
    pulled = "".join(
        part if isinstance(part, str) else "aws"
        for part in statements["PullImage"]["Resource"]["Fn::Join"][1]
    )
    assert pulled == "arn:aws:ecr:eu-west-1:123456789012:repository/models/serving"


# What the sites demand.


def test_the_stage_and_each_declared_site_have_a_parameter_with_their_policy(
    prod: Template,
) -> None:
    policies = {
        properties["Name"]: SitePolicy.model_validate_json(properties["Value"])
        for properties in prod.all_of("AWS::SSM::Parameter").values()
        if "site-policy" in properties["Name"]
    }
    assert policies.pop(policy_parameter("prod")) == SitePolicy(margin_m=0.3)
    assert policies == {
        policy_parameter("prod", site): SitePolicy(margin_m=0.3, gate=GateMode.APPROVE)
        for site in DECLARED_SITES
    }


@pytest.mark.parametrize("step", STEPS)
def test_only_those_who_judge_read_policies(dev: Template, step: str) -> None:
    statement = dev.role_of(step).get("ReadSitePolicies")
    assert (statement is not None) == (step in ("create_model", "decide"))
    if statement is not None:
        assert statement["Action"] == "ssm:GetParameters"
        resources = json.dumps(statement["Resource"])
        assert ":parameter/rssi-mlops/dev/site-policy/*" in resources


# The ledger, and how clients find it all.


def test_the_ledger_is_on_demand_recoverable_and_never_forgets(dev: Template) -> None:
    table = dev.properties(dev.one_of("AWS::DynamoDB::Table"))
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert "TimeToLiveSpecification" not in table


def test_the_parameter_describes_the_stack_as_clients_read_it(prod: Template) -> None:
    parameter = prod.properties(prod.one_of("AWS::SSM::Parameter", "Description"))
    assert parameter["Name"] == "/rssi-mlops/prod/stack"
    glue, parts = parameter["Value"]["Fn::Join"]
    written = glue.join(part if isinstance(part, str) else part["Ref"] for part in parts)
    assert Stack.model_validate_json(written) == Stack(
        stage="prod",
        data_bucket=prod.one_of("AWS::S3::Bucket", "Data"),
        artifact_bucket=prod.one_of("AWS::S3::Bucket", "Artifacts"),
        queue_url=surveys_queue(prod),
        bus=prod.one_of("AWS::Events::EventBus"),
        ledger_table=prod.one_of("AWS::DynamoDB::Table"),
        event_log=prod.one_of("AWS::Logs::LogGroup", "EventLog"),
        endpoint_prefix="rssi-prod",
        topic_arn=prod.one_of("AWS::SNS::Topic"),
    )


def test_the_bus_of_the_default_stage_has_the_name_that_listeners_expect(
    dev: Template, prod: Template
) -> None:
    assert dev.properties(dev.one_of("AWS::Events::EventBus"))["Name"] == "rssi-mlops"
    assert prod.properties(prod.one_of("AWS::Events::EventBus"))["Name"] == "rssi-mlops-prod"


def handler_of(step: str) -> Handler[Any]:
    handler = importlib.import_module(f"functions.{step}").handler
    assert isinstance(handler, Handler)
    return handler


def surveys_queue(template: Template) -> str:
    (name,) = (
        name
        for name, queue in template.all_of("AWS::SQS::Queue").items()
        if "RedrivePolicy" in queue
    )
    return name


def execution_role(template: Template) -> str:
    (name,) = (
        name
        for name, role in template.all_of("AWS::IAM::Role").items()
        if "sagemaker.amazonaws.com" in json.dumps(role["AssumeRolePolicyDocument"])
    )
    return name


def agent_policy(template: Template) -> dict[str, dict[str, Any]]:
    policy = template.properties(template.one_of("AWS::IAM::ManagedPolicy"))
    return {one["Sid"]: one for one in policy["PolicyDocument"]["Statement"]}


def queue_policy(template: Template, queue: object) -> Iterator[dict[str, Any]]:
    for policy in template.all_of("AWS::SQS::QueuePolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Resource"] == queue:
                yield statement


def dead_letters_are_writable(template: Template, queue: object, step: str) -> bool:
    rules = template.rules_to({"Fn::GetAtt": [template.function(step), "Arn"]})
    by_rule = [one for one in queue_policy(template, queue) if one["Effect"] == "Allow"]
    by_function = any(
        one["Resource"] == queue and "sqs:SendMessage" in as_list(one["Action"])
        for one in template.role_of(step).values()
    )
    return len(by_rule) == len(rules) and by_function


def granted(template: Template) -> Iterator[dict[str, Any]]:
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for policy in template.all_of(kind).values():
            yield from policy["PolicyDocument"]["Statement"]


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def event_source_of(statement: dict[str, Any]) -> object:
    return statement["Condition"]["StringEquals"]["events:source"]


def test_the_command_line_calls_the_clean_up_by_its_name(dev: Template, prod: Template) -> None:
    for template, stage in ((dev, "dev"), (prod, "prod")):
        function = template.properties(template.function("clean_up"))
        assert function["FunctionName"] == clean_up_function(stage)
