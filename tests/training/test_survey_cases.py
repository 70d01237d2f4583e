"""Surveys as other people write them: each case of the shared collection, in its own words."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from trainer.training.errors import BadSurvey
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import (
    InvalidSiteError,
    SiteDescription,
    parse_site,
)
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import combine

BEACONS = tuple(f"b{number}" for number in range(1, 7))
PLAIN = SiteDescription()


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> Path:
    """The folder of cases."""
    return shared_data / "survey-cases"


def masked(file: Path | bytes, site: SiteDescription = PLAIN, name: str | None = None) -> Survey:
    (survey,) = mask_sentinel([read_survey(file, site, name)], site)
    return survey


@pytest.mark.parametrize(
    "file",
    [
        "capital-location.csv",
        "label-named-room.csv",
        "pipe.csv",
        "space.csv",
        "survey.csv.gz",
        "survey.jsonl",
        "device-column.csv",
        "floor-basement-with-location.csv",
        "negative-position-columns-with-location.csv",
    ],
)
def test_a_labelled_survey_is_taken_as_it_is(cases: Path, file: str) -> None:
    survey = read_survey(cases / file, PLAIN)

    assert survey.beacons == BEACONS
    assert len(survey.labels) == 240
    assert len(set(survey.labels)) == 12


@pytest.mark.parametrize("file", ["decimal-comma.csv", "pos_x.csv"])
def test_points_are_taken_by_common_names_and_in_any_notation(cases: Path, file: str) -> None:
    survey = read_survey(cases / file, PLAIN)

    assert survey.beacons == BEACONS
    assert survey.positions is not None
    assert survey.positions.max() > 2.0


def test_units_in_the_header_are_no_part_of_the_role(cases: Path) -> None:
    survey = read_survey(cases / "units-in-header.csv", PLAIN)

    assert len(survey.beacons) == 6
    assert len(survey.labels) == 240


def test_other_notations_of_one_survey_are_one_survey(cases: Path) -> None:
    plain = read_survey(cases / "capital-location.csv", PLAIN)

    for other in ("pipe.csv", "space.csv", "survey.csv.gz", "survey.jsonl"):
        read = read_survey(cases / other, PLAIN)
        np.testing.assert_array_equal(read.rssi, plain.rssi)
        assert read.labels == plain.labels


@pytest.mark.parametrize("file", ["minus100.csv", "minus999.csv", "plus1.csv", "plus110.csv"])
def test_a_number_for_not_heard_is_found_by_looking(cases: Path, file: str) -> None:
    survey = masked(cases / file)

    assert int(np.isnan(survey.rssi).sum()) == 27
    assert float(np.nanmin(survey.rssi)) == -85.0


@pytest.mark.parametrize(("file", "number"), [("minus999.csv", -999.0), ("minus100.csv", -100.0)])
def test_a_number_for_not_heard_may_be_said(cases: Path, file: str, number: float) -> None:
    survey = read_survey(cases / file, SiteDescription(not_heard=(number,)))

    assert int(np.isnan(survey.rssi).sum()) == 27


@pytest.mark.parametrize("file", ["long-form-location.csv", "long-form-xy.csv"])
def test_one_reading_per_row_becomes_one_fingerprint_per_row(cases: Path, file: str) -> None:
    survey = read_survey(cases / file, PLAIN)

    assert len(survey.beacons) == 6
    assert len(survey.labels) == 240
    wide = read_survey(cases / "capital-location.csv", PLAIN)
    assert sorted(map(tuple, np.nan_to_num(survey.rssi).tolist())) == sorted(
        map(tuple, np.nan_to_num(wide.rssi).tolist())
    )


def test_readings_of_one_scan_within_a_second_are_one_fingerprint() -> None:
    text = (
        "time,mac,rss,room\n"
        "2026-05-01 10:00:00.000,a,-60,R\n2026-05-01 10:00:00.900,b,-70,R\n"
        "2026-05-01 10:00:02.000,b,-71,R\n2026-05-01 10:00:00.500,b,-80,S\n"
    )

    survey = read_survey(text.encode(), PLAIN)

    readings = sorted(zip(survey.labels, np.nan_to_num(survey.rssi).tolist(), strict=True))
    assert readings == [("R", [-60.0, -70.0]), ("R", [0.0, -71.0]), ("S", [0.0, -80.0])]


def test_one_reading_per_row_beside_unknown_columns_has_to_be_declared() -> None:
    text = "node,mac,rssi,location\n" + "n1,a,-60,R\nn1,b,-70,R\n" * 3

    with pytest.raises(BadSurvey, match=r'"beacon": "mac", "rssi": "rssi"'):
        read_survey(text.encode(), PLAIN)

    site = parse_site(
        json.dumps({"columns": {"beacon": "mac", "rssi": "rssi"}, "ignored_columns": ["node"]})
    )
    assert read_survey(text.encode(), site).beacons == ("a", "b")


def test_two_floors_of_one_plan_are_never_one_place(cases: Path) -> None:
    survey = read_survey(cases / "two-floors-same-xy.csv", PLAIN)

    assert len(set(survey.labels)) == 12
    assert {label.split(",")[0] for label in survey.labels} == {"floor=0", "floor=1"}


def test_walks_on_two_floors_share_no_cell() -> None:
    rows = [f"{floor},{x / 7:.3f},{x / 11:.3f},-60,-70" for floor in (0, 1) for x in range(120)]
    survey = read_survey(("floor,x,y,b1,b2\n" + "\n".join(rows)).encode(), PLAIN)

    data = combine([survey], PLAIN)

    assert len(data.labels) < 120
    floors = np.array([label.split(",")[0] for label in data.labels])[data.cells]
    assert floors.tolist() == ["floor=0"] * 120 + ["floor=1"] * 120


def test_degrees_are_refused_with_the_words_that_project_them(cases: Path) -> None:
    file = cases / "degrees-as-xy.csv"
    with pytest.raises(BadSurvey, match='"unit": "degrees"'):
        read_survey(file, PLAIN)

    survey = read_survey(file, SiteDescription(unit="degrees"))

    assert survey.positions is not None
    assert 1.0 < np.ptp(survey.positions, axis=0).max() < 100.0


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("survey.xlsx", "XLSX"),
        ("survey.zip", "ZIP archive"),
        ("latin1.csv", "UTF-8"),
        ("quoted-list.csv", "'rssi'.*column of its own"),
        ("units-in-cells.csv", "'b1'.*without their unit"),
        ("index-column.csv", r'"ignored_columns": \[""\]'),
        ("no-header-long.csv", "first line holds data"),
    ],
)
def test_what_cannot_be_taken_is_named_with_what_to_do(cases: Path, file: str, words: str) -> None:
    with pytest.raises(BadSurvey, match=re.compile(words, re.DOTALL)) as refused:
        read_survey(cases / file, PLAIN)

    assert refused.value.reason.rstrip().endswith(".")
    assert "ignored_columns" not in refused.value.reason or "beacon" not in refused.value.reason


def test_all_columns_in_the_way_are_named_at_once() -> None:
    text = "location,b1,b2,phone_model,note\n" + "A,-60,-70,S9,rain\n" * 6

    with pytest.raises(BadSurvey, match=r'"ignored_columns": \["phone_model", "note"\]'):
        read_survey(text.encode(), PLAIN)

    site = SiteDescription(ignored_columns=("PHONE*", "note"))
    assert read_survey(text.encode(), site).beacons == ("b1", "b2")


def test_columns_of_numbers_that_are_no_dbm_are_named_with_those_of_words(
    shared_data: Path,
) -> None:
    file = shared_data / "public" / "wifi-office" / "database_office_train.csv"

    with pytest.raises(BadSurvey, match=r"'AP1 RTT\(mm\)' .*'AP5 RTT\(mm\)' .*'LOS APs'"):
        read_survey(file, PLAIN)

    survey = read_survey(file, SiteDescription(ignored_columns=("* RTT*", "los *")))
    assert len(survey.beacons) == 5


def test_nothing_is_guessed_where_two_columns_fit() -> None:
    text = "room,zone,b1,b2\nA,1,-60,-70\nB,2,-61,-71\n"

    with pytest.raises(BadSurvey, match=r"'room', 'zone'.*\"columns\""):
        read_survey(text.encode(), PLAIN)

    site = parse_site(json.dumps({"columns": {"location": "room"}}))
    survey = read_survey(text.encode(), site)
    assert (survey.labels, survey.beacons) == (("A", "B"), ("b1", "b2"))
    assert survey.file_format.columns == "location is 'room'; ignored: 'zone'"


def test_one_beacon_in_two_cases_is_refused() -> None:
    with pytest.raises(BadSurvey, match="'B1' twice"):
        read_survey(b"location,b1,B1\nA,-60,-70\nB,-61,-71\n", PLAIN)


@pytest.mark.parametrize(("unit", "metres"), [("cm", 1.0), ("ft", 30.48), ("m", 100.0)])
def test_a_unit_in_the_header_counts(unit: str, metres: float) -> None:
    text = f"x ({unit}),y ({unit}),b1\n100,0,-60\n0,100,-70\n"

    survey = read_survey(text.encode(), PLAIN)

    assert survey.positions is not None
    np.testing.assert_allclose(survey.positions[0], [metres, 0.0])


def test_comments_are_no_rows_and_lines_keep_their_numbers() -> None:
    text = "# made by a logger\nlocation,b1\nA,-60\n# a pause\nB,-61\n"

    survey = read_survey(text.encode(), PLAIN)

    assert survey.lines.tolist() == [3, 5]


def test_a_damaged_gzip_file_is_refused() -> None:
    packed = gzip.compress(b"location,b1\nA,-60\nB,-61\n")

    with pytest.raises(BadSurvey, match="gzip file is damaged"):
        read_survey(packed[:-6], PLAIN, "walk.csv.gz")


def test_parquet_is_taken(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"location": ["A", "B"], "b1": [-60, -61], "b2": [None, -70.5]})
    frame.write_parquet(tmp_path / "walk.parquet")

    survey = read_survey(tmp_path / "walk.parquet", PLAIN)

    assert survey.labels == ("A", "B")
    np.testing.assert_array_equal(survey.rssi, np.float32([[-60, np.nan], [-61, -70.5]]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"colums": {}}', "no key 'colums'; did you mean 'columns'?"),
        ('{"columns": {"lable": "room"}}', "no key 'columns.lable'"),
        ('{"unit": "inch"}', "unit: "),
        ("{", "no JSON"),
    ],
)
def test_a_wrong_site_is_answered_with_the_right_word(content: str, words: str) -> None:
    with pytest.raises(InvalidSiteError) as refused:
        parse_site(content)

    assert words in str(refused.value)
    assert "http" not in str(refused.value)


def test_keys_of_a_site_that_are_not_used_name_no_other_training() -> None:
    assert SiteDescription().identity() == SiteDescription(not_heard=()).identity()
    assert SiteDescription().identity() != SiteDescription(not_heard=(-1.0,)).identity()
    assert "columns" not in SiteDescription().identity().replace("ignored_columns", "")
