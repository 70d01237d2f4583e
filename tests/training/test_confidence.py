"""The confidence that is told: its temperature, what it is worth, and that all agree on it."""

import json
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.training.made_up_floor import BEACONS, HALL, QUICK, survey_lines, survey_text
from trainer.localization.bundle.description import MANIFEST
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.decoding import decode, tempered
from trainer.localization.dense.mxnet_graph import export, exported_probabilities
from trainer.localization.dense.network import Dense, Network
from trainer.localization.errors import BadBundle
from trainer.serving.exchange import HttpRequest
from trainer.serving.models.service import INVOCATIONS, SingleModelService, respond
from trainer.training.errors import BundleMismatch
from trainer.training.evaluation.confidence import (
    FEWEST_FOR_TEMPERATURE,
    calibrate_confidence,
    fitted_temperature,
)
from trainer.training.evaluation.evaluate import evaluate_bundle
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files
from trainer.training.job.verification import verify_bundle

Matrix = npt.NDArray[np.float32]


def posteriors(rows: int, seed: int, spread: float = 1.5) -> Matrix:
    logits = np.random.default_rng(seed).normal(0, spread, size=(rows, 12))
    likely = np.exp(logits)
    return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)


def answered_rightly(told: Matrix, seed: int) -> npt.NDArray[np.bool_]:
    """As often as the confidence says."""
    return np.random.default_rng(seed).random(len(told)) < told.max(axis=1)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.6, 3.0])
def test_a_temperature_that_rows_were_made_with_is_found_again(temperature: float) -> None:
    own = posteriors(20_000, seed=3)
    exact = answered_rightly(tempered(own, temperature), seed=4)

    assert fitted_temperature(own, exact) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_what_is_told_happens_as_often_on_rows_that_nothing_was_fitted_to(
    temperature: float,
) -> None:
    own = posteriors(4000, seed=5)
    exact = answered_rightly(tempered(own, temperature), seed=6)

    found = calibrate_confidence(own, exact, np.arange(4000) // 5)

    assert found is not None
    assert found.own.expected_error > 0.15
    assert found.told.expected_error < 0.03
    assert found.told_brier < found.own_brier


def test_each_half_of_the_visits_is_judged_by_the_temperature_of_the_other() -> None:
    own = posteriors(2000, seed=7)
    visits = np.arange(2000) // 5
    half = visits % 2 == 0
    # Far too sure on one half, far too unsure on the other: each gets just the wrong temperature.
    exact = np.where(
        half,
        answered_rightly(tempered(own, 3.0), seed=8),
        answered_rightly(tempered(own, 0.3), seed=8),
    )

    found = calibrate_confidence(own, exact, visits)

    assert found is not None
    assert found.told.expected_error > found.own.expected_error


def test_the_brier_score_is_the_mean_square_of_confidence_minus_outcome() -> None:
    own = np.tile(np.array([0.75, 0.25], dtype=np.float32), (100, 1))

    found = calibrate_confidence(own, np.arange(100) % 2 == 0, np.arange(100) // 10)

    assert found is not None
    assert found.own_brier == pytest.approx((0.25**2 + 0.75**2) / 2)
    assert found.told_brier == pytest.approx(0.25, abs=5e-3), "half of the answers are right"


def test_too_few_rows_or_a_single_visit_give_no_temperature() -> None:
    own = posteriors(FEWEST_FOR_TEMPERATURE, seed=9)
    exact = answered_rightly(own, seed=10)

    assert calibrate_confidence(own, exact, np.zeros(len(own), dtype=np.intp)) is None
    assert calibrate_confidence(own[1:], exact[1:], np.arange(len(own) - 1)) is None
    assert calibrate_confidence(own, exact, np.arange(len(own))) is not None


@pytest.mark.parametrize("right", [True, False])
def test_rows_that_all_went_one_way_ask_for_no_certainty(right: bool) -> None:  # noqa: FBT001
    own = posteriors(200, seed=11)

    told = tempered(own, fitted_temperature(own, np.full(200, right))).max(axis=1)

    assert told.mean() < 0.999
    assert told.mean() == pytest.approx(201 / 202 if right else 1 / 12, abs=0.1)


def test_a_hit_counts_as_nearly_certain_only() -> None:
    own = np.tile(np.array([0.7, 0.3], dtype=np.float32), (200, 1))

    found = fitted_temperature(own, np.full(200, True))  # noqa: FBT003

    # Where the confidence is 201 in 202, as after Platt.
    assert found == pytest.approx(np.log(7 / 3) / np.log(201), rel=0.01)


def test_a_temperature_keeps_the_order_of_cells_and_the_sum() -> None:
    own = posteriors(50, seed=12)
    own[0] = 0.0
    own[0, 3] = 1.0

    for temperature in (0.1, 0.5, 5.0):
        told = tempered(own, temperature)
        np.testing.assert_array_equal(told.argmax(axis=1), own.argmax(axis=1))
        np.testing.assert_allclose(told.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(tempered(own, 1.0), own, atol=1e-6)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A release of a floor with enough held-out rows for a temperature."""
    folder = tmp_path_factory.mktemp("calibrated")
    (folder / "walk.csv").write_text(survey_text(survey_lines(visits=6)))
    return train_files([folder / "walk.csv"], folder / "out", 1, HALL, QUICK)


@pytest.fixture(scope="module")
def model(released: TrainingResult) -> LoadedModel:
    """Its model."""
    return load_bundle(released.bundle)


ROWS = [{"b1": -60.0}, {"b2": -70.0, "b4": -65.0}, dict.fromkeys(BEACONS, -75.0)]


def test_the_bundle_names_the_temperature_that_the_reports_tell(
    released: TrainingResult, model: LoadedModel
) -> None:
    figures = json.loads((released.bundle.parent / "metrics.json").read_text())
    card = (released.bundle.parent / "model-card.html").read_text()

    temperature = model.description.confidence_temperature
    assert temperature is not None
    assert figures["confidence"]["temperature"] == temperature != 1.0
    assert figures["calibration"] == figures["confidence"]["told"]
    assert f"temperature of {temperature:.2f}" in card


def test_plain_mxnet_and_the_temperature_of_the_bundle_give_the_served_confidence(
    model: LoadedModel,
) -> None:
    rssi = model.matrix(ROWS)
    theirs = exported_probabilities(export(model.network, model.description.features), rssi)

    expected = decode(theirs, model.positions, model.description.confidence_temperature)

    np.testing.assert_allclose(model.predict(rssi).confidences, expected.confidences, atol=1e-5)
    served = [answered.confidence for answered in model.answers(rssi)]
    np.testing.assert_allclose(served, expected.confidences, atol=1e-5)


def test_the_likeliest_cells_are_told_with_the_same_confidence(
    released: TrainingResult,
) -> None:
    body = json.dumps({"instances": ROWS, "parameters": {"top_k": 3}}).encode()
    request = HttpRequest("POST", INVOCATIONS, {"content-type": "application/json"}, body)

    reply = respond(SingleModelService.open(released.bundle), request)

    for prediction in json.loads(reply.body)["predictions"]:
        best, *others = prediction["top"]
        assert best["location"] == prediction["location"]
        assert best["confidence"] == prediction["confidence"]
        assert best["confidence"] >= max(other["confidence"] for other in others)


def test_evaluation_judges_the_confidence_that_is_served(
    released: TrainingResult, model: LoadedModel
) -> None:
    rows = survey_text(survey_lines(seed=5))
    survey = released.bundle.parent / "later.csv"
    survey.write_text(rows)

    found = evaluate_bundle(released.bundle, survey, HALL).calibration

    assert found is not None
    confidences = [float(each.confidence * each.rows) for each in found.bins]
    told = sum(confidences) / sum(each.rows for each in found.bins)
    lines = [line.split(",")[2:] for line in rows.splitlines()[1:]]
    asked = [
        {name: float(dbm) for name, dbm in zip(BEACONS, line, strict=True) if dbm != "-200"}
        for line in lines
    ]
    served = [answered.confidence for answered in model.answers(model.matrix(asked))]
    assert told == pytest.approx(np.mean(served), abs=1e-4)


def rewritten(released: TrainingResult, folder: Path, **fields: object) -> Path:
    """The bundle unpacked, with other figures in its description, or without them."""
    with tarfile.open(released.bundle) as archive:
        archive.extractall(folder, filter="data")
    document = json.loads((folder / MANIFEST).read_text())
    for name, value in fields.items():
        document[name] = value
        if value is None:
            del document[name]
    (folder / MANIFEST).write_text(json.dumps(document))
    return folder


def test_a_bundle_of_before_there_were_temperatures_tells_the_networks_own(
    released: TrainingResult, model: LoadedModel, tmp_path: Path
) -> None:
    old = load_bundle(rewritten(released, tmp_path, confidence_temperature=None))
    rssi = model.matrix(ROWS)

    found = old.predict(rssi)

    np.testing.assert_array_equal(found.probabilities, model.predict(rssi).probabilities)
    np.testing.assert_array_equal(found.confidences, found.probabilities.max(axis=1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, 0.05, 10.0])
def test_a_bundle_with_an_impossible_temperature_is_not_opened(
    released: TrainingResult, tmp_path: Path, temperature: float
) -> None:
    with pytest.raises(BadBundle, match="temperature"):
        load_bundle(rewritten(released, tmp_path, confidence_temperature=temperature))


def test_the_smoke_rows_record_the_confidence_that_is_told(
    released: TrainingResult, model: LoadedModel
) -> None:
    rssi = model.matrix([case.rssi for case in released.smoke])
    told = model.predict(rssi)

    recorded = [case.answer.confidence for case in released.smoke]

    np.testing.assert_allclose(recorded, told.confidences, atol=1e-6)
    assert np.abs(recorded - told.probabilities.max(axis=1)).max() > 0.01


def test_an_export_of_another_model_is_refused_whatever_the_temperature(
    released: TrainingResult, model: LoadedModel
) -> None:
    first, *others = model.network.layers
    changed = Network((Dense(first.weight * np.float32(0.9), first.bias), *others))

    verify_bundle(released.bundle, export(model.network, model.description.features))
    with pytest.raises(BundleMismatch, match="not MXNet's"):
        verify_bundle(released.bundle, export(changed, model.description.features))
