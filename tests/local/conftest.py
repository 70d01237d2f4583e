"""One embedded cloud for all tests of its pieces, with the waits of AWS cut short."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from ops.local.cloud import EmbeddedCloud
from ops.local.settings import CloudSettings
from tests.local.local_helpers import IMAGE, ROLE, zipped
from tests.local.sagemaker_helpers import Clients, configure, settled

QUICK = Config(read_timeout=10, retries={"total_max_attempts": 1})
SERVER = Path(__file__).with_name("fake_container.py")
SERVING_COMMAND = ["env", "MODEL_DIR={model}", sys.executable, str(SERVER)]


@pytest.fixture(scope="session")
def cloud() -> Iterator[EmbeddedCloud]:
    settings = CloudSettings(
        clock_scale=1 / 600,
        schedule_scale=1 / 600,
        serving_commands={IMAGE: SERVING_COMMAND},
        startup_timeout=10,
        warm_start=False,
        duplicate_share=0.0,
    )
    with EmbeddedCloud(settings) as running:
        yield running


@pytest.fixture(scope="session")
def client(cloud: EmbeddedCloud) -> Iterator[Callable[[str], Any]]:
    """A boto3 client of any service of the cloud."""
    session = boto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    clients: dict[str, Any] = {}

    def get(service: str) -> Any:
        if service not in clients:
            clients[service] = session.client(  # type: ignore[call-overload]  # any service
                service, endpoint_url=cloud.address, config=QUICK
            )
        return clients[service]

    yield get
    for each in clients.values():
        each.close()


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-{uuid4().hex[:10]}"


@pytest.fixture
def make_function(client: Callable[[str], Any], name: str) -> Iterator[Callable[..., str]]:
    """Makes a function from source text; returns its ARN. It is deleted after the test."""
    made: list[str] = []

    def make(source: str, **configuration: object) -> str:
        function = f"{name}-{len(made)}"
        arn = client("lambda").create_function(
            FunctionName=function,
            Runtime="python3.11",
            Role=ROLE,
            Handler="source.handle",
            Code={"ZipFile": zipped("source.py", source)},
            **configuration,
        )["FunctionArn"]
        made.append(function)
        return str(arn)

    yield make
    for function in made:
        client("lambda").delete_function(FunctionName=function)


@pytest.fixture(scope="session")
def bucket(client: Clients) -> str:
    client("s3").create_bucket(Bucket="models-of-endpoints")
    return "models-of-endpoints"


@pytest.fixture
def sagemaker(client: Clients) -> Any:
    return client("sagemaker")


@pytest.fixture
def endpoints(client: Clients) -> Iterator[list[str]]:
    """Endpoints to take down after the test."""
    made: list[str] = []
    yield made
    for each in made:
        settled(client("sagemaker"), each)
        client("sagemaker").delete_endpoint(EndpointName=each)


@pytest.fixture
def live(client: Clients, bucket: str, name: str, endpoints: list[str]) -> str:
    """An endpoint that serves release `old` with the configuration `{name}-old`."""
    config = configure(client, bucket, f"{name}-old", release="old")
    client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config)
    endpoints.append(name)
    assert settled(client("sagemaker"), name)["EndpointStatus"] == "InService"
    return name
