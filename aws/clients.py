"""AWS clients of the on-prem side, made with botocore alone: importing boto3 costs 0.2 s more.

Credentials, region and endpoints come from the standard ``AWS_*`` variables and files. All clients
share one session, so that a `credential_process` (IAM Roles Anywhere) or a web identity is asked
once, and renewed by whichever client is first to find the credentials old.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session

if TYPE_CHECKING:
    from botocore.client import BaseClient

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,  # longer than the 20 s of an SQS long poll
    retries={"mode": "standard", "max_attempts": 5},
)
_STATIC_METHODS = frozenset({"env", "shared-credentials-file", "config-file"})
"""Where botocore finds keys that somebody wrote down."""


@dataclass(frozen=True, slots=True)
class DataStore:
    """Where the surveys are, if that is not AWS's own S3."""

    endpoint_url: str | None = None
    profile: str | None = None
    """The profile in the AWS configuration files whose credentials the store takes."""
    ca_bundle: str | None = None
    """File of certificates of the authority that the store's own certificate is from."""

    @property
    def is_its_own(self) -> bool:
        """Whether it is another store than the artifacts' one."""
        return self != DataStore()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known about the credentials in use; never the keys themselves."""

    found: bool
    static: bool = False
    """Whether they are keys that never expire."""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Clients:
    """Makes clients that share credentials."""

    session: Session = field(default_factory=Session)

    def client(self, service: str) -> "BaseClient":
        """A client for one AWS service, such as ``s3``; calls nobody yet."""
        return self.session.create_client(service, config=_CONFIG)

    def data_client(self, store: DataStore) -> "BaseClient":
        """A client for the store of the surveys, which may be another one than AWS's S3."""
        if not store.is_its_own:
            return self.client("s3")
        session = Session(profile=store.profile) if store.profile else self.session
        # On-prem stores seldom have a DNS name per bucket.
        style = Config(s3={"addressing_style": "path"}) if store.endpoint_url else None
        return session.create_client(
            "s3",
            endpoint_url=store.endpoint_url,
            verify=store.ca_bundle,
            config=_CONFIG.merge(style) if style else _CONFIG,
        )

    def credentials(self) -> Credentials:
        """Look at the credentials; may ask whoever hands them out."""
        try:
            found = self.session.get_credentials()
        except BotoCoreError:  # nobody to ask at the moment; a request will say so in full
            return Credentials(found=False)
        if found is None:
            return Credentials(found=False)
        # botocore keeps the moment to itself, and nothing else tells how long one may be offline.
        expiry = getattr(found, "_expiry_time", None)
        return Credentials(
            found=True,
            static=found.method in _STATIC_METHODS and found.token is None,
            expires_at=expiry.astimezone(UTC) if isinstance(expiry, datetime) else None,
        )
