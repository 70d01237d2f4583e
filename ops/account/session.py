"""Clients for whatever AWS the environment points at: a real account or the embedded cloud.

The embedded cloud checks no credentials: if the endpoint is on this machine and the environment
has none, placeholders are used.
"""

import ipaddress
import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from events.stack import Stack, stack_parameter
from ops.errors import NoStackError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_events import EventBridgeClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from types_boto3_ssm import SSMClient

EMBEDDED_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "embedded",
    "AWS_SECRET_ACCESS_KEY": "embedded",
    "AWS_DEFAULT_REGION": "us-east-1",
}
NEXT_STEPS = (
    "Start the embedded cloud with `rssi up` and set what it prints, or set AWS_PROFILE and "
    "AWS_REGION to an account where the stack is deployed (stage in RSSI_STAGE, default dev)."
)
_CONFIG = Config(
    connect_timeout=5,
    read_timeout=70,
    retries={"total_max_attempts": 3, "mode": "standard"},
    max_pool_connections=4,
)


class AwsSession:
    """Clients by service, made once each, all with the same endpoint and credentials."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self.endpoint_url = self._environment.get("AWS_ENDPOINT_URL")
        self._session = self._make_session()
        self._options: dict[str, Any] = {"endpoint_url": self.endpoint_url, "config": _CONFIG}

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """Amazon DynamoDB."""
        client: DynamoDBClient = self._session.client("dynamodb", **self._options)
        return client

    @cached_property
    def events(self) -> "EventBridgeClient":
        """Amazon EventBridge."""
        client: EventBridgeClient = self._session.client("events", **self._options)
        return client

    @cached_property
    def logs(self) -> "CloudWatchLogsClient":
        """Amazon CloudWatch Logs."""
        client: CloudWatchLogsClient = self._session.client("logs", **self._options)
        return client

    @cached_property
    def s3(self) -> "S3Client":
        """Amazon S3."""
        client: S3Client = self._session.client("s3", **self._options)
        return client

    @cached_property
    def sagemaker(self) -> "SageMakerClient":
        """Amazon SageMaker's control plane."""
        client: SageMakerClient = self._session.client("sagemaker", **self._options)
        return client

    @cached_property
    def sagemaker_runtime(self) -> "SageMakerRuntimeClient":
        """Amazon SageMaker's endpoints."""
        client: SageMakerRuntimeClient = self._session.client("sagemaker-runtime", **self._options)
        return client

    @cached_property
    def ssm(self) -> "SSMClient":
        """AWS Systems Manager: the parameter store."""
        client: SSMClient = self._session.client("ssm", **self._options)
        return client

    def lambda_client(self, timeout_s: float) -> "LambdaClient":
        """AWS Lambda, for one long synchronous call: it waits, and does not call again."""
        config = Config(
            connect_timeout=5, read_timeout=timeout_s, retries={"total_max_attempts": 1}
        )
        client: LambdaClient = self._session.client(
            "lambda", endpoint_url=self.endpoint_url, config=config
        )
        return client

    def _make_session(self) -> boto3.Session:
        if self.endpoint_url is None or not _is_loopback(self.endpoint_url):
            return boto3.Session()
        given = EMBEDDED_CREDENTIALS | self._environment
        return boto3.Session(
            aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
            region_name=given.get("AWS_REGION") or given["AWS_DEFAULT_REGION"],
        )


def find_stack(aws: AwsSession, stage: str) -> Stack:
    """Look up the names of the stage's resources.

    Raises:
        NoStackError: there is no such stack, or it can't be reached.
    """
    where = aws.endpoint_url or "the account that your AWS credentials belong to"
    try:
        found = aws.ssm.get_parameter(Name=stack_parameter(stage))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise NoStackError(f"{where} refused to look the stack up: {error}") from error
        raise NoStackError(
            f"There is no stack of stage {stage} in {where}. {NEXT_STEPS}"
        ) from error
    except BotoCoreError as error:
        raise NoStackError(f"{where} can't be reached: {error}. {NEXT_STEPS}") from error
    return Stack.model_validate_json(found["Parameter"]["Value"])


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
