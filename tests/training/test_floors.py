"""Floors and buildings: never merged, never near each other, and named by the answer."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.localization.bundle.reading import load_bundle
from trainer.localization.dense.features import FeatureParameters
from trainer.serving.exchange import HttpRequest
from trainer.serving.models.service import INVOCATIONS, SingleModelService, respond
from trainer.training.errors import BadSurvey
from trainer.training.evaluation.evaluate import evaluate_bundle, summarize
from trainer.training.evaluation.hold_out_evaluation import fit_and_measure
from trainer.training.fitting.encoded_rows import encode
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.train import train_files
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine

SITE = SiteDescription(name="hall")
QUICK = Hyperparameters(epochs=60)


def survey(
    floors: str = "012", *, column: str = "floor", buildings: str = "", labels: bool = False
) -> str:
    """Several floors of one plan, each with the strongest beacon of its own; 4 rows a place."""
    random = np.random.default_rng(0)
    place = "location" if labels else "x,y"
    header = f"{place},{column},{'building,' if buildings else ''}b0,b1,b2,w0,w1"
    lines = [header]
    for _ in range(4):
        for building in buildings or "-":
            for floor in floors:
                for x, y in ((0, 0), (6, 0), (0, 6), (6, 6)):
                    own = [-60 if str(beacon) == floor else -85 for beacon in range(3)]
                    side = [-60 - 4 * x, -60 - 4 * y]
                    if building == "B":
                        side = [dbm - 9 for dbm in side]
                    readings = np.array(own + side) + random.integers(-1, 2, size=5)
                    spot = f"R{x}{y}" if labels else f"{x},{y}"
                    fields = [spot, floor, *([building] if buildings else []), *map(str, readings)]
                    lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def read(*texts: str, site: SiteDescription = SITE) -> TrainingSet:
    return combine([read_survey(text.encode(), site) for text in texts], site)


def trained(folder: Path, text: str) -> Path:
    file = folder / "survey.csv"
    file.write_text(text)
    train_files([file], folder / "out", 0, SITE, QUICK)
    return folder / "out" / "model.tar.gz"


def test_floors_of_one_plan_are_never_merged() -> None:
    data = read(survey())

    assert len(data.labels) == 12
    assert data.labels[0] == "floor=0,x=0.0,y=0.0"
    assert data.storeys is not None
    assert {storey.floor for storey in data.storeys} == {"0", "1", "2"}


def test_a_location_of_several_floors_is_told_apart_and_one_of_a_single_floor_keeps_its_name() -> (
    None
):
    text = survey("01", labels=True)
    data = read(text + "Lobby,0,-60,-85,-85,-70,-70\n")

    assert "floor=0,R00" in data.labels
    assert "floor=1,R00" in data.labels
    assert "Lobby" in data.labels
    assert "R00" not in data.labels


def test_the_same_location_on_different_floors_of_different_surveys_is_told_apart() -> None:
    data = read(survey("0", labels=True), survey("1", labels=True))

    assert len(data.labels) == 8
    assert data.labels[:2] == ("floor=0,R00", "floor=0,R06")


def test_a_survey_without_floors_adds_to_the_locations_that_are_known() -> None:
    plain = "location,b0,w0\n" + "R00,-60,-60\n" * 5
    data = read(survey("0", labels=True), plain)

    assert data.labels == ("R00", "R06", "R60", "R66")


def test_described_positions_hold_for_each_floor_of_a_location() -> None:
    places = {f"R{x}{y}": (float(x), float(y)) for x in (0, 6) for y in (0, 6)}
    data = read(survey("01", labels=True), site=SiteDescription(name="hall", positions=places))

    assert data.positions is not None
    assert data.positions[list(data.labels).index("floor=1,R60")].tolist() == [6.0, 0.0]


@pytest.mark.parametrize("column", ["Floor", "LEVEL", "storey", "floorID"])
def test_common_names_of_floors_are_taken_in_any_case(column: str) -> None:
    assert read(survey(column=column)).storeys is not None


def test_two_columns_that_may_be_the_floor_are_refused_unless_the_site_says_which() -> None:
    text = survey(buildings="A").replace("building", "level")

    with pytest.raises(BadSurvey, match=r"'floor', 'level'.*floor"):
        read(text)
    site = SiteDescription.model_validate({"name": "hall", "columns": {"floor": "floor"}})
    assert len(read(text, site=site).labels) == 12


def test_a_target_has_nothing_on_another_floor() -> None:
    data = read(survey())
    rows = encode(data, FeatureParameters(), Hyperparameters())

    assert data.storeys is not None
    for target in rows.targets:
        floors = {data.storeys[cell].floor for cell in np.flatnonzero(target)}
        assert len(floors) == 1


def test_a_wrong_floor_is_never_near_and_counts_four_metres() -> None:
    data = read(survey("01"))
    # No beacon tells the floors apart any more.
    blind = data.rssi.copy()
    blind[:, :3] = np.nan
    rows = np.arange(len(data))
    test = TrainingSet(**{**vars_of(data), "rssi": blind})
    measured = fit_and_measure(data.take(rows), test, SITE, QUICK)
    figures, scores = summarize(measured.scores), measured.scores

    assert figures.floor_accuracy is not None
    assert figures.floor_accuracy < 0.9
    assert scores.floors is not None
    assert scores.near is not None
    assert scores.errors_m is not None
    assert not scores.near[scores.floors == 0].any()
    assert scores.errors_m[scores.floors == 0].min() >= 4.0


def vars_of(data: TrainingSet) -> dict[str, object]:
    return {name: getattr(data, name) for name in data.__dataclass_fields__}


def test_the_answer_names_floor_and_building_in_every_format(tmp_path: Path) -> None:
    bundle = trained(tmp_path, survey(buildings="AB"))
    model = load_bundle(bundle)
    heard = {"b0": -85, "b1": -60, "b2": -85, "w0": -69, "w1": -93}
    body = json.dumps({"instances": [heard] * 6}).encode()

    def asked(accept: str) -> bytes:
        headers = {"content-type": "application/json", "accept": accept}
        request = HttpRequest("POST", INVOCATIONS, headers, body)
        reply = respond(SingleModelService.open(bundle), request)
        assert reply.status == 200
        return reply.body

    assert {(each.floor, each.building) for row in model.smoke for each in [row.answer]} == {
        (floor, building) for floor in "012" for building in "AB"
    }
    first = json.loads(asked("application/json"))["predictions"][0]
    assert (first["floor"], first["building"]) == ("1", "B")
    assert first["location"].startswith("building=B,floor=1,")
    lines = asked("text/csv").decode().splitlines()
    assert lines[0].startswith("location,x,y,confidence,")
    assert lines[0].endswith(",floor,building")
    assert lines[1].endswith(",1,B")
    assert json.loads(asked("application/jsonlines").splitlines()[0])["floor"] == "1"
    assert b"('floor', '<U1')" in asked("application/x-npy")


def test_the_floor_of_a_release_is_measured_and_a_site_without_floors_has_no_such_field(
    tmp_path: Path,
) -> None:
    file = tmp_path / "test.csv"
    file.write_text(survey())
    figures = evaluate_bundle(trained(tmp_path, survey()), file, SITE)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())

    assert figures.floor_accuracy == 1.0
    assert figures.building_accuracy is None
    assert metrics["floor_accuracy"] > 0.9
    assert "Right floor" in (tmp_path / "out" / "model-card.html").read_text()

    lines = [line.split(",") for line in survey("0").splitlines()]
    plain = "\n".join(",".join([*fields[:2], *fields[3:]]) for fields in lines) + "\n"
    without = load_bundle(trained(tmp_path, plain))
    assert without.cell_fields == {}
    assert without.description.storeys is None
