"""The code of functions: zip archives, from a request or from S3, unpacked once each."""

import base64
import hashlib
import io
import tempfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import ServiceError
from ops.local.gateway.clients import ServiceClients
from ops.local.lambdas import api


@dataclass(frozen=True, slots=True)
class CodeArchive:
    """An unpacked archive; ``sha256`` is base64, ``size`` is in bytes."""

    directory: Path
    sha256: str
    size: int


class CodeArchives:
    """Unpacks archives below a temporary directory, each in one named after its digest."""

    def __init__(self, clients: ServiceClients) -> None:
        self._clients = clients
        self._directory = tempfile.TemporaryDirectory(prefix="local-lambda-")
        self._lock = threading.Lock()

    def unpack(self, code: api.FunctionCode) -> CodeArchive:
        """The archive that a request names, unpacked.

        Raises:
            ServiceError: the request names none, or it is no zip archive.
        """
        content = code.zip_file or self._download(code)
        sha256 = hashlib.sha256(content)
        directory = Path(self._directory.name) / sha256.hexdigest()
        with self._lock:
            if not directory.exists():
                _extract(content, directory)
        digest = base64.b64encode(sha256.digest()).decode()
        return CodeArchive(directory, digest, len(content))

    def close(self) -> None:
        """Remove everything that was unpacked."""
        self._directory.cleanup()

    def _download(self, code: api.FunctionCode) -> bytes:
        if not code.s3_bucket or not code.s3_key:
            raise ServiceError(
                "InvalidParameterValueException", "Code wants ZipFile, or S3Bucket and S3Key."
            )
        s3, bucket, key = self._clients.get("s3"), code.s3_bucket, code.s3_key
        if code.s3_object_version:
            response = s3.get_object(Bucket=bucket, Key=key, VersionId=code.s3_object_version)
        else:
            response = s3.get_object(Bucket=bucket, Key=key)
        content: bytes = response["Body"].read()
        return content


def _extract(content: bytes, directory: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(directory)
    except zipfile.BadZipFile as error:
        raise ServiceError(
            "InvalidParameterValueException", "Could not unzip uploaded file."
        ) from error
