"""The deployer: a synthesized assembly becomes what it says, or is refused with every reason."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.local.cloud import EmbeddedCloud
from ops.local.deploy.template import ResourceIdentity, StackTemplate, TemplateResource
from ops.local.errors import AssemblyError, NotEmulatedError
from ops.local.settings import CloudSettings
from tests.local.local_helpers import eventually

Clients = Callable[[str], Any]
SOURCE = "def handle(event, context): return {'greeting': __import__('os').environ['GREETING']}"


def template() -> dict[str, Any]:
    """A small stack with every way in which resources refer to each other."""
    return {
        "Parameters": {
            "BootstrapVersion": {
                "Type": "AWS::SSM::Parameter::Value<String>",
                "Default": "/cdk-bootstrap/hnb659fds/version",
            },
            "Greeting": {"Type": "String", "Default": "hello"},
        },
        "Conditions": {
            "Here": {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]},
            "Elsewhere": {"Fn::Not": [{"Condition": "Here"}]},
        },
        "Resources": {
            "Data": {
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "VersioningConfiguration": {"Status": "Enabled"},
                    "NotificationConfiguration": {
                        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
                    },
                    "LifecycleConfiguration": {
                        "Rules": [
                            {
                                "Id": "old",
                                "Status": "Enabled",
                                "ExpirationInDays": 30,
                                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                            }
                        ]
                    },
                },
            },
            "DataPolicy": {
                "Type": "AWS::S3::BucketPolicy",
                "Properties": {"Bucket": {"Ref": "Data"}, "PolicyDocument": {}},
            },
            "Dead": {"Type": "AWS::SQS::Queue"},
            "Wire": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "VisibilityTimeout": 77,
                    "RedrivePolicy": {
                        "deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]},
                        "maxReceiveCount": 3,
                    },
                },
            },
            "Never": {"Type": "AWS::SQS::Queue", "Condition": "Elsewhere"},
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {
                    "EventPattern": {"detail": {"bucket": {"name": [{"Ref": "Data"}]}}},
                    "Targets": [{"Id": "0", "Arn": {"Fn::GetAtt": "Wire.Arn"}}],
                },
            },
            "Ledger": {
                "Type": "AWS::DynamoDB::Table",
                "Properties": {
                    "AttributeDefinitions": [
                        {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "gk")
                    ],
                    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                    "BillingMode": "PAY_PER_REQUEST",
                    "GlobalSecondaryIndexes": [
                        {
                            "IndexName": "by-gk",
                            "KeySchema": [{"AttributeName": "gk", "KeyType": "HASH"}],
                            "Projection": {"ProjectionType": "ALL"},
                        }
                    ],
                    "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                },
            },
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "AssumeRolePolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": "sts:AssumeRole",
                                "Principal": {"Service": "lambda.amazonaws.com"},
                            }
                        ],
                    }
                },
            },
            "Function": {
                "Type": "AWS::Lambda::Function",
                "DependsOn": "Ledger",
                "Properties": {
                    "Handler": "source.handle",
                    "Runtime": "python3.11",
                    "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                    "Architectures": ["arm64"],
                    "Timeout": "20",
                    "Code": {
                        "S3Bucket": {
                            "Fn::Sub": "cdk-hnb659fds-assets-${AWS::AccountId}-${AWS::Region}"
                        },
                        "S3Key": "code.zip",
                    },
                    "Environment": {
                        "Variables": {
                            "GREETING": {
                                "Fn::Join": [
                                    " ",
                                    [
                                        {"Fn::If": ["Here", {"Ref": "Greeting"}, "bye"]},
                                        {"Fn::Select": [1, {"Fn::Split": ["-", "a-world"]}]},
                                    ],
                                ]
                            },
                            "ABSENT": {"Fn::If": ["Elsewhere", "x", {"Ref": "AWS::NoValue"}]},
                        }
                    },
                },
            },
            "Where": {
                "Type": "AWS::SSM::Parameter",
                "Properties": {
                    "Name": {"Fn::Sub": "/${AWS::StackName}/where"},
                    "Type": "String",
                    "Value": {"Fn::Sub": ["${Data}|${Wire.QueueName}|${Extra}", {"Extra": "x"}]},
                },
            },
        },
        "Outputs": {"Bucket": {"Value": {"Ref": "Data"}}, "Queue": {"Value": {"Ref": "Wire"}}},
    }


def assembly(directory: Path, stack: str, content: dict[str, Any]) -> Path:
    """Write what the CDK would."""
    (directory / "asset.code").mkdir(parents=True, exist_ok=True)
    (directory / "asset.code" / "source.py").write_text(SOURCE)
    (directory / "stack.template.json").write_text(json.dumps(content))
    files = {
        "code": {
            "source": {"path": "asset.code", "packaging": "zip"},
            "destinations": {"here": {"bucketName": "any", "objectKey": "code.zip"}},
        }
    }
    (directory / "stack.assets.json").write_text(json.dumps({"version": "1", "files": files}))
    artifacts = {
        "assets": {"type": "cdk:asset-manifest", "properties": {"file": "stack.assets.json"}},
        stack: {
            "type": "aws:cloudformation:stack",
            "properties": {"templateFile": "stack.template.json"},
            "dependencies": ["assets"],
        },
    }
    (directory / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
    return directory


def test_a_stack_becomes_what_its_template_says(
    cloud: EmbeddedCloud, client: Clients, name: str, tmp_path: Path
) -> None:
    deployed = cloud.deploy(assembly(tmp_path, name, template()))
    bucket, queue = deployed.outputs["Bucket"], deployed.outputs["Queue"]
    assert client("s3").get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["Expiration"] == {"Days": 30}
    attributes = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])
    assert attributes["Attributes"]["VisibilityTimeout"] == "77"
    assert json.loads(attributes["Attributes"]["RedrivePolicy"])["maxReceiveCount"] == 3
    ledger = deployed.physical_ids["Ledger"]
    table = client("dynamodb").describe_table(TableName=ledger)["Table"]
    assert [each["IndexName"] for each in table["GlobalSecondaryIndexes"]] == ["by-gk"]
    recovery = client("dynamodb").describe_continuous_backups(TableName=ledger)
    status = recovery["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert status["PointInTimeRecoveryStatus"] == "ENABLED"
    parameter = client("ssm").get_parameter(Name=f"/{name}/where")["Parameter"]["Value"]
    assert parameter == f"{bucket}|{queue.rpartition('/')[2]}|x"
    answer = client("lambda").invoke(FunctionName=deployed.physical_ids["Function"])
    assert json.load(answer["Payload"]) == {"greeting": "hello world"}
    configuration = client("lambda").get_function_configuration(
        FunctionName=deployed.physical_ids["Function"]
    )
    assert configuration["Timeout"] == 20
    assert configuration["Environment"]["Variables"] == {"GREETING": "hello world"}
    assert "Never" not in deployed.physical_ids


def test_an_upload_flows_through_the_deployed_rule(
    cloud: EmbeddedCloud, client: Clients, name: str, tmp_path: Path
) -> None:
    deployed = cloud.deploy(assembly(tmp_path, name, template()))
    client("s3").put_object(Bucket=deployed.outputs["Bucket"], Key="a.csv", Body=b"1")

    def received() -> Any:
        answer = client("sqs").receive_message(
            QueueUrl=deployed.outputs["Queue"], WaitTimeSeconds=1
        )
        return answer.get("Messages")

    (message,) = eventually(received)
    assert json.loads(message["Body"])["detail"]["object"]["key"] == "a.csv"


def test_a_repeated_deployment_finds_everything_there_and_keeps_its_state(
    cloud: EmbeddedCloud, client: Clients, name: str, tmp_path: Path
) -> None:
    first = cloud.deploy(assembly(tmp_path, name, template()))
    client("s3").put_object(Bucket=first.outputs["Bucket"], Key="kept", Body=b"1")
    changed = template()
    changed["Resources"]["Wire"]["Properties"]["VisibilityTimeout"] = 78
    changed["Parameters"]["Greeting"]["Default"] = "servus"
    second = cloud.deploy(assembly(tmp_path, name, changed))
    assert first == second
    assert client("s3").get_object(Bucket=first.outputs["Bucket"], Key="kept")["Body"].read()
    attributes = client("sqs").get_queue_attributes(
        QueueUrl=first.outputs["Queue"], AttributeNames=["VisibilityTimeout"]
    )
    assert attributes["Attributes"]["VisibilityTimeout"] == "78"
    answer = client("lambda").invoke(FunctionName=first.physical_ids["Function"])
    assert json.load(answer["Payload"]) == {"greeting": "servus world"}


def test_all_that_is_not_emulated_is_listed_with_its_path_and_nothing_is_created(
    cloud: EmbeddedCloud, client: Clients, name: str, tmp_path: Path
) -> None:
    content = template()
    resources = content["Resources"]
    resources["Data"]["Properties"]["WebsiteConfiguration"] = {"IndexDocument": "i.html"}
    resources["Data"]["Properties"]["LifecycleConfiguration"]["Rules"][0]["Odd"] = {"Deep": [1]}
    resources["Notebook"] = {"Type": "AWS::SageMaker::NotebookInstance"}
    resources["Wire"]["Properties"]["KmsMasterKeyId"] = "alias/x"
    resources["Where"]["Properties"]["Value"] = {"Fn::GetAtt": ["Data", "WebsiteURL"]}
    resources["Rule"]["Properties"]["EventPattern"] = {"source": [{"begins-with": "x"}]}
    before = client("s3").list_buckets()["Buckets"]
    with pytest.raises(NotEmulatedError) as refused:
        cloud.deploy(assembly(tmp_path, name, content))
    data = "Resources.Data.Properties"
    no_pattern = "InvalidEventPatternException: Event pattern is not valid. Reason:"
    assert sorted(refused.value.findings) == sorted(
        [
            f"{data}.WebsiteConfiguration.IndexDocument: not emulated for AWS::S3::Bucket",
            f"{data}.LifecycleConfiguration.Rules[0].Odd.Deep[0]: not emulated for AWS::S3::Bucket",
            "Resources.Notebook: the type AWS::SageMaker::NotebookInstance",
            "Resources.Wire.Properties.KmsMasterKeyId: not emulated for AWS::SQS::Queue",
            "Resources.Where: The attribute Data.WebsiteURL is not emulated.",
            f"Resources.Rule: {no_pattern} Unrecognized match type begins-with at source",
        ]
    )
    assert client("s3").list_buckets()["Buckets"] == before


def test_a_reference_to_nothing_is_refused_with_its_name(
    cloud: EmbeddedCloud, name: str, tmp_path: Path
) -> None:
    content = template()
    content["Outputs"] = {}
    content["Resources"]["Where"]["Properties"]["Value"] = {"Ref": "Nothing"}
    with pytest.raises(NotEmulatedError, match="Nothing is neither a resource nor a parameter"):
        cloud.deploy(assembly(tmp_path, name, content))


def test_a_directory_that_is_no_assembly_says_how_to_make_one(
    cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    with pytest.raises(AssemblyError, match="Synthesize first"):
        cloud.deploy(tmp_path / "nowhere")


def test_generated_names_keep_to_the_limits_of_their_services(
    cloud: EmbeddedCloud, name: str, tmp_path: Path
) -> None:
    content: dict[str, Any] = {"Resources": {}, "Outputs": {}}
    for kind in ("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::SNS::Topic"):
        content["Resources"][kind.replace(":", "") + "X" * 90] = {"Type": kind}
    deployed = cloud.deploy(assembly(tmp_path, name, content))
    names = {logical: ref.rpartition("/")[2] for logical, ref in deployed.physical_ids.items()}
    assert len(names["AWSS3Bucket" + "X" * 90]) == 63
    assert names["AWSS3Bucket" + "X" * 90].islower()
    assert len(names["AWSSQSQueue" + "X" * 90]) == 80


def resolved(value: Any, **sections: Any) -> Any:
    def identify(resource: TemplateResource, _: StackTemplate) -> ResourceIdentity:
        return ResourceIdentity(f"{resource.logical_id}-id", {"Arn": f"arn:{resource.logical_id}"})

    content = {"Resources": {"Thing": {"Type": "T"}}, **copy.deepcopy(sections)}
    return StackTemplate(content, "stack", CloudSettings(), identify, {"shared": "42"}).resolve(
        value
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Thing"}, "Thing-id"),
        ({"Ref": "AWS::Partition"}, "aws"),
        ({"Fn::Sub": "${Thing}/${Thing.Arn}/${!Literal}"}, "Thing-id/arn:Thing/${Literal}"),
        ({"Fn::Join": [",", ["a", {"Ref": "Thing"}, 5, True]]}, "a,Thing-id,5,true"),
        ({"Fn::Select": ["0", ["a", "b"]]}, "a"),
        ({"Fn::Base64": "a"}, "YQ=="),
        ({"Fn::ImportValue": "shared"}, "42"),
        ({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "k"]}, "mapped"),
        ([{"Ref": "AWS::NoValue"}, 1], [1]),
        ({"a": {"Ref": "AWS::NoValue"}, "b": 1}, {"b": 1}),
        ({"Ref": "x", "also": 1}, {"Ref": "x", "also": 1}),
    ],
)
def test_functions_resolve_as_cloudformation_does(value: Any, expected: Any) -> None:
    assert resolved(value, Mappings={"M": {"us-east-1": {"k": "mapped"}}}) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"Fn::Cidr": ["10.0.0.0/8"]}, "Fn::Cidr is not emulated"),
        ({"Fn::GetAtt": ["Thing", "Other"]}, "Thing.Other is not emulated"),
        ({"Fn::ImportValue": "unshared"}, "exports unshared"),
        ({"Fn::If": ["Unknown", 1, 2]}, "no condition Unknown"),
        ({"Ref": "NoDefault"}, "NoDefault has no default"),
    ],
)
def test_what_cannot_be_resolved_is_named(value: Any, reason: str) -> None:
    with pytest.raises(AssemblyError, match=reason):
        resolved(value, Parameters={"NoDefault": {"Type": "String"}})
