"""boto3 clients that the embedded cloud's own parts use, all aimed at its front door.

They use neither boto3's default session nor the environment, so that no credential or region of
this process is used. Threads may share a client, but not create one at the same time.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
from botocore.config import Config

from ops.local.settings import CloudSettings

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_events import EventBridgeClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_s3 import S3Client
    from types_boto3_sns import SNSClient
    from types_boto3_sqs import SQSClient
    from types_boto3_ssm import SSMClient

# These calls stay on loopback: a retry would only hide a defect of this package.
_CONFIG = Config(
    connect_timeout=5, read_timeout=65, max_pool_connections=32, retries={"total_max_attempts": 1}
)


class ServiceClients:
    """One client for each service, created when first needed."""

    def __init__(self, address: str, settings: CloudSettings) -> None:
        self.address = address
        self._session = boto3.Session(
            aws_access_key_id="embedded",
            aws_secret_access_key="embedded",  # noqa: S106 - any value is taken here
            region_name=settings.region,
        )
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    @overload
    def get(self, service: Literal["cloudwatch"]) -> "CloudWatchClient": ...
    @overload
    def get(self, service: Literal["dynamodb"]) -> "DynamoDBClient": ...
    @overload
    def get(self, service: Literal["events"]) -> "EventBridgeClient": ...
    @overload
    def get(self, service: Literal["lambda"]) -> "LambdaClient": ...
    @overload
    def get(self, service: Literal["logs"]) -> "CloudWatchLogsClient": ...
    @overload
    def get(self, service: Literal["s3"]) -> "S3Client": ...
    @overload
    def get(self, service: Literal["sns"]) -> "SNSClient": ...
    @overload
    def get(self, service: Literal["sqs"]) -> "SQSClient": ...
    @overload
    def get(self, service: Literal["ssm"]) -> "SSMClient": ...
    @overload
    def get(self, service: Literal["iam"]) -> Any: ...  # its stubs are not installed
    def get(self, service: str) -> Any:
        """The client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(  # type: ignore[call-overload]
                    service, endpoint_url=self.address, config=_CONFIG
                )
            return self._clients[service]

    def queue_url(self, arn: str) -> str:
        """The URL of an SQS queue."""
        account, name = arn.split(":")[4:6]
        return f"{self.address}/{account}/{name}"

    def send_dead_letter(self, queue_arn: str, body: str, attributes: Mapping[str, str]) -> None:
        """Send a message with text attributes to a dead-letter queue."""
        self.get("sqs").send_message(
            QueueUrl=self.queue_url(queue_arn),
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for client in self._clients.values():
                client.close()
