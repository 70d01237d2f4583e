"""Compile requirements/*.in into locked files: versions and hashes, no addresses.

``python -m ops.dev.lock`` writes them; ``--check`` only checks that they still fit.
Every lock is constrained by dev.txt, so that one version of a package is used everywhere.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "requirements"
DEV = "dev"
OTHERS = ("bootstrap", "lambda", "serving", "trainer", "trainer-gpu")


def compile_lock(name: str, target: Path) -> None:
    """Compile one file of requirements, keeping the versions that ``target`` already locks."""
    constraint = [] if name == DEV else ["--constraint", str(FOLDER / f"{DEV}.txt")]
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet"),
            *("--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"),
            *("--no-annotate", "--custom-compile-command", "make lock"),
            *constraint,
            *("--output-file", str(target)),
            str(FOLDER / f"{name}.in"),
        ],
        check=True,
        cwd=FOLDER.parent,
        stdout=subprocess.DEVNULL,
    )


def stale_locks() -> list[str]:
    """The locks that no longer fit their requirements."""
    stale = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in (DEV, *OTHERS):
            committed, fresh = FOLDER / f"{name}.txt", Path(scratch) / f"{name}.txt"
            fresh.write_text(committed.read_text())
            compile_lock(name, fresh)
            if fresh.read_text() != committed.read_text():
                stale.append(committed.name)
    return stale


def main() -> int:
    """Write or check the locks; exit code 1 when a check fails."""
    if "--check" not in sys.argv[1:]:
        for name in (DEV, *OTHERS):
            compile_lock(name, FOLDER / f"{name}.txt")
        return 0
    stale = stale_locks()
    if stale:
        sys.stderr.write(f"No longer fit their .in files: {', '.join(stale)}. Run `make lock`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
