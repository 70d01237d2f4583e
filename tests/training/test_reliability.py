"""Intervals, calibration, radius and baselines, against answers that are known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.made_up_floor import CELLS, HALL, QUICK, survey_lines, survey_text
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.decoding import expected_errors, most_mass_within
from trainer.training.errors import BadSplit
from trainer.training.evaluation.baselines import baselines
from trainer.training.evaluation.confidence import calibrate_confidence
from trainer.training.evaluation.cross_validation import (
    grouped_folds,
    measure_folds,
    measure_splits,
)
from trainer.training.evaluation.hold_out import folds, hold_out
from trainer.training.evaluation.hold_out_evaluation import evaluate_hold_out, measure_hold_out
from trainer.training.evaluation.reliability import RADIUS_SHARE, Bootstrap, calibration, fit_radius
from trainer.training.fitting.row_weights import row_weights
from trainer.training.job.pipeline import TrainingResult
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine


@pytest.fixture(scope="module")
def floor() -> TrainingSet:
    """Four visits of the made-up floor."""
    text = survey_text(survey_lines(seed=3, visits=4))
    return combine([read_survey(text.encode(), HALL)], HALL)


def test_an_interval_holds_the_mean_and_narrows_with_more_visits() -> None:
    random = np.random.default_rng(0)
    few, many = random.exponential(3.0, 60), random.exponential(3.0, 6000)

    wide = Bootstrap(np.arange(60) // 3).mean(few)
    narrow = Bootstrap(np.arange(6000) // 3).mean(many)

    assert wide.low < few.mean() < wide.high
    assert (narrow.high - narrow.low) < 0.25 * (wide.high - wide.low)


def test_an_interval_of_a_normal_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(5).normal(size=2000)

    found = Bootstrap(np.arange(2000)).mean(values)

    assert found.high - found.low == pytest.approx(2 * 1.96 / 2000**0.5, rel=0.12)


def test_rows_without_a_value_do_not_count_in_an_interval() -> None:
    values = np.tile([5.0, np.nan], 50)

    found = Bootstrap(np.arange(100) // 2).mean(values)

    assert (found.low, found.high) == pytest.approx((5.0, 5.0))


def test_rows_of_one_visit_count_as_one_look() -> None:
    looks = np.repeat(np.random.default_rng(1).normal(size=30), 20)

    alone = Bootstrap(np.arange(600)).mean(looks)
    together = Bootstrap(np.repeat(np.arange(30), 20)).mean(looks)

    assert (together.high - together.low) > 2 * (alone.high - alone.low)


def test_the_interval_of_a_quantile_holds_it() -> None:
    values = np.random.default_rng(2).exponential(3.0, 900)

    found = Bootstrap(np.arange(900) // 3).quantile(values, 0.9)

    assert found.low < np.quantile(values, 0.9) < found.high
    assert found.high - found.low < 3.0


def test_honest_confidence_is_calibrated_and_boasting_is_not() -> None:
    random = np.random.default_rng(3)
    confidence = random.random(20_000).astype("f4")
    exact = random.random(20_000) < confidence

    assert calibration(confidence, exact).expected_error < 0.02
    assert calibration(np.minimum(confidence + 0.3, 1.0).astype("f4"), exact).expected_error > 0.2


def test_the_radius_holds_its_share_of_rows_that_it_was_not_fitted_to() -> None:
    random = np.random.default_rng(4)
    expected = random.uniform(1.0, 6.0, 2000)
    errors = expected * random.exponential(1.0, 2000)

    found = fit_radius(expected, errors, np.arange(2000) // 4)

    assert found is not None
    assert found.coverage == pytest.approx(RADIUS_SHARE, abs=0.03)
    assert found.radius.scale == pytest.approx(-np.log(1 - RADIUS_SHARE), rel=0.1)


def test_each_half_of_the_visits_is_covered_by_the_scale_of_the_other() -> None:
    visits = np.arange(400) // 4
    # Errors ten times as large on one half: its own scale would cover it, the other's covers none.
    errors = np.where(visits % 2 == 0, 1.0, 10.0)

    found = fit_radius(np.ones(400), errors, visits)

    assert found is not None
    assert found.coverage == 0.5
    assert found.median_m == pytest.approx(10.0)


def test_the_radius_makes_room_for_one_more_row() -> None:
    errors = np.arange(1.0, 22.0)

    found = fit_radius(np.ones(21), errors, np.arange(21))

    assert found is not None
    # 0.9 of 22 rows are 19.8: the twentieth of the 21 errors.
    assert found.radius.scale == 20.0


def test_too_few_rows_give_no_radius() -> None:
    assert fit_radius(np.ones(19), np.ones(19), np.arange(19)) is None


def test_each_answer_carries_its_radius(trained: TrainingResult) -> None:
    model = load_bundle(trained.bundle)
    rssi = model.matrix([{"b1": -60.0}, {}])
    alone, together = model.answers(rssi[:1]), model.answers(rssi)

    assert model.description.radius is not None
    assert alone[0] == together[0]
    assert (together[1].radius_m or 0.0) > (together[0].radius_m or 0.0) > 0.0


def test_the_expected_error_is_the_mean_distance_under_the_posterior() -> None:
    places = np.array([[0.0, 0.0], [4.0, 0.0]])
    posterior = np.array([[0.75, 0.25]], dtype="f4")

    assert expected_errors(posterior, np.array([[0.0, 0.0]]), places).tolist() == [1.0]


def test_the_best_answer_to_within_one_cell_has_the_most_around_it() -> None:
    line = np.array([[0.0, 0.0], [10.0, 0.0], [11.0, 0.0], [12.0, 0.0]])
    posterior = np.array([[0.4, 0.2, 0.1, 0.3]], dtype="f4")

    assert most_mass_within(posterior, line, 1.5).tolist() == [2]


def test_the_model_beats_the_most_frequent_location_and_neighbours_are_judged_beside_it(
    floor: TrainingSet, trained: TrainingResult
) -> None:
    figures = json.loads((trained.bundle.parent / "metrics.json").read_text())
    named = {baseline["name"]: baseline for baseline in figures["baselines"]}

    assert set(named) == {"nearest neighbour", "7 weighted neighbours", "most frequent location"}
    assert figures["exact_accuracy"] > named["most frequent location"]["exact_accuracy"]
    assert figures["intervals"]["mean_error_m"]["low"] < figures["mean_error_m"]
    assert 0.0 <= figures["calibration"]["expected_error"] <= 1.0
    assert figures["training_curve"][-1] < figures["training_curve"][0]


def test_a_nearest_neighbour_that_knows_the_row_is_right(floor: TrainingSet) -> None:
    every = np.arange(len(floor))

    nearest, _, most = baselines(floor, every, every)

    assert nearest.exact_accuracy > 0.99
    assert nearest.mean_error_m == pytest.approx(0.0, abs=0.1)
    assert most.exact_accuracy == pytest.approx(1 / len(CELLS))


def test_rows_of_a_stay_share_the_weight_of_fewer() -> None:
    stays = np.array([0, 0, 0, 0, 1])

    assert row_weights(stays, 0.0).tolist() == [1.0] * 5
    once = row_weights(stays, 1.0)
    assert once[:4].sum() == pytest.approx(once[4])
    assert row_weights(stays, 0.5).mean() == pytest.approx(1.0)


def test_folds_are_whole_even_and_together_everything(floor: TrainingSet) -> None:
    dealt = folds(floor, 4, seed=0)

    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(floor)))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 12
    visits = [set(floor.visits[rows].tolist()) for rows in dealt]
    assert sum(map(len, visits)) == len(set.union(*visits))


def test_a_near_copy_is_in_the_fold_of_its_row(survey_file: Path) -> None:
    survey = read_survey(survey_file, HALL)
    louder = replace(survey, name="again.csv", rssi=survey.rssi + np.float32(1))
    data = combine([survey, louder], HALL)

    fold = np.empty(len(data), dtype=np.intp)
    for number, test in enumerate(grouped_folds(data, 3, seed=0)):
        fold[test] = number

    half = len(data) // 2
    assert (fold[:half] == fold[half:]).mean() > 0.95


def test_confidence_is_calibrated_by_halves_of_visits(floor: TrainingSet) -> None:
    split = hold_out(floor, share=0.5, seed=0)
    visits = floor.visits[split.held_out]

    found = evaluate_hold_out(floor, split, HALL, QUICK).confidence

    measured = measure_hold_out(floor, split.trained, split.held_out, HALL, QUICK)
    assert found is not None
    assert found == calibrate_confidence(measured.posteriors, measured.scores.exact, visits)


def test_a_recipe_is_measured_on_folds_over_seeds(survey_file: Path) -> None:
    found = measure_folds(survey_file, 3, HALL, QUICK, seeds=range(2))

    assert [evaluation.rows for evaluation in found.evaluations] == [len(CELLS) * 18] * 2
    assert found.worst_exact <= found.mean.exact_accuracy
    assert found.worst_exact > 2 / len(CELLS)


def test_a_recipe_is_measured_on_any_split_that_a_file_names(
    survey_file: Path, tmp_path: Path
) -> None:
    rows = list(range(len(CELLS) * 18))
    splits = tmp_path / "splits.json"
    splits.write_text(
        json.dumps(
            {
                "about": "row numbers",
                "half": {"train": rows[::2], "test": rows[1::2]},
                "thirds": [rows[0::3], rows[1::3], rows[2::3]],
            }
        )
    )

    half, thirds = measure_splits(survey_file, splits, HALL, QUICK, seeds=[0])

    assert (half.division, half.mean.rows) == ("half", len(rows) / 2)
    assert (thirds.division, thirds.mean.rows) == ("thirds", len(rows))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no json", "no JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"about": "nothing"}', "names no split"),
        ('{"a": {"train": [0, 1], "test": [1, 2]}}', "in train and in test"),
        ('{"a": {"train": [0], "test": [99999]}}', "99999"),
        ('{"a": {"train": [0]}}', "without rows"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(
    survey_file: Path, tmp_path: Path, content: str, reason: str
) -> None:
    splits = tmp_path / "splits.json"
    splits.write_text(content)

    with pytest.raises(BadSplit, match=reason):
        measure_splits(survey_file, splits, HALL, QUICK, seeds=[0])


def test_more_folds_than_visits_are_refused(survey_file: Path) -> None:
    with pytest.raises(BadSplit, match="fewer"):
        measure_folds(survey_file, 99, HALL, QUICK, seeds=[0])
