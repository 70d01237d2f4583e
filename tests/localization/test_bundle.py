"""The packaged model: the same bytes each time, and nothing foreign in it."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.training.made_up_floor import HALL, QUICK
from trainer.localization.bundle.description import MANIFEST, PINNED, WEIGHTS
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.errors import BadBundle
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files


def unpacked(bundle: Path, folder: Path) -> Path:
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, filter="data")
    return folder


def packed(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_the_same_surveys_settings_and_seed_give_the_same_bytes(
    trained: TrainingResult, survey_file: Path, tmp_path: Path
) -> None:
    again = train_files([survey_file], tmp_path, 1, HALL, QUICK)

    assert again.bundle.read_bytes() == trained.bundle.read_bytes()
    assert again.digest == trained.digest


def test_another_seed_gives_another_digest_and_release(
    trained: TrainingResult, survey_file: Path, tmp_path: Path
) -> None:
    other = train_files([survey_file], tmp_path, 2, HALL, QUICK)

    assert other.digest != trained.digest
    assert other.release_id != trained.release_id


def test_a_folder_and_its_archive_are_the_same_model(
    trained: TrainingResult, tmp_path: Path
) -> None:
    folder, archive = load_bundle(unpacked(trained.bundle, tmp_path)), load_bundle(trained.bundle)

    assert folder.digest == archive.digest == trained.digest
    assert folder.release == trained.release_id
    assert folder.beacons == archive.beacons
    rssi = np.full((3, len(folder.beacons)), -70, dtype=np.float32)
    assert folder.answers(rssi) == archive.answers(rssi)


def test_the_archive_holds_no_times_and_no_owners(trained: TrainingResult) -> None:
    with tarfile.open(trained.bundle) as archive:
        members = archive.getmembers()

    assert [member.name for member in members] == sorted([MANIFEST, *PINNED])
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
    assert trained.bundle.read_bytes()[4:8] == bytes(4)


@pytest.mark.parametrize("name", PINNED)
def test_a_changed_file_is_noticed_by_its_name(
    trained: TrainingResult, tmp_path: Path, name: str
) -> None:
    folder = unpacked(trained.bundle, tmp_path)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BadBundle, match=name):
        load_bundle(folder)


@pytest.mark.parametrize("name", [MANIFEST, *PINNED])
def test_a_missing_file_is_noticed_by_its_name(
    trained: TrainingResult, tmp_path: Path, name: str
) -> None:
    folder = unpacked(trained.bundle, tmp_path)
    (folder / name).unlink()

    with pytest.raises(BadBundle, match=name):
        load_bundle(folder)


def test_a_changed_manifest_gives_another_digest(trained: TrainingResult, tmp_path: Path) -> None:
    folder = unpacked(trained.bundle, tmp_path)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "release": "hall-000000000000"}))

    assert load_bundle(folder).digest != trained.digest


MANIFEST_FAULTS = {
    "another schema version": ("schema_version", 2),
    "a header in the release": ("release", "x\r\nset-cookie: y"),
    "a beacon too many": ("beacons", ["b1", "b2", "b3", "b4", "b5", "b6"]),
    "a cell too few": ("cells", ["A01"]),
    "a position too few": ("positions", [[0, 0]]),
    "no hashes": ("sha256", {}),
    "a list for a release": ("release", []),
}


@pytest.mark.parametrize(("field", "value"), MANIFEST_FAULTS.values(), ids=MANIFEST_FAULTS.keys())
def test_a_manifest_that_does_not_fit_is_refused(
    trained: TrainingResult, tmp_path: Path, field: str, value: object
) -> None:
    folder = unpacked(trained.bundle, tmp_path)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, field: value}))

    with pytest.raises(BadBundle):
        load_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(
    trained: TrainingResult, tmp_path: Path, content: bytes
) -> None:
    folder = unpacked(trained.bundle, tmp_path)
    (folder / MANIFEST).write_bytes(content)

    with pytest.raises(BadBundle):
        load_bundle(folder)


def _link(folder: Path) -> Path:
    member = tarfile.TarInfo(MANIFEST)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return packed(folder / "link.tar.gz", [(member, b"")])


def _climbing(folder: Path) -> Path:
    return packed(folder / "up.tar.gz", [(tarfile.TarInfo("../../bundle.json"), b"{}")])


def _absolute(folder: Path) -> Path:
    return packed(folder / "abs.tar.gz", [(tarfile.TarInfo("/tmp/bundle.json"), b"{}")])  # noqa: S108


def _twice(folder: Path) -> Path:
    member = tarfile.TarInfo(MANIFEST)
    return packed(folder / "twice.tar.gz", [(member, b"{}"), (member, b"{}")])


def _empty(folder: Path) -> Path:
    return packed(folder / "empty.tar.gz", [])


def _bomb(folder: Path) -> Path:
    path = folder / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(80 * 1024 * 1024), compresslevel=1))
    return path


def _no_archive(folder: Path) -> Path:
    path = folder / "text.tar.gz"
    path.write_bytes(b"hello")
    return path


def _nowhere(folder: Path) -> Path:
    return folder / "nowhere.tar.gz"


@pytest.mark.parametrize(
    "make", [_link, _climbing, _absolute, _twice, _empty, _bomb, _no_archive, _nowhere]
)
def test_a_hostile_archive_is_refused_and_leaves_nothing_behind(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(BadBundle):
        load_bundle(path)

    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_an_archive_that_was_cut_short_is_refused(
    trained: TrainingResult, tmp_path: Path, kept: float
) -> None:
    path = tmp_path / "model.tar.gz"
    shutil.copy(trained.bundle, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])

    with pytest.raises(BadBundle):
        load_bundle(path)


def test_an_archive_that_goes_on_after_its_end_is_refused(
    trained: TrainingResult, tmp_path: Path
) -> None:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(trained.bundle.read_bytes() + b"more")

    with pytest.raises(BadBundle):
        load_bundle(path)


def _npz(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weight0.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        _npz(weight0=np.zeros((3, 4), np.float32)),
        _npz(weight0=np.zeros((3, 4), np.float32), bias0=np.zeros(2, np.float32)),
        _npz(weight0=np.array([{}], dtype=object), bias0=np.zeros(3, np.float32)),
        _npz(weight0=np.full((3, 4), np.nan, np.float32), bias0=np.zeros(3, np.float32)),
        _zipped(b""),
        _zipped(b"\x93NUMPY\x01\x00\xff\xff"),
        _zipped(b"\x93NUMPY\x02\x00" + bytes(100)),
    ],
    ids=[
        "empty",
        "no bias",
        "too few",
        "a pickle",
        "no number",
        "no array",
        "cut short",
        "another version",
    ],
)
def test_weights_that_are_none_are_refused_though_their_hash_is_right(
    trained: TrainingResult, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(BadBundle):
        load_bundle(_with_weights(trained, tmp_path, content))


def test_weights_that_unpack_to_more_than_a_bundle_holds_are_refused_unread(
    trained: TrainingResult, tmp_path: Path
) -> None:
    bomb = _npz(weight0=np.zeros(18 * 1024 * 1024, np.float32))

    with pytest.raises(BadBundle, match="larger than"):
        load_bundle(_with_weights(trained, tmp_path, bomb))


def _with_weights(trained: TrainingResult, folder: Path, content: bytes) -> Path:
    unpacked(trained.bundle, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"][WEIGHTS] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / WEIGHTS).write_bytes(content)
    return folder


def test_a_load_pauses_between_its_parts(trained: TrainingResult) -> None:
    rests: list[str] = []

    load_bundle(trained.bundle, lambda: rests.append("rested"))

    assert len(rests) >= 3
