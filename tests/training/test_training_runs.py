"""Training from files to a release's files, on a floor whose radio map is known."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from events.metrics import Metrics
from tests.training.made_up_floor import BEACONS, CELLS, HALL, QUICK, survey_lines, survey_text
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.mxnet_graph import MxnetExport, export, exported_probabilities
from trainer.localization.dense.network import Dense, Network
from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.errors import BadSurvey, BundleMismatch, NotEnoughData
from trainer.training.evaluation.confidence import FEWEST_FOR_TEMPERATURE
from trainer.training.evaluation.evaluate import evaluate_bundle
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files
from trainer.training.job.verification import verify_bundle
from trainer.training.reading.site_description import SiteDescription

Matrix = npt.NDArray[Any]


def train_text(text: str, folder: Path, site: SiteDescription = HALL) -> TrainingResult:
    folder.mkdir(parents=True, exist_ok=True)
    survey = folder / "survey.csv"
    survey.write_text(text)
    return train_files([survey], folder / "out", 1, site, QUICK)


def answers_of(result: TrainingResult, columns: tuple[str, ...] = BEACONS) -> Matrix:
    """The posterior for a few fixed fingerprints, whatever the order of the model's beacons."""
    model = load_bundle(result.bundle)
    rows = [{"b1": -60.0}, {"b2": -70.0, "b4": -65.0}, {}, dict.fromkeys(columns, -75.0)]
    return model.predict(model.matrix(rows)).probabilities


def test_a_release_is_a_model_its_metrics_and_its_card(trained: TrainingResult) -> None:
    names = {path.name for path in trained.bundle.parent.iterdir()}

    assert names == {"model.tar.gz", "metrics.json", "model-card.html"}
    written = (trained.bundle.parent / "metrics.json").read_text()
    assert Metrics.model_validate_json(written) == trained.metrics
    assert trained.metrics.trained_rows + trained.metrics.held_out_rows == trained.metrics.rows


def test_the_model_learns_a_floor_that_can_be_learnt(trained: TrainingResult) -> None:
    by_chance = 1 / len(CELLS)

    assert trained.metrics.exact_accuracy > 3 * by_chance
    assert trained.metrics.mean_error_m is not None
    assert trained.metrics.mean_error_m < 3.0


def test_each_step_is_announced_before_it_begins(survey_file: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    train_files([survey_file], tmp_path, 1, HALL, QUICK, steps.append)

    assert [step.split()[0] for step in steps] == [
        "reading",
        "auditing",
        "holding",
        "fitting",
        "packing",
        "writing",
    ]


def test_the_packaged_model_answers_what_is_recorded(trained: TrainingResult) -> None:
    model = load_bundle(trained.bundle)

    answers = model.answers(model.matrix([case.rssi for case in trained.smoke]))

    assert [answer.location for answer in answers] == [
        case.answer.location for case in trained.smoke
    ]
    assert len({answer.location for answer in answers}) > len(CELLS) / 2


def test_plain_mxnet_opens_the_bundle_and_says_the_same_as_numpy(trained: TrainingResult) -> None:
    mx = load_mxnet()
    model = load_bundle(trained.bundle)
    random = np.random.default_rng(0)
    rssi = random.integers(-100, -40, size=(300, len(BEACONS))).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.5] = np.nan
    exported = export(model.network, model.description.features)

    theirs = exported_probabilities(exported, rssi)

    assert mx.__version__ == "1.9.1"
    np.testing.assert_allclose(theirs, model.predict(rssi).probabilities, atol=1e-5)


def test_a_bundle_with_other_weights_than_its_export_is_not_released(
    trained: TrainingResult, tmp_path: Path
) -> None:
    model = load_bundle(trained.bundle)
    last = model.network.layers[-1]
    turned = Network((*model.network.layers[:-1], Dense(last.weight[::-1], last.bias)))
    foreign = export(turned, model.description.features)
    info = write_bundle(
        tmp_path / "model.tar.gz", model.description, model.network, foreign, model.smoke
    )

    with pytest.raises(BundleMismatch, match="not MXNet's"):
        verify_bundle(info.path, foreign)


def test_a_bundle_with_smoke_rows_of_another_model_is_not_released(
    trained: TrainingResult, tmp_path: Path
) -> None:
    model = load_bundle(trained.bundle)
    swapped = [
        type(row)(row.rssi, other.answer)
        for row, other in zip(model.smoke, reversed(model.smoke), strict=True)
    ]
    info = write_bundle(
        tmp_path / "model.tar.gz",
        model.description,
        model.network,
        MxnetExport(b"{}", b""),
        swapped,
    )

    with pytest.raises(BundleMismatch, match="503"):
        verify_bundle(info.path, MxnetExport(b"{}", b""))


def test_the_order_of_the_columns_is_no_matter(trained: TrainingResult, tmp_path: Path) -> None:
    turned = [line.split(",") for line in survey_text(survey_lines()).splitlines()]
    text = "\n".join(",".join(reversed(fields)) for fields in turned)

    assert (answers_of(train_text(text, tmp_path)) == answers_of(trained)).all()


def test_the_order_of_the_rows_is_no_matter_to_the_packaged_model(
    trained: TrainingResult, tmp_path: Path
) -> None:
    lines = survey_lines()

    shuffled = train_text(survey_text([*lines[7::2], *lines[:7], *lines[8::2]]), tmp_path)

    assert (answers_of(shuffled) == answers_of(trained)).all()


def test_a_beacon_that_was_never_heard_is_no_matter(
    trained: TrainingResult, tmp_path: Path
) -> None:
    header, *rows = survey_text(survey_lines()).splitlines()
    text = "\n".join([f"{header},b9", *(f"{row},-200" for row in rows)])

    extended = train_text(text, tmp_path)

    np.testing.assert_allclose(answers_of(extended), answers_of(trained), atol=1e-6)
    deaf = load_bundle(extended.bundle)
    heard = deaf.predict(deaf.matrix([{"b1": -60.0, "b9": -50.0}])).probabilities
    np.testing.assert_allclose(heard[0], answers_of(extended)[0], atol=1e-6)


def test_a_site_without_positions_gets_labels_and_no_metres(tmp_path: Path) -> None:
    text = survey_text(survey_lines()).replace("A01", "kitchen")

    result = train_text(text, tmp_path)

    metrics = result.metrics
    assert (metrics.mean_error_m, metrics.median_error_m, metrics.p90_error_m) == (None,) * 3
    assert metrics.within_one_cell is None
    assert metrics.exact_accuracy > 3 / len(CELLS)
    assert {(case.answer.x, case.answer.y) for case in result.smoke} == {(None, None)}
    evaluation = evaluate_bundle(result.bundle, tmp_path / "survey.csv", HALL)
    assert evaluation.mean_error_m is None
    assert "kitchen" in (result.bundle.parent / "model-card.html").read_text()


def test_a_site_of_points_answers_in_their_frame(tmp_path: Path) -> None:
    rows = []
    for line in survey_lines():
        label, _, *readings = line.split(",")
        x, y = HALL.grid_position(label) or (0.0, 0.0)
        rows.append(",".join([str(x + 1000), str(y), *readings]))
    text = "\n".join([",".join(["x", "y", *BEACONS]), *rows])

    result = train_text(text, tmp_path)

    assert result.metrics.mean_error_m is not None
    assert result.metrics.mean_error_m < 3.0
    assert all(case.answer.location.startswith("x=10") for case in result.smoke)
    assert all((case.answer.x or 0) > 900 for case in result.smoke)


def test_a_packaged_model_is_evaluated_on_any_survey(
    trained: TrainingResult, survey_file: Path, tmp_path: Path
) -> None:
    walk = tmp_path / "later.csv"
    walk.write_text(survey_text(survey_lines(seed=9, visits=1)))

    seen = evaluate_bundle(trained.bundle, [survey_file], HALL)
    unseen = evaluate_bundle(trained.bundle, walk, HALL)

    assert unseen.rows == len(CELLS) * 6
    assert min(seen.exact_accuracy, unseen.exact_accuracy) > 3 / len(CELLS)
    assert unseen.p90_error_m is not None
    assert unseen.median_error_m is not None
    assert unseen.median_error_m < unseen.p90_error_m


def test_rows_of_locations_that_the_model_does_not_know_count_as_wrong(
    trained: TrainingResult, tmp_path: Path
) -> None:
    lines = survey_lines(seed=9, visits=1)
    known, mixed = tmp_path / "known.csv", tmp_path / "mixed.csv"
    known.write_text(survey_text(lines))
    mixed.write_text(survey_text([*lines, *(line.replace("A01", "Z99") for line in lines[:6])]))

    before, after = (evaluate_bundle(trained.bundle, path, HALL) for path in (known, mixed))

    assert after.rows == before.rows + 6
    assert after.exact_accuracy * after.rows == pytest.approx(before.exact_accuracy * before.rows)
    assert (after.mean_error_m or 0) > (before.mean_error_m or 0)


def test_too_little_data_trains_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData):
        train_text(survey_text(survey_lines()[:6]), tmp_path)

    assert not (tmp_path / "out" / "model.tar.gz").exists()


def test_a_bad_survey_trains_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadSurvey):
        train_text(survey_text([*survey_lines(), "A01,,loud,,,,"]), tmp_path)

    assert not (tmp_path / "out" / "model.tar.gz").exists()


def test_serving_never_imports_mxnet_polars_or_pydantic(trained: TrainingResult) -> None:
    script = (
        "import sys; from pathlib import Path; from trainer.serving.http import server; "
        "from trainer.serving.models.service import SingleModelService; "
        f"assert SingleModelService.open(Path({str(trained.bundle)!r})).model; "
        "print(*sorted({'mxnet', 'polars', 'pydantic', 'boto3', 'events'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == ""


def test_the_model_is_what_the_bundle_holds(trained: TrainingResult) -> None:
    model = load_bundle(trained.bundle)

    assert isinstance(model, LoadedModel)
    assert (model.beacons, model.cells) == (BEACONS, CELLS)
    assert model.description.site == "hall"


def test_with_few_rows_held_out_confidence_stays_the_networks_own(trained: TrainingResult) -> None:
    card = (trained.bundle.parent / "model-card.html").read_text()

    assert trained.metrics.held_out_rows < FEWEST_FOR_TEMPERATURE
    assert load_bundle(trained.bundle).description.confidence_temperature is None
    assert "too few rows were held out" in card
