"""The artifact bucket, read only: release manifests, and size and checksum of a release's files."""

import hashlib
from dataclasses import dataclass

from pydantic import ValidationError

from aws.s3 import Bucket, ObjectMissingError
from events.manifests import Release
from events.names import is_site, release_key, releases_prefix
from functions.core.candidates.manifest_gate import StoredObject

REDEPLOY_METADATA = "rssi-redeploy"
"""The metadata key (``x-amz-meta-rssi-redeploy``) that makes a copy of a manifest a redeployment.
Copies keep metadata, so each value counts once for a release: give a time or a ticket."""


@dataclass(frozen=True)
class StoredManifest:
    """``release.json`` in the bucket: its content and the version of that content.

    Attributes:
        redeploy: the value of the metadata key that asks for a redeployment, if it has one.
    """

    body: bytes
    version: str
    redeploy: str | None = None


class Artifacts:
    """Reads releases; every method may raise `aws.s3.StoreUnavailableError`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def manifest(self, run_id: str) -> StoredManifest | None:
        """A release's manifest; None if there is none (any more)."""
        try:
            found = self._bucket.get(release_key(run_id))
        except ObjectMissingError:
            return None
        redeploy = found.metadata.get(REDEPLOY_METADATA) or None
        return StoredManifest(body=found.body, version=found.version_id, redeploy=redeploy)

    def sites(self) -> list[str]:
        """Every site that has files in the bucket."""
        return [site for site in self._bucket.folders("sites/") if is_site(site)]

    def runs(self, site: str) -> list[str]:
        """Every run of a site that wrote files, whether they became a release or not."""
        return [*self._bucket.folders(releases_prefix(site))]

    def release(self, run_id: str) -> Release:
        """A release that is known to be there.

        Raises:
            LookupError: its manifest is gone.
        """
        manifest = self.manifest(run_id)
        if manifest is None:
            raise LookupError(
                f"the manifest of release {run_id} is no longer in {self._bucket.name}"
            )
        return Release.model_validate_json(manifest.body)

    def available(self, run_id: str) -> Release | str:
        """A release that can be deployed again, or why it can't be."""
        manifest = self.manifest(run_id)
        if manifest is None:
            return f"the manifest of release {run_id} is no longer in the bucket"
        try:
            release = Release.model_validate_json(manifest.body)
        except ValidationError:
            return f"the manifest of release {run_id} can't be read"
        stored = self.stored(release.model.key)
        if stored is None:
            return f"the model artifact of release {run_id} is no longer in the bucket"
        if (stored.size, stored.sha256) != (release.model.size, release.model.sha256):
            return f"the model artifact of release {run_id} is not the one of its manifest"
        return release

    def stored(self, key: str) -> StoredObject | None:
        """Size and SHA-256 of an object; None if it is not there.

        S3 keeps the checksum that an upload was verified with; only an object that was put
        there without one has to be read.
        """
        head = self._bucket.head(key)
        if head is None:
            return None
        return StoredObject(size=head.size, sha256=head.sha256 or self._digest(key))

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._bucket.open(key) as found:
            for piece in found.pieces:
                digest.update(piece)
        return digest.hexdigest()
