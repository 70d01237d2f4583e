"""The figures of merit, of answers that are known row by row."""

import numpy as np
import pytest

from tests.training.made_up_floor import HALL, survey_lines, survey_text
from trainer.localization.decoding import Predictions
from trainer.training.evaluation.baselines import baselines
from trainer.training.evaluation.evaluate import (
    cell_errors,
    confusions,
    release_metrics,
    summarize,
    with_intervals,
)
from trainer.training.evaluation.scores import RowScores, score_predictions
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine


@pytest.fixture(scope="module")
def floor() -> TrainingSet:
    """The made-up floor, whose cells are 3 m apart."""
    return combine([read_survey(survey_text(survey_lines()).encode(), HALL)], HALL)


def scores(errors_m: list[float], answered: list[int], truth: list[int]) -> RowScores:
    """Answers with these errors; near are those of less than 4.3 m."""
    errors = np.array(errors_m)
    return RowScores(
        exact=np.array(answered) == np.array(truth),
        near=errors < 4.3,
        errors_m=errors,
        confidences=np.full(len(errors), 0.5, dtype=np.float32),
        answered=np.array(answered),
    )


def test_errors_are_summed_up_by_mean_median_and_the_ninth_decile() -> None:
    errors = [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0, 20.0, 60.0]

    found = summarize(scores(errors, [1] * 11, [1] * 2 + [0] * 9))

    assert found.rows == 11
    assert found.exact_accuracy == pytest.approx(2 / 11)
    assert found.within_one_cell == pytest.approx(6 / 11)
    assert (found.mean_error_m, found.median_error_m) == (10.0, 4.0)
    assert found.p90_error_m == pytest.approx(20.0)
    metrics = release_metrics(found, rows=50, trained_rows=39)
    assert (metrics.held_out_rows, metrics.p90_error_m) == (11, found.p90_error_m)


def test_each_figure_lies_in_its_own_interval() -> None:
    errors = np.random.default_rng(0).exponential(3.0, 600)
    rows = scores(errors.tolist(), [0] * 600, ([0] * 2 + [1]) * 200)

    found = with_intervals(summarize(rows), rows, np.arange(600) // 3)

    assert found.intervals is not None
    for name in ("within_one_cell", "mean_error_m", "median_error_m", "p90_error_m"):
        interval = getattr(found.intervals, name)
        assert interval.low < getattr(found, name) < interval.high
        assert interval.high - interval.low < 0.4 * getattr(found, name)


def test_rows_without_a_position_have_no_part_in_errors() -> None:
    found = summarize(scores([2.0, np.nan, 4.0], [0, 0, 0], [0, 1, 1]))

    assert (found.rows, found.mean_error_m) == (3, 3.0)


def test_each_cell_has_the_figures_of_its_own_rows(floor: TrainingSet) -> None:
    truth = [0, 0, 1]

    first, second, *others = cell_errors(
        floor, np.array(truth), scores([0.0, 3.0, 6.0], [0, 1, 3], truth)
    )

    assert (first.rows, first.exact, first.mean_error_m) == (2, 0.5, 1.5)
    assert (second.rows, second.exact, second.mean_error_m) == (1, 0.0, 6.0)
    assert {(cell.rows, cell.exact, cell.mean_error_m) for cell in others} == {(0, None, None)}


def test_the_most_frequent_confusion_comes_first_with_its_share_and_distance(
    floor: TrainingSet,
) -> None:
    truth = [0, 0, 0, 0, 4, 4]
    answered = [1, 1, 1, 0, 4, 5]

    first, second = confusions(floor, np.array(truth), scores([0.0] * 6, answered, truth))

    assert (first.truth, first.answered) == (floor.labels[0], floor.labels[1])
    assert (first.rows, first.share, first.apart_m) == (3, 0.75, 3.0)
    assert (second.truth, second.answered) == (floor.labels[4], floor.labels[5])
    assert (second.rows, second.share, second.apart_m) == (1, 0.5, 3.0)


def test_answers_are_scored_by_cell_by_distance_and_within_one_cell() -> None:
    places = np.array([[0.0, 0.0], [3.0, 3.0], [9.0, 0.0]])
    probabilities = np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]], dtype=np.float32)
    predictions = Predictions(
        probabilities=probabilities,
        cells=probabilities.argmax(axis=1),
        confidences=probabilities.max(axis=1),
        points=np.array([[0.0, 20.0], [0.0, 0.0], [9.0, 0.0]]),
    )
    truth = np.array([0, 1, -1])
    taken_at = np.array([[0.0, 0.0], [3.0, 3.0], [np.nan, np.nan]])

    found = score_predictions(predictions, places, truth, taken_at, cell_size_m=3.0)

    assert found.exact.tolist() == [True, False, False]
    assert found.errors_m is not None
    assert found.errors_m[:2].tolist() == [20.0, pytest.approx(18**0.5)]
    assert np.isnan(found.errors_m[2])
    assert found.near is not None
    # By the cell with the most probability around it, not by the point; diagonals are near too.
    assert found.near.tolist() == [True, True, False]


def test_neighbours_vote_the_more_the_nearer_they_are(floor: TrainingSet) -> None:
    rssi = np.full((9, 5), -90.0, dtype=np.float32)
    rssi[:2, 0], rssi[2:8, 0], rssi[8, 0] = -60.0, -75.0, -60.0
    cells = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0])
    rows = TrainingSet(floor.beacons, floor.labels, floor.positions, rssi, cells, cells, cells)

    nearest, weighted, frequent = baselines(rows, np.arange(8), np.array([8]))

    # Two votes of weight 1 against five of weight 1/16.
    assert (nearest.exact_accuracy, weighted.exact_accuracy) == (1.0, 1.0)
    assert weighted.mean_error_m == pytest.approx(3.0 * (5 / 16) / (2 + 5 / 16))
    assert frequent.exact_accuracy == 0.0
    assert (frequent.mean_error_m, frequent.p90_error_m) == (3.0, 3.0)


def test_the_ninth_decile_of_a_simple_method_is_no_median(floor: TrainingSet) -> None:
    rssi = np.full((11, 5), -90.0, dtype=np.float32)
    cells = np.array([0] * 8 + [1, 3, 9])
    rows = TrainingSet(floor.beacons, floor.labels, floor.positions, rssi, cells, cells, cells)

    frequent = baselines(rows, np.arange(8), np.arange(11))[-1]

    assert floor.positions is not None
    second = float(np.linalg.norm(floor.positions[3] - floor.positions[0]))
    assert frequent.p90_error_m == pytest.approx(second)
