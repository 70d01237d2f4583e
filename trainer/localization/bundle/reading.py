"""Opens a bundle that comes from a bucket, so nothing in it is trusted.

Every file is checked against its hash before it is used, nothing is unpacked to disk, and sizes are
bounded before anything is read.
"""

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from trainer.localization.bundle.description import (
    MANIFEST,
    MAX_UNPACKED_BYTES,
    PINNED,
    SCHEMA_VERSION,
    SMOKE,
    WEIGHTS,
    ErrorRadius,
    ModelDescription,
    SmokeRow,
    sha256_of,
)
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.decoding import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, Answer
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Dense, Network
from trainer.localization.errors import BadBundle
from trainer.localization.readings import NOT_HEARD_BELOW
from trainer.localization.runtime.engine import Pause, no_pause

# A release's id goes into an HTTP header.
_RELEASE = re.compile(r"[!-~]{1,128}")

# numpy's own module for its format has no types.
_format: Any = np.lib.format
_NPY_START = 10
"""Magic, version and the header's length, before the header itself."""

# Parsed JSON that has not been checked; it does not leave this file.
_Manifest = Mapping[str, Any]


def load_bundle(path: Path, pause: Pause = no_pause) -> LoadedModel:
    """Open a ``model.tar.gz``, or the folder that one was unpacked to, and verify all of it.

    Args:
        path: the archive or the folder.
        pause: called between the parts of the work, each of some milliseconds at most, so that a
            caller can let the other threads of its process run.

    Raises:
        BadBundle: something is missing, damaged, too large or does not fit together.
    """
    files = _read_folder(path) if path.is_dir() else _read_archive(path)
    pause()
    try:
        document = orjson.loads(files[MANIFEST])
        _verify_hashes(document, files)
        return _assemble(document, files, pause)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        # From archives that are encrypted or compressed in an unknown way.
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BadBundle(
            f"{path} is not a bundle that this version can read ({error!r}). It was damaged or "
            "written by another version: deploy another release, or train this one again."
        ) from error


def _assemble(document: _Manifest, files: Mapping[str, bytes], pause: Pause) -> LoadedModel:
    if document["schema_version"] != SCHEMA_VERSION:
        raise BadBundle(
            f"The bundle has schema version {document['schema_version']}, and this server reads "
            f"{SCHEMA_VERSION}: serve it with the image that its release names."
        )
    description = _description(document)
    if not _RELEASE.fullmatch(description.release):
        raise BadBundle(f"{description.release!r} can't be the id of a release.")
    network = _unpack_weights(files[WEIGHTS])
    _check_fit(description, network)
    pause()
    smoke = _smoke_rows(files[SMOKE])
    return LoadedModel(description, network, smoke, sha256_of(files[MANIFEST]), pause)


def _check_fit(description: ModelDescription, network: Network) -> None:
    for place, layer in enumerate(network.layers):
        if layer.weight.ndim != 2 or layer.bias.shape != layer.weight.shape[:1]:
            raise BadBundle(
                f"Layer {place} has weights of {layer.weight.shape} and biases of "
                f"{layer.bias.shape}, which do not fit together: train this model again."
            )
    inputs = description.features.per_beacon * len(description.beacons)
    cells = len(description.cells)
    chained = all(
        before.weight.shape[0] == after.weight.shape[1]
        for before, after in pairwise(network.layers)
    )
    if network.inputs != inputs or network.outputs != cells or not chained:
        raise BadBundle(
            f"The weights map {network.inputs} features to {network.outputs} cells, but the bundle "
            f"describes {inputs} features and {cells} cells: its parts are of different models."
        )
    if description.positions is not None and len(description.positions) != cells:
        raise BadBundle("The bundle has another number of positions than of cells.")
    if any(
        texts is not None and len(texts) != cells
        for texts in (description.floors, description.buildings)
    ):
        raise BadBundle("The bundle has another number of floors or buildings than of cells.")
    temperature = description.confidence_temperature
    if temperature is not None and not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE:
        raise BadBundle(
            f"The bundle's confidence has the temperature {temperature:g}, and it has to lie from "
            f"{LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g}: train this model again."
        )


def _description(document: _Manifest) -> ModelDescription:
    positions = document["positions"]
    features = document["features"]
    # Older bundles have none.
    temperature = document.get("confidence_temperature")
    return ModelDescription(
        release=document["release"],
        site=document["site"],
        beacons=tuple(document["beacons"]),
        cells=tuple(document["cells"]),
        positions=None if positions is None else tuple((float(x), float(y)) for x, y in positions),
        features=FeatureParameters(
            floor_dbm=features["floor_dbm"],
            span_db=features["span_db"],
            bump_centres_dbm=tuple(features["bump_centres_dbm"]),
            bump_sigma_db=features["bump_sigma_db"],
            # Older bundles do not record it.
            not_heard_below_dbm=float(features.get("not_heard_below_dbm", NOT_HEARD_BELOW)),
        ),
        radius=_radius(document.get("radius")),
        confidence_temperature=None if temperature is None else float(temperature),
        floors=_texts(document.get("floors")),
        buildings=_texts(document.get("buildings")),
    )


def _texts(texts: Sequence[Any] | None) -> tuple[str | None, ...] | None:
    """The texts of all cells; older bundles, and sites without floors, have none."""
    if texts is None:
        return None
    if not all(text is None or isinstance(text, str) for text in texts):
        raise BadBundle("The bundle has a floor or a building that is no text: train it again.")
    return tuple(texts)


def _radius(radius: _Manifest | None) -> ErrorRadius | None:
    if radius is None:
        return None
    return ErrorRadius(share=radius["share"], scale=float(radius["scale"]))


def _verify_hashes(document: _Manifest, files: Mapping[str, bytes]) -> None:
    hashes = document["sha256"]
    if set(hashes) != set(PINNED):
        raise BadBundle(f"{MANIFEST} pins {sorted(hashes)}, and a bundle is {list(PINNED)}.")
    for name in PINNED:
        if sha256_of(files[name]) != hashes[name]:
            raise BadBundle(
                f"{name} is not the file that {MANIFEST} pins: its SHA-256 differs. It was changed "
                "after it was packed and must not be served; deploy another release."
            )


def _smoke_rows(content: bytes) -> list[SmokeRow]:
    return [
        SmokeRow(
            rssi={beacon: float(dbm) for beacon, dbm in row["rssi"].items()},
            answer=Answer(
                location=row["answer"]["location"],
                x=row["answer"]["x"],
                y=row["answer"]["y"],
                confidence=row["answer"]["confidence"],
                radius_m=row["answer"].get("radius_m"),
                floor=row["answer"].get("floor"),
                building=row["answer"].get("building"),
            ),
        )
        for row in orjson.loads(content)
    ]


def _unpack_weights(content: bytes) -> Network:
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        _check_size(sum(member.file_size for member in members.infolist()), WEIGHTS)
        arrays = {name: _array(members.read(name)) for name in members.namelist()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise BadBundle("The weights hold numbers that are not finite: the training diverged.")
    return Network(
        tuple(
            Dense(weight=arrays[f"weight{place}.npy"], bias=arrays[f"bias{place}.npy"])
            for place in range(len(arrays) // 2)
        )
    )


def _array(content: bytes) -> npt.NDArray[np.float32]:
    """The array of an npy file; it shares the memory of ``content``."""
    start = _NPY_START + int.from_bytes(content[_NPY_START - 2 : _NPY_START], "little")
    shape, by_columns, dtype = _npy_header(content[:start])
    array = np.frombuffer(content, dtype=dtype, offset=start)
    return array.reshape(shape, order="F" if by_columns else "C").astype(np.float32, copy=False)


# numpy parses a header as Python, which takes longer than all else here; few headers differ.
@lru_cache(maxsize=64)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(head)
    if _format.read_magic(stream) != (1, 0):
        raise ValueError(f"an array of {WEIGHTS} is no npy file of version 1.0")
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = _format.read_array_header_1_0(stream)
    return header


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in (MANIFEST, *PINNED):
        try:
            with (folder / name).open("rb") as file:
                files[name] = file.read(MAX_UNPACKED_BYTES + 1)
        except OSError as error:
            raise BadBundle(
                f"{folder} holds no readable {name} ({error.strerror}): unpack the whole "
                "model.tar.gz there."
            ) from error
        _check_size(len(files[name]), folder)
    return files


def _read_archive(path: Path) -> dict[str, bytes]:
    try:
        content = _unzipped(path)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return _read_members(archive, path)
    except OSError as error:
        raise BadBundle(f"{path} can't be read as a model.tar.gz: {error}.") from error
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise BadBundle(
            f"{path} is cut short or is no model.tar.gz ({error}): fetch it again."
        ) from error


def _unzipped(path: Path) -> bytes:
    with path.open("rb") as file:
        packed = file.read(MAX_UNPACKED_BYTES + 1)
    _check_size(len(packed), path)
    # In one call, which releases the GIL; gzip would make forty calls.
    unpacking = zlib.decompressobj(wbits=31)
    content = unpacking.decompress(packed, MAX_UNPACKED_BYTES + 1)
    _check_size(len(content), path)
    if not unpacking.eof or unpacking.unused_data:
        raise EOFError("the gzip ends too early, or something follows its end")
    return content


def _read_members(archive: tarfile.TarFile, path: Path) -> dict[str, bytes]:
    """Read the files of a bundle into memory, so that no name can reach the disk."""
    files: dict[str, bytes] = {}
    for member in archive:
        if member.type != tarfile.REGTYPE or member.name not in {MANIFEST, *PINNED}:
            raise BadBundle(
                f"{path} holds {member.name!r}, which is no file of a bundle: nothing was unpacked."
            )
        if member.name in files:
            raise BadBundle(f"{path} holds {member.name} twice: it is not as it was packed.")
        content = archive.extractfile(member)
        files[member.name] = content.read() if content else b""
    missing = sorted({MANIFEST, *PINNED} - set(files))
    if missing:
        raise BadBundle(f"{path} lacks {', '.join(missing)}: it is cut short or no bundle.")
    return files


def _check_size(size: int, path: Path | str) -> None:
    if size > MAX_UNPACKED_BYTES:
        raise BadBundle(
            f"{path} is larger than {MAX_UNPACKED_BYTES // 2**20} MiB when unpacked; no bundle of "
            "ours is."
        )
