"""Clients for whatever AWS the environment points at: a real account or the embedded cloud.

The embedded cloud wants no credentials, so where the address is this machine's own and none are
set, any will do.
"""

import ipaddress
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from events.stack import Stack, stack_parameter
from ops.errors import NoStackError

EMBEDDED_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "embedded",
    "AWS_SECRET_ACCESS_KEY": "embedded",
    "AWS_DEFAULT_REGION": "us-east-1",
}
NEXT_STEPS = (
    "Start the embedded cloud with `rssi up` and set what it prints, or set AWS_PROFILE and "
    "AWS_REGION to an account where the stack is deployed (stage in RSSI_STAGE, default dev)."
)


class AwsSession:
    """Clients by service, made once each, all with the same endpoint and credentials."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self._clients: dict[str, Any] = {}
        self.endpoint_url = self._environment.get("AWS_ENDPOINT_URL")
        self._session = self._make_session()

    def client(self, service: str) -> Any:
        """The client of a service."""
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self.endpoint_url,
                config=Config(
                    connect_timeout=5,
                    read_timeout=70,
                    retries={"total_max_attempts": 3, "mode": "standard"},
                    max_pool_connections=4,
                ),
            )
        return self._clients[service]

    def patient_client(self, service: str, longest_s: float) -> Any:
        """A client that waits so long for one answer, and does not ask again meanwhile."""
        return self._session.client(
            service,
            endpoint_url=self.endpoint_url,
            config=Config(
                connect_timeout=5, read_timeout=longest_s, retries={"total_max_attempts": 1}
            ),
        )

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
    """Find out what the stage's resources are called.

    Raises:
        NoStackError: there is no such stack, or nothing to ask.
    """
    where = aws.endpoint_url or "the account that your AWS credentials belong to"
    try:
        found = aws.client("ssm").get_parameter(Name=stack_parameter(stage))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise NoStackError(f"{where} refused to say where the stack is: {error}") from error
        raise NoStackError(
            f"There is no stack of stage {stage} in {where}. {NEXT_STEPS}"
        ) from error
    except BotoCoreError as error:
        raise NoStackError(
            f"{where} can't be asked for the stack: {error}. {NEXT_STEPS}"
        ) from error
    return Stack.model_validate_json(found["Parameter"]["Value"])


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
