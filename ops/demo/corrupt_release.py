"""Makes a release that answers wrongly, to show what the smoke test catches.

The model of a good release is packed again with its cells' names shifted by one, like a mistake
in a packaging step. Everything about the new release is consistent (checksums, digest,
the bundle's own smoke set), except that it does not give the answers that its manifest recorded.
"""

import hashlib
import tarfile
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from events import names
from events.manifests import Artifact, Release, RunSpec
from trainer.localization.bundle.description import PARAMS, SYMBOL, BundleInfo, SmokeRow
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.mxnet_graph import MxnetExport

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ATTEMPT = "corrupt"


def put_corrupt_release(s3: "S3Client", bucket: str, good: Release) -> Release:
    """Upload a release, made from a good one, that will fail its smoke test; return it."""
    spec = RunSpec(
        site=good.site,
        snapshot=good.snapshot.digest,
        trainer_version=f"{good.trainer_version}+corrupt",
        hyperparameters=good.hyperparameters,
    )
    with tempfile.TemporaryDirectory(prefix="rssi-corrupt-") as folder:
        original = Path(folder) / "good.tar.gz"
        s3.download_file(bucket, good.model.key, str(original))
        info = _pack_with_shifted_names(original, Path(folder) / "model.tar.gz", spec.run_id)
        model = _put(s3, bucket, names.attempt_key(spec.run_id, ATTEMPT, "model.tar.gz"), info.path)
    release = good.model_copy(
        update={
            "run_id": spec.run_id,
            "digest": info.digest,
            "model": model,
            "trainer_version": spec.trainer_version,
            "attempt": ATTEMPT,
            "created_at": datetime.now(UTC),
        }
    )
    s3.put_object(
        Bucket=bucket,
        Key=names.release_key(spec.run_id),
        Body=release.model_dump_json().encode(),
        IfNoneMatch="*",
    )
    return release


def _pack_with_shifted_names(good: Path, path: Path, run_id: str) -> BundleInfo:
    model = load_bundle(good)
    cells = model.cells
    description = replace(model.description, release=run_id, cells=(*cells[1:], cells[0]))
    shifted = LoadedModel(description, model.network, smoke=(), digest="")
    rows = [dict(row.rssi) for row in model.smoke]
    answers = shifted.answers(shifted.matrix(rows))
    smoke = [SmokeRow(rssi, answer) for rssi, answer in zip(rows, answers, strict=True)]
    with tarfile.open(good) as archive:
        exported = MxnetExport(symbol=_member(archive, SYMBOL), params=_member(archive, PARAMS))
    return write_bundle(path, description, model.network, exported, smoke)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise LookupError(f"the bundle has no file {name}")
    return member.read()


def _put(s3: "S3Client", bucket: str, key: str, path: Path) -> Artifact:
    body = path.read_bytes()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
    return Artifact(key=key, sha256=hashlib.sha256(body).hexdigest(), size=len(body))
