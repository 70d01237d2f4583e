"""docs/bundle.md explains every file and field of a bundle, and its example runs."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from trainer.localization.bundle.description import MANIFEST, SMOKE
from trainer.localization.bundle.reading import load_bundle
from trainer.training.job.pipeline import TrainingResult

DOCUMENT = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
RESTORE_NUMPY_NAMES = """
import builtins, numpy
for name in ("bool", "int", "float", "complex", "object", "str"):
    setattr(numpy, name, getattr(builtins, name))
"""


@pytest.fixture
def unpacked(trained: TrainingResult, tmp_path: Path) -> Path:
    with tarfile.open(trained.bundle) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def fields_of(document: dict[str, object]) -> set[str]:
    nested = {name: value for name, value in document.items() if isinstance(value, dict)}
    nested.pop("sha256")
    inner = {f"{name}.{field}" for name, value in nested.items() for field in value}
    return (document.keys() - nested.keys()) | inner


def test_every_file_and_every_field_is_explained(unpacked: Path) -> None:
    files = {path.name for path in unpacked.iterdir()}
    manifest = json.loads((unpacked / MANIFEST).read_text())
    smoke = json.loads((unpacked / SMOKE).read_text())[0]
    named = set(re.findall(r"[`\"]([\w.-]+)[`\"]", DOCUMENT))

    assert manifest["radius"] is not None
    assert files | fields_of(manifest) | smoke.keys() | smoke["answer"].keys() <= named


def test_the_example_opens_a_bundle_in_plain_mxnet(unpacked: Path, trained: TrainingResult) -> None:
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    script = f"{RESTORE_NUMPY_NAMES}{example}\nprint(location, float(probabilities.max()))\n"

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=unpacked,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    model = load_bundle(trained.bundle)
    [answer] = model.answers(model.matrix([{model.beacons[0]: -63.0}]))
    location, _ = done.stdout.split()
    assert location == answer.location
