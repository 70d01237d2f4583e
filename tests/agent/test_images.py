"""The Dockerfiles, as far as can be told without an engine: what is copied suffices to start.

An image is imitated by a folder that has only what the Dockerfile copies.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "trainer" / "images"


def instructions(image: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, continued lines joined."""
    text = (IMAGES / f"{image}.Dockerfile").read_text().replace("\\\n", " ")
    lines = (line.split(None, 1) for line in text.splitlines() if line and line[0] != "#")
    return [(name, rest) for name, rest in lines]


def copied(image: str) -> list[tuple[str, str]]:
    """Sources, relative to the clone, and where they go; not what comes from another stage."""
    pairs = []
    for name, rest in instructions(image):
        if name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            pairs += [(source, target) for source in sources]
    return pairs


def imitated(image: str, folder: Path) -> Path:
    for source, target in copied(image):
        place = folder / target.strip("/")
        if source.endswith("/"):
            shutil.copytree(
                ROOT / source,
                place,
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )
        else:
            place = place / Path(source).name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    return folder / "app"


RUN = """
import runpy, sys
# The clone is installed in this environment; in an image it is not.
sys.path[:] = [path for path in sys.path if path != sys.argv[1]]
module, sys.argv = sys.argv[2], sys.argv[2:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def run(app: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT), *command],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(app)},
        cwd=app,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("image", ["trainer", "serving"])
class TestEveryImage:
    def test_copies_only_what_is_there_and_reaches_the_build(self, image):
        ignore = (IMAGES / f"{image}.Dockerfile.dockerignore").read_text().splitlines()
        let_in = [line[1:] for line in ignore if line.startswith("!")]
        for source, _ in copied(image):
            assert (ROOT / source).exists()
            assert any(source.startswith(path) for path in let_in)

    def test_runs_as_nobody_from_a_base_that_can_be_chosen(self, image):
        assert ("USER", "65532:65532") in instructions(image)
        assert instructions(image)[0][0] == "ARG"
        base = instructions(image)[0][1]
        assert re.fullmatch(r"BASE=\S+:3\.11\.\d+-\S+", base), "pinned to a version"
        assert {rest.split()[0] for name, rest in instructions(image) if name == "FROM"} == {
            "${BASE}"
        }

    def test_installs_only_what_is_locked_with_hashes(self, image):
        installs = [rest for name, rest in instructions(image) if "pip install" in rest]
        assert len(installs) == 1
        assert "--require-hashes" in installs[0]
        locked = (ROOT / "requirements" / f"{image}.txt").read_text()
        assert "--hash=sha256:" in locked


def test_the_trainers_image_has_all_that_the_agent_needs(tmp_path):
    ended = run(imitated("trainer", tmp_path), "trainer.agent")

    assert ended.returncode == 78, ended.stderr
    assert "RSSI_DATA_BUCKET" in ended.stdout


def test_the_trainers_image_has_all_that_the_kubernetes_runner_needs(tmp_path):
    app = imitated("trainer", tmp_path)

    ended = run(app, "trainer.agent.runners.kubernetes.cluster")

    assert ended.returncode == 0, ended.stderr


def test_the_trainers_image_has_all_that_training_needs(tmp_path):
    app = imitated("trainer", tmp_path)

    assert run(app, "trainer.training").returncode == 78
    assert run(app, "trainer.training.job.train").returncode == 0


def test_what_the_servings_image_leaves_out_is_there_to_leave_out_and_serves_nothing():
    [install] = [rest for _, rest in instructions("serving") if "pip install" in rest]
    left_out = install.partition(" rm -r ")[2].split()
    packages = Path(sysconfig.get_paths()["purelib"])
    names = {path.relative_to(packages).parts for name in left_out for path in packages.glob(name)}

    assert all(any(packages.glob(name)) for name in left_out)
    loaded = serving_modules()
    assert loaded
    assert not [one for one in loaded if any(one[: len(name)] == name for name in names)]


def serving_modules() -> list[tuple[str, ...]]:
    """Where what a server maps or imports lies, below the packages' folder."""
    script = """
import sys
from pathlib import Path
import trainer.serving.http.server
from trainer.localization.dense.serving import is_batch_invariant
from trainer.localization.dense.features import FeatureParameters
is_batch_invariant((8, 4, 2), FeatureParameters(), placed=True)
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
imported = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
for path in mapped | imported:
    print(path)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    packages = Path(sysconfig.get_paths()["purelib"])
    found = (Path(line) for line in done.stdout.splitlines() if line)
    return [path.relative_to(packages).parts for path in found if path.is_relative_to(packages)]


def test_the_servings_image_has_all_that_serving_needs_and_no_aws(tmp_path):
    app = imitated("serving", tmp_path)

    ended = run(app, "trainer.serving", "serve", "--help")

    assert ended.returncode == 0, ended.stderr
    assert "--workers" in ended.stdout
    assert not (app / "trainer" / "agent").exists()
    assert not re.search(
        r"^(boto|mxnet)", (ROOT / "requirements/serving.txt").read_text(), re.MULTILINE
    )
