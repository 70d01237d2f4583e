"""Makes new releases from a good one, to show what the smoke test catches.

In a corrupt release the model is packed again with its cells' names shifted by one, like a mistake
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


def put_release_like(
    s3: "S3Client", bucket: str, good: Release, label: str, *, shift_names: bool
) -> Release:
    """Upload a release made from a good one, and return it.

    Args:
        label: tells it apart from other releases of the same data.
        shift_names: whether it answers wrongly, and so will fail its smoke test.
    """
    spec = RunSpec(
        site=good.site,
        snapshot=good.snapshot.digest,
        trainer_version=f"{good.trainer_version}+{label}",
        hyperparameters=good.hyperparameters,
    )
    with tempfile.TemporaryDirectory(prefix="rssi-corrupt-") as folder:
        original = Path(folder) / "good.tar.gz"
        s3.download_file(bucket, good.model.key, str(original))
        target = Path(folder) / "model.tar.gz"
        info = _pack(original, target, spec.run_id, shift_names=shift_names)
        model = _put(s3, bucket, names.attempt_key(spec.run_id, label, "model.tar.gz"), info.path)
    release = good.model_copy(
        update={
            "run_id": spec.run_id,
            "digest": info.digest,
            "model": model,
            "trainer_version": spec.trainer_version,
            "attempt": label,
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


def _pack(good: Path, path: Path, run_id: str, *, shift_names: bool) -> BundleInfo:
    model = load_bundle(good)
    cells = (*model.cells[1:], model.cells[0]) if shift_names else model.cells
    description = replace(model.description, release=run_id, cells=cells)
    packed = LoadedModel(description, model.network, smoke=(), digest="")
    rows = [dict(row.rssi) for row in model.smoke]
    answers = packed.answers(packed.matrix(rows))
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
