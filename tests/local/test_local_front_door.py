"""The front door: one address, every service, and a hint for requests without a signature."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError

from ops.local.cloud import EmbeddedCloud
from ops.local.errors import AlreadyRunningError

Clients = Callable[[str], Any]


def test_a_visitor_without_a_signature_is_told_what_this_is(cloud: EmbeddedCloud) -> None:
    greeting = urllib3.request("GET", cloud.address).json()
    assert cloud.address in greeting["use"]


def test_the_environment_alone_makes_a_client_use_the_cloud(
    cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key, value in cloud.environment().items():
        monkeypatch.setenv(key, value)
    sqs = boto3.session.Session().client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    assert url == f"{cloud.address}/123456789012/{name}"
    sqs.close()


def test_a_presigned_url_works(client: Clients, name: str) -> None:
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="a b", Body=b"content")
    url = client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": name, "Key": "a b"}, ExpiresIn=60
    )
    assert urllib3.request("GET", url).data == b"content"


def test_an_operation_that_is_not_emulated_says_so(client: Clients) -> None:
    with pytest.raises(ClientError, match="CreateTrainingJob is not emulated"):
        client("sagemaker")._make_api_call(
            "CreateTrainingJob",
            {
                "TrainingJobName": "t",
                "RoleArn": "arn:aws:iam::123456789012:role/training-jobs",
                "OutputDataConfig": {"S3OutputPath": "s3://b/k"},
                "ResourceConfig": {"VolumeSizeInGB": 1},
                "StoppingCondition": {},
            },
        )


def test_a_process_runs_one_cloud_at_a_time(cloud: EmbeddedCloud) -> None:
    with pytest.raises(AlreadyRunningError, match="already runs an embedded cloud"):
        EmbeddedCloud()


def test_parameters_are_kept_and_missing_ones_are_named(client: Clients, name: str) -> None:
    ssm = client("ssm")
    ssm.put_parameter(Name=f"/{name}/a", Value="1", Type="String")
    ssm.put_parameter(Name=f"/{name}/a", Value="2", Type="String", Overwrite=True)
    with pytest.raises(ClientError, match="already exists"):
        ssm.put_parameter(Name=f"/{name}/a", Value="3", Type="String")
    parameter = ssm.get_parameter(Name=f"/{name}/a")["Parameter"]
    assert (parameter["Value"], parameter["Version"]) == ("2", 2)
    by_path = ssm.get_parameters_by_path(Path=f"/{name}")["Parameters"]
    assert [each["Name"] for each in by_path] == [f"/{name}/a"]
    with pytest.raises(ClientError, match="ParameterNotFound"):
        ssm.get_parameter(Name="/nothing")
