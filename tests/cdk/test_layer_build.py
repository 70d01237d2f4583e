"""The layer's build, with the real installer but no registry: a lock of one wheel on this disk."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from cdk.errors import LayerError
from cdk.layer import build, install_command, is_built, layer_digest

METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
RECORD = "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\n"


@pytest.fixture(autouse=True)
def _no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "SIZE = 1\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("tiny-1.0.dist-info/RECORD", RECORD)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = tmp_path / "lambda.txt"
    lock.write_text(f"tiny @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return lock


def test_a_built_layer_holds_the_locked_packages_where_lambda_looks(
    lock: Path, tmp_path: Path
) -> None:
    layer = tmp_path / "build" / "layer"
    build(layer, lock)
    assert (layer / "python" / "tiny.py").read_text() == "SIZE = 1\n"
    assert is_built(layer, lock)


def test_a_layer_counts_as_not_built_once_the_lock_has_changed(lock: Path, tmp_path: Path) -> None:
    layer = tmp_path / "build" / "layer"
    build(layer, lock)
    lock.write_text(lock.read_text() + "# another\n")
    assert not is_built(layer, lock)


def test_building_anew_leaves_nothing_of_what_was_built_before(lock: Path, tmp_path: Path) -> None:
    layer = tmp_path / "build" / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "old.py").write_text("")
    build(layer, lock)
    assert not (layer / "python" / "old.py").exists()
    assert [path.name for path in layer.parent.iterdir()] == ["layer"]


def test_a_wheel_that_is_not_the_locked_one_fails_and_leaves_the_layer_as_it_was(
    lock: Path, tmp_path: Path
) -> None:
    layer = tmp_path / "build" / "layer"
    build(layer, lock)
    other = tmp_path / "other.txt"
    other.write_text(lock.read_text().split("--hash")[0] + f"--hash=sha256:{'0' * 64}\n")
    with pytest.raises(LayerError, match=r"(?i)hash"):
        build(layer, other)
    assert is_built(layer, lock)
    assert [path.name for path in layer.parent.iterdir()] == ["layer"]


def test_only_locked_wheels_for_the_lambdas_platform_are_installed(tmp_path: Path) -> None:
    command = " ".join(install_command(tmp_path))
    assert "--require-hashes" in command
    assert "--only-binary :all:" in command
    assert "--python-platform aarch64-manylinux2014" in command
    assert "--python-version 3.11" in command
    assert f"--target {tmp_path}" in command
    assert command.endswith("requirements/lambda.txt")


def test_the_digest_follows_the_lock(lock: Path) -> None:
    before = layer_digest(lock)
    lock.write_text(lock.read_text() + "# another\n")
    assert layer_digest(lock) != before
