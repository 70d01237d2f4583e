"""AWS clients of the on-prem side, made with botocore alone: importing boto3 costs 0.2 s more.

Credentials, region and endpoints come from the standard ``AWS_*`` variables and files.
"""

from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.session import Session

if TYPE_CHECKING:
    from botocore.client import BaseClient

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,  # longer than the 20 s of an SQS long poll
    retries={"mode": "standard", "max_attempts": 5},
)


def client(service: str) -> "BaseClient":
    """A client for one AWS service, such as ``s3``; calls nobody yet."""
    return Session().create_client(service, config=_CONFIG)


def data_client(endpoint_url: str | None, profile: str | None) -> "BaseClient":
    """A client for the store of the surveys, which may be another one than AWS's S3.

    Args:
        endpoint_url: the store's address; None for the standard one.
        profile: the profile in the AWS configuration files whose credentials the store takes;
            None for the standard ones.
    """
    # On-prem stores seldom have a DNS name per bucket.
    style = Config(s3={"addressing_style": "path"}) if endpoint_url else None
    return Session(profile=profile).create_client(
        "s3", endpoint_url=endpoint_url, config=_CONFIG.merge(style) if style else _CONFIG
    )
