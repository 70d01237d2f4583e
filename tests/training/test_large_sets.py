"""What is kept of large sets is bounded, and no figure depends on it."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.made_up_floor import HALL, QUICK
from trainer.localization.bundle.reading import load_bundle
from trainer.training.evaluation.baselines import baselines
from trainer.training.evaluation.hold_out_evaluation import fit_and_measure
from trainer.training.evaluation.reliability import Bootstrap
from trainer.training.evaluation.scores import RowScores, concatenate_scores, score_model
from trainer.training.job import smoke as smoke_rows
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files
from trainer.training.reading.training_set import TrainingSet

CELLS = 100
BEACONS = tuple(f"b{number}" for number in range(1, 6))


def made_up(rows: int) -> TrainingSet:
    """Rows of noise, ten of each visit; nothing can be learnt from them."""
    random = np.random.default_rng(0)
    visits = np.arange(rows) // 10
    return TrainingSet(
        beacons=BEACONS,
        labels=tuple(f"c{number}" for number in range(CELLS)),
        positions=random.uniform(0, 50, size=(CELLS, 2)),
        rssi=random.integers(-95, -55, size=(rows, len(BEACONS))).astype(np.float32),
        cells=random.integers(0, CELLS, size=len(visits))[visits],
        visits=visits,
        stays=visits,
    )


def allocated(work: Callable[[], object]) -> int:
    """The most bytes that were in use at once because of ``work``."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_of_what_the_model_says_of_each_cell_only_a_part_is_kept() -> None:
    settings = QUICK.model_copy(update={"epochs": 1})
    few, many, more = (made_up(rows) for rows in (500, 10_000, 40_000))
    fit_and_measure(few, few, HALL, settings)  # what is imported now is not counted

    used = allocated(lambda: fit_and_measure(few, many, HALL, settings))
    used_by_more = allocated(lambda: fit_and_measure(few, more, HALL, settings))

    posterior_of_a_row = CELLS * 4
    assert (used_by_more - used) / (len(more) - len(many)) < posterior_of_a_row / 4


def test_resampled_visits_are_not_kept() -> None:
    visits = np.arange(40_000) // 2
    values = np.random.default_rng(0).exponential(3.0, len(visits))
    bootstrap = Bootstrap(visits)

    used = allocated(lambda: (bootstrap.mean(values), bootstrap.quantile(values, 0.9)))

    every_resample = 1000 * 20_000 * 8
    assert used < every_resample / 10


def test_answers_that_are_judged_in_parts_are_those_to_all_rows(trained: TrainingResult) -> None:
    model = load_bundle(trained.bundle)
    rows = made_up(9_000)

    scores = score_model(model, rows, HALL)
    alone = [score_model(model, rows.take(part), HALL) for part in np.split(np.arange(9_000), 9)]

    assert fields(scores) == fields(concatenate_scores(alone))


def fields(scores: RowScores) -> list[list[float] | None]:
    found = [getattr(scores, name) for name in RowScores.__slots__]
    return [None if values is None else np.nan_to_num(values).tolist() for values in found]


@pytest.mark.parametrize("rows_of_a_visit", [1, 4, 500])
def test_the_interval_of_a_quantile_is_that_of_whole_resamples(rows_of_a_visit: int) -> None:
    random = np.random.default_rng(5)
    values, visits = random.exponential(3.0, 4_000), np.arange(4_000) // rows_of_a_visit
    by_visit = values.reshape(-1, rows_of_a_visit)
    drawn = random.integers(0, len(by_visit), size=(1_000, len(by_visit)))
    low, high = np.quantile([np.median(by_visit[rows]) for rows in drawn], [0.025, 0.975])

    found = Bootstrap(visits).quantile(values, 0.5)

    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_very_many_visits_are_drawn_in_groups_and_tell_the_same() -> None:
    values = np.random.default_rng(6).exponential(3.0, 60_000)
    half = 1.96 * float(values.std()) / len(values) ** 0.5

    found = Bootstrap(np.arange(len(values))).mean(values)

    assert found.high - values.mean() == pytest.approx(half, rel=0.1)
    assert values.mean() - found.low == pytest.approx(half, rel=0.1)


def test_of_neighbours_that_are_equally_near_the_first_counts() -> None:
    data = made_up(40)
    data.rssi[:] = -60.0
    others = np.flatnonzero(data.cells != data.cells[0])

    first, _, _ = baselines(data, np.array([0, *others]), np.array([0]))
    last, _, _ = baselines(data, np.array([*others, 0]), np.array([0]))

    assert (first.exact_accuracy, last.exact_accuracy) == (1.0, 0.0)


def test_no_smoke_row_is_a_row_of_the_survey_though_only_a_sample_is_blended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One beacon in whole dBm: what is halfway between two rows is often a third.
    lines = [f"{'AB'[level % 2]}01,{-50 - level % 40}" for level in range(400)]
    survey = tmp_path / "survey.csv"
    survey.write_text("\n".join(["location,b1", *lines]))
    monkeypatch.setattr(smoke_rows, "MAX_BLENDED", 60)

    smoke = train_files([survey], tmp_path / "out", 1, HALL, QUICK).smoke

    assert smoke
    assert not [case.rssi for case in smoke if case.rssi.get("b1", 0.5) % 1 == 0]
