"""What is held out, and that nothing of it is on the other side."""

import numpy as np
import pytest

from tests.training.made_up_floor import CELLS, HALL, survey_lines, survey_text
from trainer.training.evaluation.hold_out import HoldOut, HoldOutScheme, hold_out
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine


def dataset(lines: list[str]) -> TrainingSet:
    return combine([read_survey(survey_text(lines).encode(), HALL)], HALL)


def split(data: TrainingSet, seed: int = 0) -> HoldOut:
    return hold_out(data, share=0.2, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_no_visit_and_no_exact_copy_is_on_both_sides(seed: int) -> None:
    data = dataset(survey_lines(visits=4))
    sides = split(data, seed)
    keys = data.keys

    assert sides.scheme is HoldOutScheme.WHOLE_VISITS
    assert not set(data.visits[sides.trained]) & set(data.visits[sides.held_out])
    assert not set(keys[sides.trained]) & set(keys[sides.held_out])
    assert sorted([*sides.trained, *sides.held_out]) == list(range(len(data)))


def test_every_cell_keeps_rows_to_train_on() -> None:
    data = dataset(survey_lines(visits=4))

    assert len(set(data.cells[split(data).trained])) == len(CELLS)


def test_about_as_much_is_held_out_as_was_requested() -> None:
    data = dataset(survey_lines(visits=4))

    assert 0.1 < len(split(data).held_out) / len(data) <= 0.2


def test_the_same_seed_holds_the_same_rows_out_and_another_seed_others() -> None:
    data = dataset(survey_lines(visits=4))

    assert split(data).held_out.tolist() == split(data).held_out.tolist()
    assert split(data).held_out.tolist() != split(data, seed=1).held_out.tolist()


def test_the_order_of_the_visits_is_no_matter() -> None:
    lines = survey_lines(visits=4)
    visits = [lines[start : start + 6] for start in range(0, len(lines), 6)]
    turned = dataset([line for visit in reversed(visits) for line in visit])
    straight = dataset(lines)

    def held(data: TrainingSet) -> list[int]:
        return sorted(data.keys[split(data).held_out].tolist())

    assert held(straight) == held(turned)


def test_a_beacon_that_nobody_heard_changes_nothing() -> None:
    lines = survey_lines(visits=4)
    more = survey_text([f"{line},-200" for line in lines]).replace("b5\n", "b5,b0\n", 1)
    extended = combine([read_survey(more.encode(), HALL)], HALL)

    assert split(extended).held_out.tolist() == split(dataset(lines)).held_out.tolist()


def test_visits_are_cut_where_each_location_was_visited_once_and_the_split_says_so() -> None:
    data = dataset(survey_lines(visits=1, rows_per_visit=10))
    sides = split(data)

    assert sides.scheme is HoldOutScheme.CUT_VISITS
    assert not set(data.keys[sides.trained]) & set(data.keys[sides.held_out])
    assert len(set(data.cells[sides.trained])) == len(CELLS)


def test_whole_locations_are_held_out_where_each_holds_one_row_only_many_times() -> None:
    lines = [f"A0{cell},,-{60 + cell},,,," for cell in range(1, 7) for _ in range(5)]
    data = dataset(lines)
    sides = split(data)

    assert sides.scheme is HoldOutScheme.WHOLE_CELLS
    assert len(sides.held_out)
    assert not set(data.cells[sides.trained]) & set(data.cells[sides.held_out])


def test_row_keys_tell_rows_apart_and_copies_not() -> None:
    lines = survey_lines()
    data = dataset([*lines, *lines])
    keys = data.keys
    distinct = len({line.split(",", 2)[0] + line.split(",", 2)[2] for line in lines})

    np.testing.assert_array_equal(keys[: len(lines)], keys[len(lines) :])
    assert len(np.unique(keys)) == distinct
