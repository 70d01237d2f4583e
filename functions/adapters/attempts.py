"""What attempts at runs wrote to the artifact bucket: listed, and deleted.

The bucket keeps versions, so a deletion only hides an object behind a delete marker, which can be
removed again; space is freed by deleting versions, and that is for good.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pydantic import ValidationError

from aws.s3 import Bucket, ObjectVersion, StoreUnavailableError
from events.manifests import Artifact, Release
from events.names import InvalidNameError, parse_attempt_key, release_key, releases_prefix
from functions.core.errors import RetryLaterError, UnreadableReleaseError
from functions.core.retention import StoredVersion


class Attempts:
    """The files of all attempts at a site's runs, in all their versions.

    Every method may raise `aws.s3.StoreUnavailableError`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def by_run(self, site: str) -> Iterator[tuple[str, list[StoredVersion]]]:
        """Each run of a site with everything under its prefix, read page by page."""
        prefix = releases_prefix(site)
        for run, found in groupby(
            self._bucket.versions(prefix),
            key=lambda version: version.key[len(prefix) :].split("/")[0],
        ):
            yield run, [_stored(version) for version in found]

    def claimed(self, run_id: str) -> frozenset[str]:
        """The attempts that a run's release names, in any of its versions; empty without one.

        All versions count: what is live may have been made from one that was replaced or deleted.

        Raises:
            UnreadableReleaseError: a version is not a release manifest.
        """
        key = release_key(run_id)
        found = (version for version in self._bucket.versions(key) if version.key == key)
        manifests = (self._manifest(version) for version in found if not version.is_delete_marker)
        return frozenset(name for manifest in manifests for name in _named(manifest))

    def delete(self, objects: Sequence[StoredVersion]) -> None:
        """Hide objects behind delete markers; they can be brought back.

        Raises:
            RetryLaterError: S3 refused some.
        """
        self._remove([(found.key, None) for found in objects])

    def purge(self, versions: Sequence[StoredVersion]) -> None:
        """Free the space that versions and delete markers take, for good.

        Raises:
            RetryLaterError: S3 refused some.
        """
        self._remove([(found.key, found.version_id) for found in versions])

    def _remove(self, objects: list[tuple[str, str | None]]) -> None:
        try:
            self._bucket.delete(objects)
        except StoreUnavailableError as error:
            raise RetryLaterError(str(error)) from error

    def _manifest(self, version: ObjectVersion) -> Release:
        body = self._bucket.get(version.key, version.version_id).body
        try:
            return Release.model_validate_json(body)
        except ValidationError as error:
            raise UnreadableReleaseError(
                f"version {version.version_id} of {version.key} is no release manifest, so it is "
                f"unknown which files are its own and all of the run's are kept: {error}"
            ) from error


def _stored(version: ObjectVersion) -> StoredVersion:
    return StoredVersion(
        key=version.key,
        version_id=version.version_id,
        written_at=version.modified,
        size=version.size,
        is_current=version.is_latest,
        is_delete_marker=version.is_delete_marker,
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
