"""A small real bundle, behind both forms of the service and of the server process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running_server import RunningServer
from tests.serving.served import Served, multi_model_service, single_model_service
from tests.serving.small_model import write_small_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights: right answers are the ones that it records itself."""
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "model.tar.gz")


@pytest.fixture(
    scope="session", params=[single_model_service, multi_model_service], ids=["single", "multi"]
)
def service(bundle: Path, request: pytest.FixtureRequest) -> Served:
    """The bundle, loaded and checked."""
    made: Served = request.param(bundle)
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["single", "multi"])
def server(bundle: Path, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """One server process of either form for all tests of a file."""
    with RunningServer(bundle, multi_model=request.param) as running:
        yield running
