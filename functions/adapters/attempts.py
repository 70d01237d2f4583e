"""What attempts at runs wrote to the artifact bucket: listed, and deleted.

The bucket keeps versions, so a deletion only puts a mark over an object, which can be taken off;
space is freed by deleting versions, and that is for good.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from events.manifests import Artifact, Release
from events.names import InvalidNameError, parse_attempt_key, release_key, releases_prefix
from functions.core.errors import RetryLaterError, UnreadableReleaseError
from functions.core.retention import StoredVersion

_AT_ONCE = 1000
"""DeleteObjects' limit on one request."""


class Attempts:
    """The files of all attempts at a site's runs, in all their versions."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def by_run(self, site: str) -> Iterator[tuple[str, list[StoredVersion]]]:
        """Each run of a site with all that lies under its name, read page by page."""
        prefix = releases_prefix(site)
        for run, stored in groupby(
            self._versions(prefix), key=lambda version: version.key[len(prefix) :].split("/")[0]
        ):
            yield run, list(stored)

    def claimed(self, run_id: str) -> frozenset[str]:
        """The attempts that a run's release names, in any of its versions; empty without one.

        All versions count: what is live may have been made from one that was replaced or deleted.

        Raises:
            UnreadableReleaseError: a version is no release manifest.
        """
        key = release_key(run_id)
        found = (version for version in self._versions(key) if version.key == key)
        manifests = (self._manifest(version) for version in found if not version.is_delete_marker)
        return frozenset(name for manifest in manifests for name in _named(manifest))

    def delete(self, objects: Sequence[StoredVersion]) -> None:
        """Put a mark over objects: they are gone, and could be brought back.

        Raises:
            RetryLaterError: S3 refused some.
        """
        self._remove([{"Key": found.key} for found in objects])

    def purge(self, versions: Sequence[StoredVersion]) -> None:
        """Free the space that versions and marks take, for good.

        Raises:
            RetryLaterError: S3 refused some.
        """
        self._remove([{"Key": found.key, "VersionId": found.version_id} for found in versions])

    def _remove(self, wanted: list[dict[str, str]]) -> None:
        for start in range(0, len(wanted), _AT_ONCE):
            batch = wanted[start : start + _AT_ONCE]
            answer = self._s3.delete_objects(
                Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
            )
            refused = answer.get("Errors", [])
            if refused:
                first = refused[0]
                raise RetryLaterError(
                    f"S3 deleted {len(batch) - len(refused)} of {len(batch)} objects; of "
                    f"{first['Key']} it says: {first['Code']} {first.get('Message', '')}"
                )

    def _versions(self, prefix: str) -> Iterator[StoredVersion]:
        """All versions and marks below a prefix, ordered by key."""
        pages = self._s3.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        for page in pages:
            versions = (_stored(one, is_delete_marker=False) for one in page.get("Versions", ()))
            marks = (_stored(one, is_delete_marker=True) for one in page.get("DeleteMarkers", ()))
            yield from sorted((*versions, *marks), key=lambda version: version.key)

    def _manifest(self, version: StoredVersion) -> Release:
        answer = self._s3.get_object(
            Bucket=self._bucket, Key=version.key, VersionId=version.version_id
        )
        try:
            return Release.model_validate_json(answer["Body"].read())
        except ValidationError as error:
            raise UnreadableReleaseError(
                f"version {version.version_id} of {version.key} is no release manifest, so nobody "
                f"knows which files are its own and all of the run's are kept: {error}"
            ) from error


def _stored(found: dict[str, Any], *, is_delete_marker: bool) -> StoredVersion:
    return StoredVersion(
        key=found["Key"],
        version_id=found["VersionId"],
        written_at=found["LastModified"],
        size=found.get("Size", 0),
        is_current=found["IsLatest"],
        is_delete_marker=is_delete_marker,
    )


def _named(manifest: Release) -> Iterator[str]:
    """The attempt that a release is from, and those of all files that it names."""
    yield manifest.attempt
    for _, value in manifest:
        if isinstance(value, Artifact):
            try:
                yield parse_attempt_key(value.key).attempt
            except InvalidNameError:
                continue
