"""The code asset of the Lambdas: the Python files of the packages that they import, and no others.

A stray file would change the asset's hash, and cause a deployment for no reason.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from cdk import ROOT

PACKAGES = ("functions", "aws", "events")


def function_sources(scope: Construct, construct_id: str) -> s3_assets.Asset:
    """The asset that all functions share, named by the digest of its content."""
    with tempfile.TemporaryDirectory(prefix="rssi-functions-") as folder:
        copy_sources(Path(folder))
        # The asset copies the folder into the assembly at once, so it may go.
        return s3_assets.Asset(scope, construct_id, path=folder)


def copy_sources(destination: Path) -> None:
    """Copy the sources to `destination`, with their folders."""
    for source in _sources():
        target = destination / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))
