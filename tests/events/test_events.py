"""The contract that other teams build on: events, manifests, schemas, samples."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from events import inbound, outbound
from events.manifests import RunSpec, Snapshot, SurveyRef
from events.schemas import FOLDER, render

SAMPLES = Path(outbound.__file__).parent / "samples"


def survey(key: str = "sites/lab/surveys/a.csv", **changes: object) -> SurveyRef:
    fields: dict[str, object] = {
        "bucket": "data",
        "key": key,
        "version_id": "v1",
        "etag": "e",
        "size": 1,
        "uploaded_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return SurveyRef.model_validate(fields | changes)


@pytest.mark.parametrize("model", outbound.OUTBOUND, ids=lambda model: model.__name__)
def test_each_of_our_events_has_a_sample_that_parses_and_survives_a_round_trip(model):
    envelope = inbound.Envelope.__class_getitem__(model).model_validate_json(
        (SAMPLES / f"{model.kind()}.json").read_text()
    )

    assert envelope.detail_type == model.__name__
    assert envelope.source in list(outbound.EventSource)
    assert model.model_validate_json(envelope.detail.model_dump_json()) == envelope.detail


def test_every_sample_belongs_to_an_event():
    kinds = {model.kind() for model in outbound.OUTBOUND}

    assert {path.stem for path in SAMPLES.glob("*.json")} == kinds


def test_on_call_engineers_can_look_every_event_up():
    page = (Path(__file__).parents[2] / "docs" / "on-call.md").read_text()

    assert [model.__name__ for model in outbound.OUTBOUND if model.__name__ not in page] == []


def test_the_committed_schemas_are_those_of_the_models():
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.json")}

    assert committed == render(), "run `make schemas`"


@pytest.mark.parametrize(
    ("file", "detail"),
    [
        ("s3-object-created.json", inbound.ObjectCreated),
        ("sagemaker-endpoint-in-service.json", inbound.EndpointChanged),
        ("sagemaker-endpoint-deployment-updating.json", inbound.EndpointChanged),
        ("sagemaker-model-package-rejected.json", inbound.ModelPackageChanged),
    ],
)
def test_events_are_read_as_aws_documents_them(shared_data, file, detail):
    text = (shared_data / "aws-events" / file).read_text()

    envelope = inbound.Envelope.__class_getitem__(detail).model_validate_json(text)

    raw = json.loads(text)
    assert envelope.id == raw["id"]
    assert envelope.time.tzinfo is not None
    by_alias = envelope.detail.model_dump(by_alias=True, exclude_unset=True)
    assert by_alias.keys() <= raw["detail"].keys()
    assert by_alias


def test_every_documented_event_is_covered(shared_data):
    assert len(list((shared_data / "aws-events").glob("*.json"))) == 4


def test_sagemakers_epoch_milliseconds_are_a_time():
    envelope = inbound.Envelope[inbound.EndpointChanged].model_validate(
        {
            "id": "1",
            "source": "aws.sagemaker",
            "detail-type": "SageMaker Endpoint State Change",
            "account": "111122223333",
            "region": "eu-west-1",
            "time": "1583831889050",
            "detail": {"EndpointName": "rssi-lab", "EndpointStatus": "IN_SERVICE"},
        }
    )

    assert envelope.time == datetime(2020, 3, 10, 9, 18, 9, 50000, tzinfo=UTC)


def test_a_field_that_a_newer_writer_added_is_ignored():
    sample = json.loads((SAMPLES / "model_created.json").read_text())["detail"]

    assert outbound.ModelCreated.model_validate(sample | {"colour": "blue"})


def test_a_missing_field_is_named():
    sample = json.loads((SAMPLES / "model_created.json").read_text())["detail"]
    del sample["digest"]

    with pytest.raises(ValidationError, match="digest"):
        outbound.ModelCreated.model_validate(sample)


def test_another_schema_version_is_refused():
    sample = json.loads((SAMPLES / "model_created.json").read_text())["detail"]

    with pytest.raises(ValidationError, match="schema_version"):
        outbound.ModelCreated.model_validate(sample | {"schema_version": 2})


def test_a_snapshot_is_named_by_what_it_holds_not_by_the_order_of_the_listing():
    first, second = survey("sites/lab/surveys/a.csv"), survey("sites/lab/surveys/b.csv")

    assert Snapshot.of("lab", [first, second]).digest == Snapshot.of("lab", [second, first]).digest
    assert Snapshot.of("lab", [first]).digest != Snapshot.of("lab", [first, second]).digest


def test_another_version_of_the_same_key_is_another_survey():
    assert survey(version_id="v1").id != survey(version_id="v2").id
    assert survey(etag="one").id != survey(etag="two").id


def test_a_snapshots_chain_of_causes_starts_at_its_newest_survey():
    old = survey("sites/lab/surveys/z.csv")
    new = survey("sites/lab/surveys/a.csv", uploaded_at=datetime(2026, 11, 2, tzinfo=UTC))

    assert Snapshot.of("lab", [old, new]).correlation_id == new.id


def test_a_run_is_named_by_its_snapshot_trainer_and_hyperparameters():
    spec = RunSpec(
        site="lab", snapshot="ab" * 32, trainer_version="1", hyperparameters={"epochs": 20}
    )

    assert spec.run_id == spec.model_copy().run_id
    others = [
        spec.model_copy(update={"snapshot": "cd" * 32}),
        spec.model_copy(update={"trainer_version": "2"}),
        spec.model_copy(update={"hyperparameters": {"epochs": 21}}),
    ]
    assert len({spec.run_id, *(other.run_id for other in others)}) == 4
