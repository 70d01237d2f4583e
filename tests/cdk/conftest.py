"""Assemblies that the tests look at: each is synthesized once, as a user would, in its own process.

The process gets next to no environment: no credentials, no region, and no Node on its PATH.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cdk.layer import layer_digest

ROOT = Path(__file__).parents[2]

Synthesize = Callable[..., subprocess.CompletedProcess[str]]

# `app.py` with the layer taken from elsewhere, so that a test needs no registry to have it built.
WITH_LAYER = "import sys, pathlib, cdk.layer; cdk.layer.BUILT = pathlib.Path(sys.argv[1]); "
RUN_APP = "import app; app.main()"


DECLARED_SITES = tuple(f"floor-{number}" for number in range(30))


@pytest.fixture(scope="session")
def synthesize() -> Synthesize:
    """Run `python app.py` into `outdir`."""

    def run(
        outdir: Path,
        *,
        context: Mapping[str, object] | None = None,
        hash_seed: int = 0,
        layer: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        arguments = ["-c", WITH_LAYER + RUN_APP, str(layer)] if layer else ["app.py"]
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={
                "HOME": os.environ.get("HOME", ""),
                "PATH": "",
                "PYTHONHASHSEED": str(hash_seed),
                "CDK_OUTDIR": str(outdir),
                "CDK_CONTEXT_JSON": json.dumps(context or {}),
            },
            check=False,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def assembly(synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The assembly of stage dev, with the layer as it happens to be on this machine."""
    outdir = tmp_path_factory.mktemp("dev") / "cdk.out"
    result = synthesize(outdir)
    assert result.returncode == 0, result.stderr
    return outdir


@pytest.fixture(scope="session")
def built_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that counts as the layer built from today's lock."""
    layer = tmp_path_factory.mktemp("build") / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "dependency.py").write_text("")
    (layer / "lock.sha256").write_text(layer_digest())
    return layer


@pytest.fixture(scope="session")
def production(
    synthesize: Synthesize,
    assembly: Path,
    built_layer: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The assembly of stage prod, checked by cdk-nag, its layer built after a first synthesis."""
    outdir = tmp_path_factory.mktemp("prod") / "cdk.out"
    leave_placeholder(outdir, like=assembly)
    result = synthesize(
        outdir,
        context={
            "stage": "prod",
            "nag": True,
            "rssi-mlops:site_policy": {"margin_m": 0.3},
            "rssi-mlops:sites": {site: {"gate": "approve"} for site in DECLARED_SITES},
            "rssi-mlops:serving_image": (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/models/serving@sha256:" + "0" * 64
            ),
            "rssi-mlops:notification_emails": ["on-call@example.com"],
            "rssi-mlops:smoke_latency_ms": 250,
        },
        layer=built_layer,
    )
    assert result.returncode == 0, result.stderr
    return outdir


def leave_placeholder(outdir: Path, *, like: Path) -> None:
    """Put a folder where the synthesis `like` has its layer, as one before `make layer` does."""
    (template,) = like.glob("*.template.json")
    resources = json.loads(template.read_text())["Resources"].values()
    (key,) = (
        resource["Properties"]["Content"]["S3Key"]
        for resource in resources
        if resource["Type"] == "AWS::Lambda::LayerVersion"
    )
    staged = outdir / f"asset.{key.removesuffix('.zip')}"
    staged.mkdir(parents=True)
    (staged / "README").write_text("placeholder")
