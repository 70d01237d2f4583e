"""A small real bundle and a real server process that serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_server import RunningServer
from small_model import write_small_bundle

from trainer.serving.service import Service


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights: right answers are the ones that it records itself."""
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "model.tar.gz")


@pytest.fixture(scope="session")
def service(bundle: Path) -> Service:
    """The bundle, loaded and checked."""
    return Service.open(bundle)


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[RunningServer]:
    """One server process for all tests of a file."""
    with RunningServer(bundle) as running:
        yield running
