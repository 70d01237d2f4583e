"""Sentinels such as -110 for "not heard": detected, reported and served like missing values."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.audits import audited
from tests.training.made_up_floor import BEACONS, HALL, QUICK, survey_lines, survey_text
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.dense.mxnet_graph import export, exported_probabilities
from trainer.serving.exchange import HttpRequest
from trainer.serving.models.service import INVOCATIONS, SingleModelService, respond
from trainer.training.errors import BadSurvey
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files
from trainer.training.quality.findings import Severity
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription, Thresholds
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import combine

DEAF_DBM = -74
SHORT = QUICK.model_copy(update={"epochs": 3})


def survey(text: str, site: SiteDescription = HALL) -> Survey:
    return read_survey(text.encode(), site, name="walk")


def floor(not_heard: str = "-200", seed: int = 0) -> str:
    """The floor as a receiver knows it that is deaf below -74 dBm."""
    lines = [line.split(",") for line in survey_lines(seed=seed)]
    return survey_text(
        [
            ",".join([*line[:2], *(dbm if int(dbm) > DEAF_DBM else not_heard for dbm in line[2:])])
            for line in lines
        ]
    )


def trained(folder: Path, not_heard: str) -> TrainingResult:
    folder.mkdir()
    (folder / "walk.csv").write_text(floor(not_heard))
    return train_files([folder / "walk.csv"], folder / "out", 1, HALL, SHORT)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The model of the floor that is written with -200."""
    return load_bundle(trained(tmp_path_factory.mktemp("floor") / "plain", "-200").bundle)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """What training on the same floor yields where it is written with -110."""
    return trained(tmp_path_factory.mktemp("floor") / "filled", "-110")


def test_a_floor_that_is_filled_with_another_number_gives_the_same_model(
    plain: LoadedModel, filled: TrainingResult
) -> None:
    model = load_bundle(filled.bundle)

    for ours, theirs in zip(model.network.layers, plain.network.layers, strict=True):
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
    assert (model.smoke, model.cells) == (plain.smoke, plain.cells)
    assert model.description.features.not_heard_below_dbm == -108.0
    assert plain.description.features.not_heard_below_dbm == -150.0


def bodies(row: list[float]) -> dict[str, bytes]:
    matrix = io.BytesIO()
    np.save(matrix, np.array([row], dtype=np.float32))
    return {
        "application/json": json.dumps(
            {"instances": [dict(zip(BEACONS, row, strict=True))]}
        ).encode(),
        "text/csv": ",".join(f"{dbm:g}" for dbm in row).encode(),
        "application/x-npy": matrix.getvalue(),
    }


@pytest.mark.parametrize("kind", list(bodies([0.0] * len(BEACONS))))
def test_the_number_says_not_heard_in_every_form_of_a_request(
    filled: TrainingResult, kind: str
) -> None:
    service = SingleModelService.open(filled.bundle)
    replies = [
        respond(
            service, HttpRequest("POST", INVOCATIONS, {"content-type": kind}, bodies(row)[kind])
        )
        for row in ([-60, -110, -72.5, -110, -80], [-60, -200, -72.5, -200, -80])
    ]

    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].body == replies[1].body


def test_plain_mxnet_takes_the_number_for_not_heard_too(filled: TrainingResult) -> None:
    model = load_bundle(filled.bundle)
    rssi = np.array([[-60.0, -110.0, -72.5, -110.0, -80.0]], dtype=np.float32)
    heard = np.where(rssi == -110.0, np.float32(np.nan), rssi)
    exported = export(model.network, model.description.features)

    theirs = exported_probabilities(exported, rssi)

    np.testing.assert_array_equal(theirs, exported_probabilities(exported, heard))
    np.testing.assert_allclose(theirs, model.predict(heard).probabilities, atol=1e-5)


def test_the_audit_names_the_sentinel_and_its_frequency() -> None:
    read = [survey(floor("-110"))]
    times = floor().count("-200")

    report = audited(read, HALL)
    said = {finding.topic: finding for finding in report.findings}

    note = said["a number for not heard"]
    assert note.weight is Severity.NOTE
    share = times / (read[0].rssi.size)
    assert f"-110 dBm, {times} times ({share:.0%}" in note.seen
    assert "-108 dBm" in note.done
    assert f"-110 ({times} times)" in said["not heard"].seen
    assert "a lowest reading apart" not in said


def test_all_surveys_of_a_site_are_searched_together() -> None:
    usual, filled = survey(floor()), survey(floor("-110", seed=1))

    data = combine([usual, filled], HALL)

    assert data.not_heard_below == -108.0
    assert np.nanmin(data.rssi) > -100.0
    assert (
        np.isnan(data.rssi).sum()
        == np.isnan(combine([usual, survey(floor(seed=1))], HALL).rssi).sum()
    )


def test_a_reading_close_above_the_number_in_any_survey_keeps_it_a_reading() -> None:
    filled = survey(floor("-110"))
    weak = survey(survey_text(["A01,2026-11-01 10:00:00,-107,-80,-70,-70,-70"]))

    data = combine([filled, weak], HALL)

    assert np.nanmin(data.rssi) == -110.0
    assert data.not_heard_below == -150.0


@pytest.mark.parametrize("seed", range(3))
def test_a_receivers_own_floor_is_left_alone(seed: int) -> None:
    random = np.random.default_rng(seed)
    # Fading around strengths of which a third lies below what the receiver can hear.
    dbm = np.round(random.normal(-102.0, 6.0, size=(400, 5)))
    lines = [
        f"A0{1 + row % 2},2026-11-01 10:00:00,"
        + ",".join(f"{max(value, -110.0):g}" for value in rowed)
        for row, rowed in enumerate(dbm)
    ]
    read = survey(survey_text(lines))

    assert mask_sentinel([read], HALL)[0] is read


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["A01,,-105,-105,-105,-70,-70"] * 6, "fewer than chance allows"),
        (["A01,,-110,-110,-110,-110,-110"] * 50, "nothing else is read"),
        (["A01,,-108,-102,-70,-70,-70"] * 50, "a narrow gap, and too small a share"),
    ],
)
def test_a_doubtful_sentinel_is_left_unchanged(lines: list[str], why: str) -> None:
    read = survey(survey_text(lines))

    assert mask_sentinel([read], HALL)[0] is read, why


def test_rows_that_hold_nothing_else_hear_no_beacon_and_are_dropped() -> None:
    silent = "A01,2026-11-01 10:00:00," + ",".join(["-110"] * len(BEACONS))
    lines = [silent, *floor("-110").splitlines()[1:]]

    [read] = mask_sentinel([survey(survey_text(lines))], HALL)

    assert [fault.line for fault in read.faults] == [2]
    assert len(read.labels) == len(lines) - 1 - floor().count(",-200" * len(BEACONS))
    assert len(read.rssi) == len(read.lines) == len(read.labels)
    assert mask_sentinel([read], HALL)[0] is read


def test_a_survey_that_hears_too_little_is_refused_by_its_index() -> None:
    strict = HALL.model_copy(update={"thresholds": Thresholds(silent_rows=0.1)})
    silent = "A01,2026-11-01 10:00:00," + ",".join(["-110"] * len(BEACONS))
    deaf = survey(survey_text([*floor("-110").splitlines()[1:30], *[silent] * 20]), strict)

    with pytest.raises(BadSurvey, match="rows are without any beacon") as refused:
        mask_sentinel([survey(floor("-110", seed=2)), deaf], strict)

    assert refused.value.survey_index == 1
