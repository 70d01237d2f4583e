"""The artifact bucket, read only: release manifests and what the bucket says of their files."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from events.manifests import Release
from events.names import is_site, release_key, releases_prefix
from functions.core.gate import StoredObject

CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """``release.json`` as it lies in the bucket: its bytes and the version that they are."""

    body: bytes
    version: str


class Artifacts:
    """Releases as they lie in the bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._s3 = client
        self.bucket = bucket

    def manifest(self, run_id: str) -> Manifest | None:
        """A release's manifest as it lies there; None if there is none (any more)."""
        try:
            answer = self._s3.get_object(Bucket=self.bucket, Key=release_key(run_id))
        except self._s3.exceptions.NoSuchKey:
            return None
        return Manifest(body=answer["Body"].read(), version=answer["VersionId"])

    def sites(self) -> list[str]:
        """Every site that has files in the bucket."""
        return [site for site in self._folders("sites/") if is_site(site)]

    def runs(self, site: str) -> list[str]:
        """Every run of a site that wrote files, whether they became a release or not."""
        return self._folders(releases_prefix(site))

    def release(self, run_id: str) -> Release:
        """A release that is known to be there.

        Raises:
            LookupError: its manifest is gone.
        """
        manifest = self.manifest(run_id)
        if manifest is None:
            raise LookupError(f"the manifest of release {run_id} is no longer in {self.bucket}")
        return Release.model_validate_json(manifest.body)

    def stored(self, key: str) -> StoredObject | None:
        """Size and SHA-256 of an object; None if it is not there.

        S3 keeps the checksum that an upload was verified with; only an object that was put
        there without one has to be read.
        """
        try:
            head = self._s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except self._s3.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        checksum: str = head.get("ChecksumSHA256", "")
        # A composite checksum of a multipart upload ends in -N and is none of the whole object.
        is_whole = checksum and "-" not in checksum
        sha256 = base64.b64decode(checksum).hex() if is_whole else self._digest(key)
        return StoredObject(size=head["ContentLength"], sha256=sha256)

    def _folders(self, prefix: str) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/"
        )
        found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        return [folder.removeprefix(prefix).rstrip("/") for folder in found]

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
