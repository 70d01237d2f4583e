"""One contract for SageMaker's adapter, over the embedded cloud and over the fake of the release
logic's tests, so that the fake refuses what the embedded cloud refuses."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from functions.adapters.sagemaker import SageMakerControlPlane
from functions.core.deployments import Candidate, SiteState
from functions.core.errors import ConflictError, EndpointBusyError
from functions.core.rollout_policies.all_at_once import AllAtOnce
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
class AdapterUnderTest:
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
def subject(request: pytest.FixtureRequest, name: str) -> Iterator[AdapterUnderTest]:
    if request.param == "fake":
        client = FakeSageMaker(FakeBus())
        for number in (1, 2):
            client.bundles[f"s3://models/model-{number}.tar.gz"] = make_release(number)
        yield AdapterUnderTest(client, "models", name)
        return
    clients = request.getfixturevalue("client")
    clients("s3").create_bucket(Bucket=name)
    for number in (1, 2):
        clients("s3").put_object(Bucket=name, Key=f"model-{number}.tar.gz", Body=empty_archive())
    subject = AdapterUnderTest(clients("sagemaker"), name, name)
    yield subject
    if subject.adapter.endpoint(name):
        subject.settle()
        subject.adapter.delete_endpoint(name)
    for number in (1, 2):
        model = subject.model(number)
        config = EndpointSpecification(release=model.release, model_name=model.name, fleet=FLEET)
        for delete, what in (
            (subject.client.delete_endpoint_config, {"EndpointConfigName": config.name}),
            (subject.client.delete_model, {"ModelName": model.name}),
        ):
            try:
                delete(**what)
            except subject.client.exceptions.ClientError as error:
                if "Could not find" not in str(error):
                    raise


def test_a_model_is_made_once_and_found_existing(subject):
    subject.adapter.ensure_model(subject.model(1))
    subject.adapter.ensure_model(subject.model(1))


def test_a_model_of_that_name_with_other_content_is_a_conflict(subject):
    model = subject.model(1)
    subject.client.create_model(
        ModelName=model.name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": f"{IMAGE}-other", "ModelDataUrl": model.model_data_url},
    )

    with pytest.raises(ConflictError, match="other content"):
        subject.adapter.ensure_model(model)


def test_a_configuration_is_made_once_and_found_existing(subject):
    subject.adapter.ensure_configuration(subject.configuration(1))


def test_a_missing_endpoint_is_none_and_deleting_it_is_no_error(subject):
    assert subject.adapter.endpoint(subject.name) is None
    subject.adapter.delete_endpoint(subject.name)


def test_an_endpoint_comes_into_service_on_its_configuration(subject):
    config = subject.configuration(1)
    subject.adapter.create_endpoint(subject.name, config.name)

    assert subject.adapter.endpoint(subject.name).status == "Creating"
    assert subject.settle() == "InService"
    assert subject.adapter.endpoint(subject.name).config_name == config.name


def test_an_endpoint_that_is_changing_can_not_be_changed(subject):
    first, second = subject.configuration(1), subject.configuration(2)
    subject.adapter.create_endpoint(subject.name, first.name)

    with pytest.raises(EndpointBusyError):
        subject.adapter.create_endpoint(subject.name, first.name)
    with pytest.raises(EndpointBusyError):
        subject.adapter.update_endpoint(subject.name, second.name, AllAtOnce(0))


def test_an_update_shows_its_configuration_as_pending_until_it_ends(subject):
    first, second = subject.configuration(1), subject.configuration(2)
    subject.adapter.create_endpoint(subject.name, first.name)
    subject.settle()

    subject.adapter.update_endpoint(subject.name, second.name, AllAtOnce(0))

    view = subject.adapter.endpoint(subject.name)
    assert (view.status, view.config_name) == ("Updating", first.name)
    assert view.pending_config_name == second.name
    assert subject.settle() == "InService"
    view = subject.adapter.endpoint(subject.name)
    assert (view.config_name, view.pending_config_name) == (second.name, None)


def test_a_deleted_endpoint_is_gone(subject):
    subject.adapter.create_endpoint(subject.name, subject.configuration(1).name)
    subject.settle()

    subject.adapter.delete_endpoint(subject.name)

    assert eventually(lambda: subject.adapter.endpoint(subject.name) is None)


def test_what_is_deleted_by_hand_is_seen(subject: AdapterUnderTest) -> None:
    specification = subject.configuration(1)
    candidate = Candidate(
        release=specification.release, digest="0" * 64, model_name=specification.model_name
    )
    state = SiteState(site="lab", champion=candidate, champion_config=specification.name)
    assert subject.adapter.drift(state, subject.name) == "the endpoint is gone"
    subject.adapter.create_endpoint(subject.name, specification.name)
    subject.settle()
    assert subject.adapter.drift(state, subject.name) == ""

    if isinstance(subject.client, FakeSageMaker):
        del subject.client.configs[specification.name]
    else:
        subject.client.delete_endpoint_config(EndpointConfigName=specification.name)

    assert subject.adapter.drift(state, subject.name) == (
        f"endpoint configuration {specification.name} was deleted"
    )
