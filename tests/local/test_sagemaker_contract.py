"""One contract for SageMaker's adapter: over the embedded cloud, and over the fake that the tests
of the release logic play with. What the fake refuses or forgets, the real thing does as well."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from functions.adapters.sagemaker import SageMakerControlPlane
from functions.core.errors import ConflictError, EndpointBusyError
from functions.core.specification import (
    EndpointSpecification,
    FleetSpecification,
    ModelSpecification,
)
from tests.functions.conftest import make_release
from tests.functions.fakes import FakeBus, FakeSageMaker
from tests.local.local_helpers import IMAGE, ROLE, eventually

FLEET = FleetSpecification(instance_type="ml.m5.large", instance_count=1)


@dataclass
class Border:
    """The adapter over one SageMakerControlPlane, and how to wait for it."""

    client: Any
    bucket: str
    name: str

    def __post_init__(self) -> None:
        self.adapter = SageMakerControlPlane(self.client)

    def model(self, number: int) -> ModelSpecification:
        return ModelSpecification(
            release=make_release(number).run_id,
            image=IMAGE,
            model_data_url=f"s3://{self.bucket}/model-{number}.tar.gz",
            execution_role_arn=ROLE,
        )

    def configuration(self, number: int) -> EndpointSpecification:
        model = self.model(number)
        self.adapter.ensure_model(model)
        specification = EndpointSpecification(
            release=model.release, model_name=model.name, fleet=FLEET
        )
        self.adapter.ensure_configuration(specification)
        return specification

    def settle(self) -> str:
        def settled() -> str | None:
            if isinstance(self.client, FakeSageMaker):
                self.client.advance()
            view = self.adapter.endpoint(self.name)
            return view.status if view and view.status in ("InService", "Failed") else None

        return eventually(settled)


def empty_archive() -> bytes:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w:gz").close()
    return buffer.getvalue()


@pytest.fixture(params=["embedded", "fake"])
def border(request: pytest.FixtureRequest, name: str) -> Iterator[Border]:
    if request.param == "fake":
        client = FakeSageMaker(FakeBus())
        for number in (1, 2):
            client.bundles[f"s3://models/model-{number}.tar.gz"] = make_release(number)
        yield Border(client, "models", name)
        return
    clients = request.getfixturevalue("client")
    clients("s3").create_bucket(Bucket=name)
    for number in (1, 2):
        clients("s3").put_object(Bucket=name, Key=f"model-{number}.tar.gz", Body=empty_archive())
    border = Border(clients("sagemaker"), name, name)
    yield border
    if border.adapter.endpoint(name):
        border.settle()
        border.adapter.delete_endpoint(name)
    for number in (1, 2):
        model = border.model(number)
        config = EndpointSpecification(release=model.release, model_name=model.name, fleet=FLEET)
        for delete, what in (
            (border.client.delete_endpoint_config, {"EndpointConfigName": config.name}),
            (border.client.delete_model, {"ModelName": model.name}),
        ):
            try:
                delete(**what)
            except border.client.exceptions.ClientError as error:
                if "Could not find" not in str(error):
                    raise


def test_a_model_is_made_once_and_found_made(border):
    border.adapter.ensure_model(border.model(1))
    border.adapter.ensure_model(border.model(1))


def test_a_model_of_that_name_with_other_content_is_a_conflict(border):
    model = border.model(1)
    border.client.create_model(
        ModelName=model.name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "another:1", "ModelDataUrl": model.model_data_url},
    )

    with pytest.raises(ConflictError, match="other content"):
        border.adapter.ensure_model(model)


def test_a_configuration_is_made_once_and_found_made(border):
    border.adapter.ensure_configuration(border.configuration(1))


def test_an_endpoint_nobody_made_is_none_and_deleting_it_is_no_error(border):
    assert border.adapter.endpoint(border.name) is None
    border.adapter.delete_endpoint(border.name)


def test_an_endpoint_comes_into_service_on_its_configuration(border):
    config = border.configuration(1)
    border.adapter.create_endpoint(border.name, config.name)

    assert border.adapter.endpoint(border.name).status == "Creating"
    assert border.settle() == "InService"
    assert border.adapter.endpoint(border.name).config_name == config.name


def test_an_endpoint_that_is_changing_can_not_be_changed(border):
    first, second = border.configuration(1), border.configuration(2)
    border.adapter.create_endpoint(border.name, first.name)

    with pytest.raises(EndpointBusyError):
        border.adapter.create_endpoint(border.name, first.name)
    with pytest.raises(EndpointBusyError):
        border.adapter.update_endpoint(border.name, second.name, 0)


def test_an_update_says_where_it_is_heading_until_it_is_there(border):
    first, second = border.configuration(1), border.configuration(2)
    border.adapter.create_endpoint(border.name, first.name)
    border.settle()

    border.adapter.update_endpoint(border.name, second.name, 0)

    view = border.adapter.endpoint(border.name)
    assert (view.status, view.config_name) == ("Updating", first.name)
    assert view.pending_config_name == second.name
    assert border.settle() == "InService"
    view = border.adapter.endpoint(border.name)
    assert (view.config_name, view.pending_config_name) == (second.name, None)


def test_a_deleted_endpoint_is_gone(border):
    border.adapter.create_endpoint(border.name, border.configuration(1).name)
    border.settle()

    border.adapter.delete_endpoint(border.name)

    assert eventually(lambda: border.adapter.endpoint(border.name) is None)
