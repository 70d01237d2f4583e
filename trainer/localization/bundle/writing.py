"""Packs a model as a deterministic archive: sorted names, no times, no owners."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from trainer.localization.bundle.description import (
    MANIFEST,
    PARAMS,
    PINNED,
    SCHEMA_VERSION,
    SMOKE,
    SYMBOL,
    WEIGHTS,
    BundleInfo,
    ModelDescription,
    SmokeRow,
    sha256_of,
)
from trainer.localization.dense.mxnet_graph import MxnetExport, parameter_names
from trainer.localization.dense.network import Network


def write_bundle(
    path: Path,
    description: ModelDescription,
    network: Network,
    export: MxnetExport,
    smoke: Sequence[SmokeRow],
) -> BundleInfo:
    """Pack a model as ``model.tar.gz``; equal models give equal bytes.

    Args:
        path: the archive to write; replaced if it exists.
        description: everything that is not weights.
        network: the weights.
        export: the same model as MXNet's files.
        smoke: rows with the answers of this model.

    Returns:
        The archive and the digest that pins it.
    """
    files = {
        PARAMS: export.params,
        SYMBOL: export.symbol,
        SMOKE: _json_bytes([_smoke_row(row) for row in smoke]),
        WEIGHTS: _pack_weights(network),
    }
    files[MANIFEST] = _manifest(description, files)
    archive = _pack(files)
    path.write_bytes(archive)
    return BundleInfo(path=path, digest=sha256_of(files[MANIFEST]), size=len(archive))


def _manifest(description: ModelDescription, files: Mapping[str, bytes]) -> bytes:
    hashes = {name: sha256_of(files[name]) for name in PINNED}
    described = _without_absent(asdict(description), "floors", "buildings")
    return _json_bytes({"schema_version": SCHEMA_VERSION, **described, "sha256": hashes})


def _smoke_row(row: SmokeRow) -> dict[str, object]:
    return {
        "rssi": dict(row.rssi),
        "answer": _without_absent(asdict(row.answer), "floor", "building"),
    }


def _without_absent(fields: dict[str, object], *optional: str) -> dict[str, object]:
    """The bundle of a site without floors is the same, to the bit, as before there were any."""
    return {
        name: value for name, value in fields.items() if value is not None or name not in optional
    }


def _pack_weights(network: Network) -> bytes:
    arrays = {
        name: np.ascontiguousarray(array)
        for number, layer in enumerate(network.layers)
        for name, array in zip(parameter_names(number), (layer.weight, layer.bias), strict=True)
    }
    buffer = io.BytesIO()
    # numpy dates the entries 1980-01-01, so equal weights give equal bytes.
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()


def _json_bytes(document: object) -> bytes:
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return text.encode() + b"\n"
