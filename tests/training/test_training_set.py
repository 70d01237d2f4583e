"""Several surveys as one: beacons, positions, contradictions."""

import numpy as np
import pytest

from trainer.training.errors import BadSurvey, NotEnoughData
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine

HEADER = "location,b1,b2\n"
ROWS = "A01,-70,-80\nB02,-80,-70\n" * 6


def combined(*texts: str, site: SiteDescription | None = None) -> TrainingSet:
    place = site or SiteDescription(name="hall", cell_size_m=2.0)
    return combine([read_survey(text.encode(), place) for text in texts], place)


def test_a_beacon_that_a_survey_does_not_name_was_not_heard() -> None:
    data = combined(HEADER + ROWS, "location,b10,b2\nA01,-60,-61\n")

    assert data.beacons == ("b1", "b2", "b10")
    np.testing.assert_array_equal(data.rssi[-1], np.array([np.nan, -61, -60], "f4"))


def test_labels_on_the_grid_get_its_positions() -> None:
    data = combined(HEADER + ROWS)

    assert data.positions is not None
    assert dict(zip(data.labels, data.positions.tolist(), strict=True)) == {
        "A01": [0.0, 2.0],
        "B02": [2.0, 4.0],
    }


@pytest.mark.parametrize(
    ("label", "position"), [("A00", (0, 0)), ("Z1", (25, 1)), ("AA1", (26, 1)), ("o02", (14, 2))]
)
def test_letters_count_columns_as_in_a_spreadsheet(
    label: str, position: tuple[float, float]
) -> None:
    assert SiteDescription(name="hall", cell_size_m=1.0).grid_position(label) == position


def test_one_label_off_the_grid_leaves_the_site_without_metres() -> None:
    assert combined(HEADER + ROWS + "kitchen,-70,-70\n").positions is None


def test_described_positions_win_over_the_grid() -> None:
    site = SiteDescription(name="hall", positions={"A01": (7.0, 7.0), "B02": (8.0, 8.0)})
    data = combined(HEADER + ROWS, site=site)

    assert data.positions is not None
    assert data.positions.tolist() == [[7.0, 7.0], [8.0, 8.0]]


def test_positions_of_one_survey_serve_the_labels_of_another() -> None:
    placed = "location,x,y,b1\nA01,1,1,-70\nB02,5,5,-70\n"

    data = combined(placed, HEADER + ROWS)

    assert data.positions is not None
    assert data.positions.tolist() == [[1, 1], [5, 5]]


def test_a_later_survey_that_moves_a_label_is_the_bad_one() -> None:
    header = "location,x,y,b1\n"
    with pytest.raises(BadSurvey, match="earlier survey") as caught:
        combined(header + "A01,1,1,-70\n", header + "B01,2,2,-70\n", header + "A01,3,1,-70\n")

    assert caught.value.survey_index == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(HEADER + "A01,-70,-80\nB02,-80,-70\n", id="two rows"),
        pytest.param(HEADER + "A01,-70,-80\n" * 20, id="one location"),
    ],
)
def test_too_little_data_is_said_to_be_too_little(text: str) -> None:
    with pytest.raises(NotEnoughData):
        combined(text)
