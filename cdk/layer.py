"""The Lambdas' dependencies as a layer, built from their lock: `python -m cdk.layer`.

Built for the Lambdas' platform, not for this machine's, and only from wheels. A synthesis does not
need it: the layer's name in the template is the digest of the lock, built or not. A layer of
another lock counts as not built.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cdk import ROOT
from cdk.errors import LayerError

LOCK = ROOT / "requirements" / "lambda.txt"
BUILT = ROOT / "build" / "layer"
PLACEHOLDER = Path(__file__).parent / "placeholder_layer"
PLATFORM = "aarch64-manylinux2014"
PYTHON_VERSION = "3.11"
_STAMP = "lock.sha256"


def layer_digest(lock: Path = LOCK) -> str:
    """SHA-256 (hex) of what decides the layer's content: the lock, the platform, the Python."""
    digest = hashlib.sha256(lock.read_bytes())
    digest.update(f"{PLATFORM} {PYTHON_VERSION}".encode())
    return digest.hexdigest()


def is_built(layer: Path, lock: Path = LOCK) -> bool:
    """Whether `layer` holds the dependencies of `lock` as it is now."""
    stamp = layer / _STAMP
    return stamp.is_file() and stamp.read_text() == layer_digest(lock)


def install_command(target: Path, lock: Path = LOCK) -> Sequence[str]:
    """The command that installs the locked wheels for the Lambdas' platform into `target`."""
    return (
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet"),
        *("--require-hashes", "--only-binary", ":all:"),
        *("--target", str(target)),
        *("--python-platform", PLATFORM, "--python-version", PYTHON_VERSION),
        *("-r", str(lock)),
    )


def build(layer: Path, lock: Path = LOCK) -> None:
    """Build the layer beside its place and put it there once it is whole.

    Raises:
        LayerError: If the installer failed; the layer built before, if any, is untouched.
    """
    layer.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layer.parent, prefix="layer-") as folder:
        fresh = Path(folder) / "fresh"
        fresh.mkdir(mode=0o755)
        _install(install_command(fresh / "python", lock))
        # Scripts name this machine's Python, and a Lambda has no use for them.
        shutil.rmtree(fresh / "python" / "bin", ignore_errors=True)
        (fresh / _STAMP).write_text(layer_digest(lock))
        if layer.exists():
            layer.rename(Path(folder) / "previous")
        fresh.rename(layer)


def _install(command: Sequence[str]) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise LayerError(
            f"The Lambdas' dependencies could not be installed (exit code {result.returncode}), "
            "so the layer is as it was before. It needs the package index. Output of the "
            f"installer:\n{result.stderr}"
        )


def main() -> None:
    """Build the layer unless it is there.

    Exits with 1 and a sentence if it can't be built.
    """
    if is_built(BUILT):
        return
    try:
        build(BUILT)
    except LayerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
