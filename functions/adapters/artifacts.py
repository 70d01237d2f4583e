"""The artifact bucket, read only: release manifests and what the bucket says of their files."""

import base64
import hashlib
from typing import Any

from events.manifests import Release
from events.names import release_key
from functions.core.gate import StoredObject

CHUNK = 1 << 20


class Artifacts:
    """Releases as they lie in the bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._s3 = client
        self.bucket = bucket

    def manifest(self, run_id: str) -> bytes | None:
        """The bytes of a release's manifest; None if there is none (any more)."""
        try:
            answer = self._s3.get_object(Bucket=self.bucket, Key=release_key(run_id))
        except self._s3.exceptions.NoSuchKey:
            return None
        body: bytes = answer["Body"].read()
        return body

    def release(self, run_id: str) -> Release:
        """A release that is known to be there.

        Raises:
            LookupError: its manifest is gone.
        """
        manifest = self.manifest(run_id)
        if manifest is None:
            raise LookupError(f"the manifest of release {run_id} is no longer in {self.bucket}")
        return Release.model_validate_json(manifest)

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

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
