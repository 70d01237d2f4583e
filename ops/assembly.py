"""The synthesized template for the embedded cloud, renewed only when its sources changed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ops.errors import OpsError

ROOT = Path(__file__).resolve().parents[1]
ASSEMBLY = ROOT / "build" / "assembly"
_STAMP = ".sources"


def fresh_assembly(folder: Path = ASSEMBLY) -> Path:
    """Synthesize `app.py` into ``folder`` unless that is done already from the same sources.

    Raises:
        OpsError: it can't be synthesized; the output of `app.py` is quoted.
    """
    stamp, digest = folder / _STAMP, _sources_digest()
    if stamp.is_file() and stamp.read_text() == digest:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**os.environ, "CDK_OUTDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise OpsError(f"The template can't be synthesized. `python app.py` printed:\n{run.stderr}")
    stamp.write_text(digest)
    return folder


def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    yield from (ROOT / name for name in ("app.py", "cdk.json", "requirements/lambda.txt"))
    for room in ("cdk", "functions", "aws", "events"):
        yield from (ROOT / room).rglob("*.py")
