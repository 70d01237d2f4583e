"""One bucket of S3, or of a store that speaks its protocol; the client is handed in.

Imports no client library: a Lambda must not pay for one before it makes its first client.

The errors::

    StoreError
    ├── StoreUnavailableError  no useful answer: try again later
    └── ObjectMissingError     the object, or this version of it, is not there (any more)
"""

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from botocore.paginate import PageIterator
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        DeleteMarkerEntryTypeDef,
        ListObjectVersionsOutputTypeDef,
        ObjectIdentifierTypeDef,
        ObjectTypeDef,
        ObjectVersionTypeDef,
    )

UNVERSIONED = "null"
"""S3's own version id of an object in a bucket that keeps no versions."""

_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})
_FORBIDDEN = frozenset({"AccessDenied", "Forbidden", "403"})
_NO_VERSIONS = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
_PRECONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
_CONFLICT = frozenset({"ConditionalRequestConflict", "409"})
_CLAIM_ATTEMPTS = 8
_PIECE_BYTES = 1024 * 1024
_DELETED_AT_ONCE = 1000
"""DeleteObjects' limit on one request."""


class StoreError(Exception):
    """A request to a bucket failed."""


class StoreUnavailableError(StoreError):
    """No useful answer; a write may or may not have happened. Try again."""


class ObjectMissingError(StoreError):
    """The object, or this version of it, is not in the bucket."""


class ObjectContent(NamedTuple):
    """An object that was read."""

    body: bytes
    etag: str
    """Without quotes."""
    version_id: str = UNVERSIONED
    metadata: Mapping[str, str] = MappingProxyType({})


class ObjectStream(NamedTuple):
    """An object whose content is still to come."""

    etag: str
    """Without quotes."""
    size: int
    """In bytes."""
    version_id: str
    pieces: Iterator[bytes]
    metadata: Mapping[str, str] = MappingProxyType({})


class ObjectHead(NamedTuple):
    """An object's metadata."""

    size: int
    """In bytes."""
    sha256: str | None
    """Hex; None if the store keeps no SHA-256 of the whole object."""


class ListedObject(NamedTuple):
    """An object as a listing shows it."""

    key: str
    version_id: str
    etag: str
    """Without quotes."""
    size: int
    """In bytes."""
    modified: datetime
    """UTC."""


class ObjectVersion(NamedTuple):
    """One version of an object, or a delete marker, as a listing shows it."""

    key: str
    version_id: str
    size: int
    """In bytes; 0 for a delete marker."""
    modified: datetime
    """UTC."""
    is_latest: bool
    is_delete_marker: bool


class Bucket:
    """One bucket; every method may raise `StoreUnavailableError`."""

    def __init__(
        self, client: "S3Client", name: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Use ``client`` for the bucket ``name``; ``sleep`` waits between two tries."""
        self._client = client
        self.name = name
        self._sleep = sleep

    def get(self, key: str, version_id: str = UNVERSIONED) -> ObjectContent:
        """Read an object; botocore verifies its checksum when the store keeps one.

        Raises:
            ObjectMissingError: there is no such object or version.
        """
        with self.open(key, version_id) as (etag, _, version, pieces, metadata):
            return ObjectContent(b"".join(pieces), etag, version, metadata)

    @contextmanager
    def open(self, key: str, version_id: str = UNVERSIONED) -> Iterator[ObjectStream]:
        """Read an object piece by piece, so that it may be larger than the memory.

        Its length, and its checksum when the store keeps one, are verified after the last piece:
        do not trust a piece before that.

        Raises:
            ObjectMissingError: there is no such object or version.
            StoreUnavailableError: the store gave no useful answer, or the connection broke.
        """
        with self._translated(f"read {key}"):
            with self._missing_or_forbidden(key, version_id):
                pinned: Any = {} if version_id == UNVERSIONED else {"VersionId": version_id}
                answer = self._client.get_object(
                    Bucket=self.name, Key=key, ChecksumMode="ENABLED", **pinned
                )
            with closing(answer["Body"]) as body:
                yield ObjectStream(
                    etag=_unquoted(answer["ETag"]),
                    size=answer["ContentLength"],
                    version_id=answer.get("VersionId", UNVERSIONED),
                    pieces=body.iter_chunks(_PIECE_BYTES),
                    metadata=answer.get("Metadata", {}),
                )

    def exists(self, key: str) -> bool:
        """Whether an object is there."""
        return self.head(key) is not None

    def head(self, key: str) -> ObjectHead | None:
        """Read an object's size and checksum without its content; None if it is not there."""
        try:
            with self._translated(f"look for {key}"), self._missing_or_forbidden(key, UNVERSIONED):
                answer = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ObjectMissingError:
            return None
        checksum = answer.get("ChecksumSHA256", "")
        # A multipart upload's composite checksum ends in -N and is not the whole object's.
        is_whole = checksum and "-" not in checksum
        sha256 = base64.b64decode(checksum).hex() if is_whole else None
        return ObjectHead(answer["ContentLength"], sha256)

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """Write an object; the store checks what arrived against its SHA-256, returned as hex."""
        with self._translated(f"write {key}"):
            self._put(key, body, content_type)
            return hashlib.sha256(body).hexdigest()

    def put_once(self, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless the key is taken; False if it is.

        If two writers race, S3 answers 409 ``ConditionalRequestConflict``, documented as "try
        again"; the second try finds the key taken or free. After a lost answer botocore itself
        tries again and finds its own object: False may therefore also mean "by an earlier try".
        """
        with self._translated(f"claim {key}"):
            for attempt in range(_CLAIM_ATTEMPTS):
                code = self._put_if(key, body, content_type, None)
                if code not in _CONFLICT:
                    break
                self._sleep(random.uniform(0, min(0.05 * 2**attempt, 1.0)))  # noqa: S311 - jitter
            else:
                raise StoreUnavailableError(
                    f"the bucket {self.name} could not settle a race for {key}: {code}"
                )
        return code is None

    def replace(self, key: str, body: bytes, etag: str | None) -> bool:
        """Write a JSON object in place of the one that was read; False if that has changed.

        Args:
            key: the object's key.
            body: its new content.
            etag: the entity tag that was read, without quotes; None if there was no object.
        """
        with self._translated(f"replace {key}"):
            code = self._put_if(key, body, "application/json", etag)
        return code is None

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The names directly below ``prefix``, as in a folder, in the store's order."""
        with self._translated(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter="/"
            )
            return tuple(
                found["Prefix"][len(prefix) : -1]
                for page in pages
                for found in page.get("CommonPrefixes", ())
            )

    def current(self, prefix: str) -> tuple[ListedObject, ...]:
        """The newest version of every object below ``prefix`` that is not deleted.

        A store that knows no versions is listed without them.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415 - loaded with the client

        with self._translated(f"list {prefix}"):
            try:
                return tuple(self._latest(prefix))
            except ClientError as error:
                if _code(error) not in _NO_VERSIONS:
                    raise
            return tuple(self.objects(prefix))

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """Every object below ``prefix``, without its version."""
        with self._translated(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield _listed(found, UNVERSIONED)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """All versions and delete markers below ``prefix``, ordered by key, page by page."""
        with self._translated(f"list {prefix}"):
            for page in self._version_pages(prefix):
                versions = (_version(found, found["Size"]) for found in page.get("Versions", ()))
                markers = (_version(found, None) for found in page.get("DeleteMarkers", ()))
                yield from sorted((*versions, *markers), key=lambda version: version.key)

    def delete(self, objects: Sequence[tuple[str, str | None]]) -> None:
        """Delete objects, a thousand at a time.

        Args:
            objects: keys with a version id, which is deleted for good; or with None, which hides
                the object behind a delete marker.

        Raises:
            StoreUnavailableError: the store refused some; the others are deleted.
        """
        wanted: list[ObjectIdentifierTypeDef] = [
            {"Key": key} if version_id is None else {"Key": key, "VersionId": version_id}
            for key, version_id in objects
        ]
        with self._translated("delete objects"):
            for start in range(0, len(wanted), _DELETED_AT_ONCE):
                batch = wanted[start : start + _DELETED_AT_ONCE]
                answer = self._client.delete_objects(
                    Bucket=self.name, Delete={"Objects": batch, "Quiet": True}
                )
                refused = answer.get("Errors", [])
                if refused:
                    first = refused[0]
                    raise StoreUnavailableError(
                        f"S3 deleted {len(batch) - len(refused)} of {len(batch)} objects; "
                        f"it refused {first.get('Key')}: {first.get('Code')} "
                        f"{first.get('Message', '')}"
                    )

    def _put_if(self, key: str, body: bytes, content_type: str, etag: str | None) -> str | None:
        """Write over ``etag`` or, with None, a free key; the error's code if it is otherwise."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - loaded with the client

        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        refusals = _PRECONDITION_FAILED | _CONFLICT | ({"NoSuchKey"} if etag else frozenset())
        try:
            self._put(key, body, content_type, **condition)
        except ClientError as error:
            if _code(error) in refusals:
                return _code(error)
            raise
        return None

    def _put(self, key: str, body: bytes, content_type: str, **condition: str) -> None:
        self._client.put_object(
            Bucket=self.name,
            Key=key,
            Body=body,
            ContentType=content_type,
            # Named too: some stores keep a checksum only if its algorithm is named.
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            **condition,  # type: ignore[arg-type]  # IfMatch or IfNoneMatch
        )

    def _latest(self, prefix: str) -> Iterator[ListedObject]:
        for page in self._version_pages(prefix):
            for found in page.get("Versions", ()):
                if found["IsLatest"]:
                    yield _listed(found, found["VersionId"])

    def _version_pages(self, prefix: str) -> "PageIterator[ListObjectVersionsOutputTypeDef]":
        return self._client.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=prefix
        )

    @contextmanager
    def _missing_or_forbidden(self, key: str, version_id: str) -> Iterator[None]:
        """Distinguish a missing object from a forbidden one.

        A client that may list only a part of the bucket gets 403 for both (GetObject's reference,
        "Permissions"); a listing of the very key tells which.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415 - loaded with the client

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
        return any(
            (found["Key"], found["VersionId"]) == (key, version_id)
            for page in self._version_pages(key)
            for found in page.get("Versions", ())
        )

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        # Loaded with the client already.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except ClientError as error:
            kind = ObjectMissingError if _code(error) in _MISSING else StoreUnavailableError
            raise kind(f"the bucket {self.name} refused to {what}: {error}") from error
        except BotoCoreError as error:
            raise StoreUnavailableError(
                f"the bucket {self.name} gave no answer to {what}: {error}"
            ) from error


def _listed(found: "ObjectTypeDef | ObjectVersionTypeDef", version_id: str) -> ListedObject:
    if "LastModified" not in found or "Size" not in found:
        raise StoreUnavailableError(f"the store lists {found['Key']} without a time or a size")
    return ListedObject(
        key=found["Key"],
        version_id=version_id,
        etag=_unquoted(found["ETag"]),
        size=found["Size"],
        modified=found["LastModified"].astimezone(UTC),
    )


def _version(
    found: "ObjectVersionTypeDef | DeleteMarkerEntryTypeDef", size: int | None
) -> ObjectVersion:
    return ObjectVersion(
        key=found["Key"],
        version_id=found["VersionId"],
        size=size or 0,
        modified=found["LastModified"],
        is_latest=found["IsLatest"],
        is_delete_marker=size is None,
    )


def _unquoted(etag: str) -> str:
    return etag.strip('"')


def _code(error: "ClientError") -> str:
    return str(error.response["Error"]["Code"])
