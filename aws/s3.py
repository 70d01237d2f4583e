"""The border to S3, and to stores that speak its protocol: one bucket, a client handed in.

Here names can be taken (that is how things happen once), and the network can fail.

The errors::

    StoreError
    ├── StoreUnavailableError  no or no useful answer: try again later
    └── ObjectMissingError     the object, or this version of it, is not there (any more)
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

if TYPE_CHECKING:
    from botocore.client import BaseClient

UNVERSIONED = "null"
"""S3's own version id of an object in a bucket that keeps no versions."""

_MISSING = {"NoSuchKey", "NoSuchVersion", "NotFound", "404"}
_FORBIDDEN = {"AccessDenied", "Forbidden", "403"}
_NO_VERSIONS = {"NotImplemented", "MethodNotAllowed", "501", "405"}
_CLAIM_ATTEMPTS = 8
_PIECE_BYTES = 1024 * 1024


class StoreError(Exception):
    """Something went wrong between us and a bucket."""


class StoreUnavailableError(StoreError):
    """No or no useful answer; what was asked for may or may not have happened. Try again."""


class ObjectMissingError(StoreError):
    """The object, or this version of it, is not in the bucket."""


class Stored(NamedTuple):
    """An object's content and its entity tag, without quotes."""

    body: bytes
    etag: str


class Opened(NamedTuple):
    """An object whose content is still to come: what its store says of it, and its pieces."""

    etag: str
    """Without quotes."""
    size: int
    """In bytes."""
    pieces: Iterator[bytes]


class Listed(NamedTuple):
    """An object as a listing shows it: size in bytes, time in UTC, entity tag without quotes."""

    key: str
    version_id: str
    etag: str
    size: int
    modified: datetime


class Bucket:
    """One bucket of S3 or of a store that speaks its protocol."""

    def __init__(self, client: "BaseClient", name: str) -> None:
        """Use ``client``, an S3 client of botocore, for the bucket ``name``."""
        self._client = client
        self.name = name

    def get(self, key: str, version_id: str = UNVERSIONED) -> Stored:
        """Read an object; botocore verifies its checksum when the store keeps one.

        Raises:
            ObjectMissingError: there is no such object or version.
            StoreUnavailableError: the store gave no useful answer.
        """
        with self.opened(key, version_id) as found:
            return Stored(b"".join(found.pieces), found.etag)

    @contextmanager
    def opened(self, key: str, version_id: str = UNVERSIONED) -> Iterator[Opened]:
        """Read an object piece by piece, so that it may be larger than the memory.

        Its length, and its checksum when the store keeps one, are verified after the last piece:
        what came before is not to be trusted until then.

        Raises:
            ObjectMissingError: there is no such object or version.
            StoreUnavailableError: the store gave no useful answer, or broke off.
        """
        version = {} if version_id == UNVERSIONED else {"VersionId": version_id}
        with self._translated(f"read {key}"):
            with self._told_apart(key, version_id):
                answer = self._client.get_object(
                    Bucket=self.name, Key=key, ChecksumMode="ENABLED", **version
                )
            with closing(answer["Body"]) as body:
                pieces = body.iter_chunks(_PIECE_BYTES)
                yield Opened(_bare(answer["ETag"]), answer["ContentLength"], pieces)

    def exists(self, key: str) -> bool:
        """Tell whether an object is there.

        Raises:
            StoreUnavailableError: the store gave no useful answer.
        """
        try:
            with self._translated(f"look for {key}"), self._told_apart(key, UNVERSIONED):
                self._client.head_object(Bucket=self.name, Key=key)
        except ObjectMissingError:
            return False
        return True

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """Write an object; the store checks what arrived against its SHA-256, returned as hex.

        Raises:
            StoreUnavailableError: the store gave no useful answer.
        """
        with self._translated(f"write {key}"):
            self._put(key, body, content_type)
            return hashlib.sha256(body).hexdigest()

    def put_once(self, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless the key is taken; False when it was.

        A race of two writers gets 409 ``ConditionalRequestConflict``, which S3 documents as "try
        again"; the second try finds the key taken or free. After a lost answer botocore itself
        tries again and finds its own object: False may therefore also mean "by an earlier try".

        Raises:
            StoreUnavailableError: the store gave no useful answer.
        """
        with self._translated(f"claim {key}"):
            try:
                for attempt in _while_conflicting():
                    with attempt:
                        self._put(key, body, content_type, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) in {"PreconditionFailed", "412"}:
                    return False
                raise
        return True

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The names directly below ``prefix``, as in a folder, in the store's order.

        Raises:
            StoreUnavailableError: the store gave no useful answer.
        """
        with self._translated(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter="/"
            )
            return tuple(
                str(found["Prefix"])[len(prefix) : -1]
                for page in pages
                for found in page.get("CommonPrefixes", ())
            )

    def current(self, prefix: str) -> tuple[Listed, ...]:
        """The newest version of every object below ``prefix`` that is not deleted.

        A store that knows no versions is listed without them.

        Raises:
            StoreUnavailableError: the store gave no useful answer.
        """
        with self._translated(f"list {prefix}"):
            try:
                return tuple(self._versions(prefix))
            except ClientError as error:
                if _code(error) not in _NO_VERSIONS:
                    raise
            return tuple(self.objects(prefix))

    def objects(self, prefix: str) -> Iterator[Listed]:
        """Every object below ``prefix``, without its version.

        Raises:
            StoreUnavailableError: the store gave no useful answer.
        """
        with self._translated(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield _listed(found, UNVERSIONED)

    def _put(self, key: str, body: bytes, content_type: str, **conditions: str) -> None:
        self._client.put_object(
            Bucket=self.name,
            Key=key,
            Body=body,
            ContentType=content_type,
            # Named too: some stores keep a checksum only of the algorithm that is asked for.
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            **conditions,
        )

    def _versions(self, prefix: str) -> Iterator[Listed]:
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=prefix
        )
        for page in pages:
            for found in page.get("Versions", ()):
                if found["IsLatest"]:
                    yield _listed(found, found["VersionId"])

    @contextmanager
    def _told_apart(self, key: str, version_id: str) -> Iterator[None]:
        """Tell an object that is missing from one that is forbidden.

        To who may list only a part of a bucket S3 answers 403 for both (GetObject's reference,
        "Permissions"); a listing of the very key knows.
        """
        try:
            yield
        except ClientError as error:
            if _code(error) not in _FORBIDDEN or self._is_listed(key, version_id):
                raise
            raise ObjectMissingError(f"the bucket {self.name} has no {key}") from error

    def _is_listed(self, key: str, version_id: str) -> bool:
        if version_id == UNVERSIONED:
            answer = self._client.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1)
            return any(found["Key"] == key for found in answer.get("Contents", ()))
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=key
        )
        return any(
            (found["Key"], found["VersionId"]) == (key, version_id)
            for page in pages
            for found in page.get("Versions", ())
        )

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            kind = ObjectMissingError if _code(error) in _MISSING else StoreUnavailableError
            raise kind(f"the bucket {self.name} did not let us {what}: {error}") from error
        except BotoCoreError as error:
            raise StoreUnavailableError(
                f"the bucket {self.name} could not be reached to {what}: {error}"
            ) from error


def _while_conflicting() -> Retrying:
    return Retrying(
        retry=retry_if_exception(
            lambda error: (
                isinstance(error, ClientError)
                and _code(error) in {"ConditionalRequestConflict", "409"}
            )
        ),
        wait=wait_random_exponential(multiplier=0.05, max=1),
        stop=stop_after_attempt(_CLAIM_ATTEMPTS),
        reraise=True,
    )


def _listed(found: dict[str, object], version_id: str) -> Listed:
    modified, size = found["LastModified"], found["Size"]
    if not isinstance(modified, datetime) or not isinstance(size, int):
        raise StoreUnavailableError(f"the store lists {found['Key']} without a time or a size")
    return Listed(
        key=str(found["Key"]),
        version_id=version_id,
        etag=_bare(str(found["ETag"])),
        size=size,
        modified=modified.astimezone(UTC),
    )


def _bare(etag: str) -> str:
    return etag.strip('"')


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])
