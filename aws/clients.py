"""AWS clients of the on-prem side, made with botocore alone: importing boto3 costs 0.2 s more.

Credentials, region and endpoints come from the standard ``AWS_*`` variables and files. All clients
share one session, so a `credential_process` (IAM Roles Anywhere) or a web identity is called once,
and again by the first client that finds the credentials expired.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_ssm import SSMClient

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,  # longer than the 20 s of an SQS long poll
    retries={"mode": "standard", "max_attempts": 5},
)
_STATIC_METHODS = frozenset({"env", "shared-credentials-file", "config-file"})
"""botocore's names for the places where static keys are written."""


@dataclass(frozen=True, slots=True)
class DataStore:
    """The store that holds the surveys, if it is not AWS's own S3."""

    endpoint_url: str | None = None
    profile: str | None = None
    """The profile in the AWS configuration files with the store's credentials."""
    ca_bundle: str | None = None
    """Certificate file of the authority that issued the store's certificate."""

    @property
    def is_separate(self) -> bool:
        """Whether the surveys are in another store than the artifacts."""
        return self != DataStore()


@dataclass(frozen=True, slots=True)
class Credentials:
    """The kind and expiry of the credentials in use, never the keys themselves."""

    found: bool
    static: bool = False
    """Whether they are keys without an expiry."""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Clients:
    """Makes clients that share credentials."""

    session: Session = field(default_factory=Session)

    @overload
    def client(self, service: Literal["s3"]) -> "S3Client": ...
    @overload
    def client(self, service: Literal["sqs"]) -> "SQSClient": ...
    @overload
    def client(self, service: Literal["events"]) -> "EventBridgeClient": ...
    @overload
    def client(self, service: Literal["ssm"]) -> "SSMClient": ...
    @overload
    def client(self, service: str) -> Any: ...

    def client(self, service: str) -> Any:
        """Make a client for one AWS service, such as ``s3``, without a call."""
        return self.session.create_client(service, config=_CONFIG)

    def data_client(self, store: DataStore) -> "S3Client":
        """Make a client for the surveys' store, which may be another one than AWS's S3."""
        if not store.is_separate:
            return self.client("s3")
        session = Session(profile=store.profile) if store.profile else self.session
        # On-prem stores seldom have a DNS name per bucket.
        style = Config(s3={"addressing_style": "path"}) if store.endpoint_url else None
        client = session.create_client(
            "s3",
            endpoint_url=store.endpoint_url,
            verify=store.ca_bundle,
            config=_CONFIG.merge(style) if style else _CONFIG,
        )
        return cast("S3Client", client)

    def credentials(self) -> Credentials:
        """Look at the credentials; may call their provider."""
        try:
            found = self.session.get_credentials()
        except BotoCoreError:  # no provider answers now; a request will raise the full reason
            return Credentials(found=False)
        if found is None:
            return Credentials(found=False)
        # Private to botocore, and nothing else says how long the agent may be offline.
        expiry = getattr(found, "_expiry_time", None)
        return Credentials(
            found=True,
            static=found.method in _STATIC_METHODS and found.token is None,
            expires_at=expiry.astimezone(UTC) if isinstance(expiry, datetime) else None,
        )
