"""A candidate beside the champion: which rows are fair to both, and what the figures then say."""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from events.manifests import Artifact, Release, Snapshot, SurveyRef
from events.metrics import AgainstChampion, ComparisonBasis
from events.metrics_document import FigureUnit, HeldOutRows, MetricsDocument
from tests.training.made_up_floor import HALL, survey_lines, survey_text
from trainer.localization.bundle.reading import load_bundle
from trainer.training.evaluation import comparison
from trainer.training.evaluation.champion import ChampionModel, NoChampion
from trainer.training.evaluation.comparison import FEWEST_ROWS, FEWEST_VISITS, CandidateHoldOut
from trainer.training.evaluation.hold_out import HoldOut, HoldOutScheme, hold_out
from trainer.training.evaluation.hold_out_evaluation import fit_and_measure
from trainer.training.evaluation.resampling import oversample_locations
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.pipeline import TrainingResult, train
from trainer.training.quality.near_duplicates import NearDuplicates, find_near_duplicates
from trainer.training.reading.site_description import FloorPlan, SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import combine
from trainer.training.reports.floor_plan import NoPicture, Picture, parse_picture, read_picture
from trainer.training.reports.provenance import ReportContext, SurveyOrigin

if TYPE_CHECKING:
    from trainer.training.evaluation.scores import RowScores

GOOD = Hyperparameters(epochs=15, hidden=(32,), batch_size=64, held_out_share=0.4)
NOISE = Hyperparameters(epochs=1, hidden=(4,), learning_rate=1e-6, held_out_share=0.4)
DIGEST = "ab" * 32


@cache
def walk(seed: int, visits: int = 4) -> Survey:
    lines = survey_lines(seed=seed, rows_per_visit=4, visits=visits)
    return read_survey(survey_text(lines).encode(), HALL, name=f"walk-{seed}.csv")


@dataclass(frozen=True)
class Live:
    """A release that is live, and what it learnt."""

    champion: ChampionModel
    result: TrainingResult


def went_live(surveys: list[Survey], folder: Path, settings: Hyperparameters = GOOD) -> Live:
    folder.mkdir()
    result = train(surveys, HALL, settings, "hall-0123456789ab", folder)
    file = Artifact(key="k", sha256=DIGEST, size=1)
    ref = SurveyRef(
        bucket="d",
        key="sites/hall/surveys/a.csv",
        version_id="v",
        etag="e",
        size=1,
        uploaded_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
    release = Release(
        site="hall",
        run_id=result.release_id,
        digest=result.digest,
        model=file,
        metrics_file=file,
        card=file,
        snapshot=Snapshot.of("hall", [ref]),
        trainer_version="1",
        image="process",
        hyperparameters={},
        attempt="1",
        metrics=result.metrics,
        smoke=result.smoke,
        correlation_id="c",
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
    written = json.loads((folder / "metrics.json").read_text())
    held_out = HeldOutRows.model_validate(written["held_out"])
    return Live(ChampionModel(release, load_bundle(result.bundle), held_out), result)


def against(
    live: Live,
    surveys: list[Survey],
    known: list[bool],
    folder: Path,
    settings: Hyperparameters = GOOD,
) -> AgainstChampion:
    folder.mkdir()
    context = ReportContext(
        surveys=tuple(SurveyOrigin(DIGEST, known_to_champion=flag) for flag in known),
        champion=live.champion,
    )
    result = train(surveys, HALL, settings, "hall-ba9876543210", folder, context=context)
    assert result.metrics.against_champion is not None
    return result.metrics.against_champion


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return went_live([walk(1)], tmp_path_factory.mktemp("live") / "good")


def test_a_candidate_that_learnt_more_is_better_than_a_champion_that_learnt_nothing(
    tmp_path: Path,
) -> None:
    poor = went_live([walk(1)], tmp_path / "live", NOISE)

    summary = against(poor, [walk(1), walk(2)], [True, False], tmp_path / "new")

    assert summary.basis is ComparisonBasis.UNSEEN_ROWS
    assert summary.rows >= FEWEST_ROWS
    assert summary.mean_error_difference_between_m[1] < 0, "smaller, and not by chance"
    assert summary.candidate.mean_error_m - summary.champion.mean_error_m == pytest.approx(
        summary.mean_error_difference_m
    )


def test_a_candidate_that_learnt_nothing_is_worse_than_a_good_champion(
    good: Live, tmp_path: Path
) -> None:
    summary = against(good, [walk(1), walk(2)], [True, False], tmp_path / "new", NOISE)

    assert summary.mean_error_difference_between_m[0] > 0, "larger, and not by chance"
    assert summary.exact_accuracy_difference_between[1] < 0
    card = (tmp_path / "new" / "model-card.html").read_text()
    assert "<b>Worse:</b>" in card
    assert good.champion.release.run_id in card


def test_rows_of_surveys_that_the_champion_knows_are_never_compared(
    good: Live, tmp_path: Path
) -> None:
    summary = against(good, [walk(1), walk(2)], [True, False], tmp_path / "new")
    data = combine([walk(1), walk(2)], HALL)
    held = hold_out(data, GOOD.held_out_share, GOOD.seed).held_out

    assert summary.rows == (held >= len(walk(1).labels)).sum()


def test_copies_of_what_the_champion_knows_are_not_compared(good: Live, tmp_path: Path) -> None:
    copied = replace(walk(1), name="again.csv")

    summary = against(good, [walk(1), copied], [True, False], tmp_path / "new")

    assert summary.basis is ComparisonBasis.NONE
    assert summary.candidate is None
    assert "Of the held-out rows 0 (of 0 visits)" in summary.reason


def test_near_copies_of_what_the_champion_knows_are_not_compared(
    good: Live, tmp_path: Path
) -> None:
    louder = replace(walk(1), name="again.csv", rssi=walk(1).rssi + np.float32(1))

    summary = against(good, [walk(1), louder], [True, False], tmp_path / "new")

    assert summary.basis is ComparisonBasis.NONE
    assert "Of the held-out rows 0 (of 0 visits)" in summary.reason


def test_a_single_row_that_repeats_one_that_the_champion_knows_is_not_unseen() -> None:
    data = combine([walk(1), replace(walk(1), name="again.csv")], HALL)
    rows = np.arange(len(data))
    candidate = CandidateHoldOut(
        data=data,
        split=HoldOut(rows[::2], rows[1::2], HoldOutScheme.WHOLE_VISITS),
        scores=cast("RowScores", None),
        baselines=(),
        seen_by_champion=rows < len(data) // 2,
        near_duplicates=NearDuplicates(np.empty((0, 2), dtype=np.intp), (), 0, 0),
    )

    assert candidate.unseen().tolist() == []


def test_many_new_rows_of_few_visits_are_too_few(good: Live, tmp_path: Path) -> None:
    lines = survey_lines(seed=2, rows_per_visit=15, visits=2)
    few = survey_text([line for line in lines if line.startswith(("A", "B"))])
    survey = read_survey(few.encode(), HALL, name="few.csv")

    summary = against(good, [walk(1), survey], [True, False], tmp_path / "new")

    assert summary.basis is ComparisonBasis.NONE
    rows, visits = (
        int(number) for number in re.findall(r"rows (\d+) \(of (\d+)", summary.reason)[0]
    )
    assert rows >= FEWEST_ROWS
    assert visits < FEWEST_VISITS


def test_unseen_rows_are_answered_by_a_fit_on_oversampled_locations(
    good: Live, tmp_path: Path
) -> None:
    summary = against(good, [walk(1), walk(2)], [True, False], tmp_path / "new")
    data = combine([walk(1), walk(2)], HALL)
    split = hold_out(data, GOOD.held_out_share, GOOD.seed, find_near_duplicates(data).pairs)
    unseen = split.held_out[split.held_out >= len(walk(1).labels)]

    training = oversample_locations(data, split.trained, split.held_out)
    scores = fit_and_measure(training, data.take(unseen), HALL, GOOD).scores

    assert scores.errors_m is not None
    assert summary.candidate is not None
    assert summary.candidate.mean_error_m == pytest.approx(scores.errors_m.mean())


def test_a_very_large_hold_out_is_not_listed_row_by_row(
    good: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MAX_ROWS_LISTED", good.result.metrics.held_out_rows - 1)

    train([walk(1)], HALL, NOISE, "hall-1", tmp_path)

    assert json.loads((tmp_path / "metrics.json").read_text())["held_out"] is None


def test_with_too_few_new_rows_nothing_is_compared_and_it_is_said_why(
    good: Live, tmp_path: Path
) -> None:
    summary = against(good, [walk(1), walk(2, visits=1)], [True, False], tmp_path / "new")

    assert summary.basis is ComparisonBasis.NONE
    assert "are the least for a comparison" in summary.reason
    assert summary.reason.split(";")[0] in (tmp_path / "new" / "model-card.html").read_text()


def test_another_recipe_on_the_same_data_is_compared_on_the_same_hold_out(
    good: Live, tmp_path: Path
) -> None:
    other = NOISE.model_copy(update={"seed": GOOD.seed})

    summary = against(good, [walk(1)], [True], tmp_path / "new", other)

    assert summary.basis is ComparisonBasis.SAME_HOLD_OUT
    assert summary.rows == good.result.metrics.held_out_rows
    assert summary.champion.mean_error_m == good.result.metrics.mean_error_m
    assert summary.champion.within_one_cell == good.result.metrics.within_one_cell
    assert summary.mean_error_difference_m == pytest.approx(
        summary.candidate.mean_error_m - summary.champion.mean_error_m, abs=1e-3
    )


def test_the_same_recipe_on_the_same_data_makes_no_difference(good: Live, tmp_path: Path) -> None:
    summary = against(good, [walk(1)], [True], tmp_path / "new")

    assert summary.mean_error_difference_m == pytest.approx(0.0, abs=1e-4)
    assert summary.exact_accuracy_difference == 0.0
    card = (tmp_path / "new" / "model-card.html").read_text()
    assert "No significant difference on these rows" in card


def test_the_same_data_held_out_otherwise_are_not_compared(good: Live, tmp_path: Path) -> None:
    other = GOOD.model_copy(update={"seed": GOOD.seed + 1})

    summary = against(good, [walk(1)], [True], tmp_path / "new", other)

    assert summary.basis is ComparisonBasis.NONE
    assert "learnt from every survey" in summary.reason


def test_the_model_does_not_depend_on_what_is_live(good: Live, tmp_path: Path) -> None:
    surveys = [walk(1), walk(2)]
    against(good, surveys, [True, False], tmp_path / "compared")
    (tmp_path / "alone").mkdir()

    alone = train(
        surveys,
        HALL,
        GOOD,
        "hall-ba9876543210",
        tmp_path / "alone",
        context=ReportContext(champion=NoChampion("Nothing is live <yet>.")),
    )

    compared = (tmp_path / "compared" / "model.tar.gz").read_bytes()
    assert alone.bundle.read_bytes() == compared
    assert alone.metrics.against_champion is None
    assert "Nothing is live &lt;yet&gt;." in (tmp_path / "alone" / "model-card.html").read_text()


def test_after_oversampling_every_location_and_stay_counts_as_among_all_rows() -> None:
    data = combine([walk(1), walk(2)], HALL)
    split = hold_out(data, 0.2, 0)

    filled = oversample_locations(data, split.trained, split.held_out)

    np.testing.assert_array_equal(np.bincount(filled.cells), np.bincount(data.cells))
    np.testing.assert_array_equal(np.bincount(filled.stays), np.bincount(data.stays))
    held = {row.tobytes() for row in data.rssi[split.held_out]}
    trained = {row.tobytes() for row in data.rssi[split.trained]}
    assert {row.tobytes() for row in filled.rssi} == trained
    assert held - trained, "there are rows that nothing but a leak could bring back"


def test_a_location_that_is_held_out_whole_gets_no_rows() -> None:
    data = combine([walk(1)], HALL)
    gone, left = np.flatnonzero(data.cells == 0), np.flatnonzero(data.cells != 0)

    assert not (oversample_locations(data, left, gone).cells == 0).any()


PLAN = FloorPlan(image="floor.svg", west=-3, south=-3, width_m=18, height_m=15)
DRAWN = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 6 5"><path d="M0 0h6v5H0z"/></svg>'


def test_the_floor_s_picture_lies_under_the_map(tmp_path: Path) -> None:
    site = SiteDescription(
        name="hall", cell_size_m=3.0, floor_plan=PLAN, beacons={"b1": (0.7, 3.7)}
    )
    (tmp_path / "floor.svg").write_bytes(DRAWN)
    picture = read_picture(site, tmp_path)

    train([walk(1)], site, NOISE, "hall-1", tmp_path, context=ReportContext(floor_plan=picture))

    card = (tmp_path / "model-card.html").read_text()
    assert isinstance(picture, Picture)
    assert picture.data_uri in card
    assert card.index("<image") < card.index("<title>A01"), "below the cells"
    assert "beacon b1" in card


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "neither a PNG, a JPEG nor an SVG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(3 * 1024 * 1024), "3.0 MiB"),
    ],
)
def test_a_picture_that_a_card_can_not_carry_is_mentioned_and_left_out(
    content: bytes, said: str, tmp_path: Path
) -> None:
    picture = parse_picture(PLAN, content)

    assert isinstance(picture, NoPicture)
    train([walk(1)], HALL, NOISE, "hall-1", tmp_path, context=ReportContext(floor_plan=picture))
    assert picture.reason in (tmp_path / "model-card.html").read_text()
    assert said in picture.reason


def test_a_picture_s_name_can_not_lead_elsewhere() -> None:
    for name in ("../secret.png", "/etc/passwd", "a\\b.png", ""):
        with pytest.raises(ValueError, match="image"):
            FloorPlan(image=name, width_m=1, height_m=1)


def test_a_picture_that_is_not_there_is_mentioned(tmp_path: Path) -> None:
    picture = read_picture(SiteDescription(floor_plan=PLAN), tmp_path)

    assert isinstance(picture, NoPicture)
    assert "floor.svg can't be read" in picture.reason


def test_the_comparison_is_one_figure_with_its_interval_basis_and_rows(
    good: Live, tmp_path: Path
) -> None:
    summary = against(good, [walk(1), walk(2)], [True, False], tmp_path / "new", NOISE)

    text = (tmp_path / "new" / "metrics.json").read_text()
    comparison = MetricsDocument.model_validate_json(text).comparison

    assert comparison is not None
    difference = comparison.difference
    assert difference is not None
    assert (difference.value, difference.unit) == (
        summary.mean_error_difference_m,
        FigureUnit.METRES,
    )
    assert (difference.interval.low, difference.interval.high) == (
        summary.mean_error_difference_between_m
    )
    assert (difference.basis, difference.rows) == (summary.basis, summary.rows)
    assert [figures.rows for figures in comparison.baselines] == [summary.rows] * 3
