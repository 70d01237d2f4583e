"""What is read from a survey, and why one is refused."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.made_up_floor import survey_lines, survey_text
from trainer.training.errors import BadSurvey
from trainer.training.quality.audit import audit
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.formats import registry
from trainer.training.reading.formats.csv_blocks import LineBlock
from trainer.training.reading.formats.csv_polars import parse_plain
from trainer.training.reading.formats.csv_reader import CsvReader
from trainer.training.reading.formats.csv_text import read_header
from trainer.training.reading.formats.port import (
    CategoricalColumn,
    ColumnSelection,
    FileFormat,
    FileLayout,
    RowBatch,
)
from trainer.training.reading.row_faults import FaultKind
from trainer.training.reading.site_description import SiteDescription, Thresholds
from trainer.training.reading.surveys import Survey, read_open_survey, read_survey
from trainer.training.reading.training_set import combine_any

SITE = SiteDescription(name="hall")


def read(text: str | bytes, site: SiteDescription = SITE) -> Survey:
    return read_survey(text.encode() if isinstance(text, str) else text, site)


def test_a_survey_is_read_with_its_beacons_and_labels_and_without_its_date() -> None:
    survey = read("location,date,b3001,b3002\nO02,10-18-2016 11:15:21,-200,-78\nP01,,-66.5,\n")

    assert survey.beacons == ("b3001", "b3002")
    assert survey.labels == ("O02", "P01")
    assert survey.positions is None
    np.testing.assert_array_equal(survey.rssi, np.array([[math.nan, -78], [-66.5, math.nan]], "f4"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("location;b1;b2\nA01;-70;-80\n", id="semicolons"),
        pytest.param("location\tb1\tb2\nA01\t-70\t-80\n", id="tabs"),
        pytest.param("location,b1,b2\r\nA01,-70,-80\r\n", id="windows-lines"),
        pytest.param("location,b1,b2\rA01,-70,-80\r", id="old-mac-lines"),
        pytest.param('"location","b1","b2"\n"A01","-70","-80"\n', id="quotes"),
        pytest.param(" Location , b1 , b2 \n A01 , -70 , -80.0 \n", id="blanks-and-case"),
        pytest.param("\ufefflocation,b1,b2\nA01,-70,-80\n", id="byte-order-mark"),
        pytest.param("\nlocation,b1,b2\n\nA01,-70,-80\n\n\n", id="blank-lines"),
        pytest.param("b1,b2,TIME,LOCATION\n-70,-8e1,12:00,A01", id="other-order-no-last-newline"),
        pytest.param("location,b1,b2\nA01,-70,-80\n".encode("utf-16"), id="utf-16"),
    ],
)
def test_every_usual_way_to_write_the_same_rows_is_understood(text: str | bytes) -> None:
    survey = read(text)

    assert (survey.beacons, survey.labels) == (("b1", "b2"), ("A01",))
    assert survey.rssi.tolist() == [[-70, -80]]


@pytest.mark.parametrize(
    "written", ["", " ", "NaN", "nan", "NA", "null", "100", "-200", "-199", "-150.5", "0", "-200.0"]
)
def test_every_usual_way_to_say_not_heard_is_understood(written: str) -> None:
    assert np.isnan(read(f"location,b1,b2\nA01,{written},-70\n").rssi[0, 0])


@pytest.mark.parametrize("dbm", [-150.0, -120.0, -1.0])
def test_signals_up_to_the_edges_are_kept(dbm: float) -> None:
    assert read(f"location,b1\nA01,{dbm}\n").rssi.tolist() == [[dbm]]


def test_beacons_may_be_called_anything() -> None:
    survey = read("location,WAP001,AA:BB:CC:00:11:22,x,größe\nA01,-70,-71,-72,-73\n")

    assert survey.beacons == ("WAP001", "AA:BB:CC:00:11:22", "x", "größe")


def test_unlabelled_rows_are_counted_and_not_used() -> None:
    survey = read("location,b1\n?,-70\nA01,-71\n,-72\n")

    assert (survey.labels, survey.ignored_rows) == (("A01",), 2)
    assert survey.rssi.tolist() == [[-71]]


def test_points_without_labels_become_cells() -> None:
    survey = read("x,y,b1\n1.5,3,-70\n-0,4,-71\n,,-72\n")

    assert survey.labels == ("x=1.5,y=3.0", "x=0.0,y=4.0")
    assert survey.positions is not None
    assert survey.positions.tolist() == [[1.5, 3.0], [0.0, 4.0]]
    assert survey.ignored_rows == 1


HOSTILE = {
    "empty": (b"", "empty"),
    "blank lines only": (b"\n \n\r\n", "empty"),
    "header only": (b"location,b1\n", "no rows"),
    "no location": (b"date,b1\nx,-70\n", "no location"),
    "no header": (b"O02,-70,-200\nO02,-70,-200\n", "first line holds data"),
    "no beacon": (b"location,date\nA01,x\n", "no beacon"),
    "latin-1": ("location,b1\nCafé,-70\n".encode("latin-1"), "UTF-8"),
    "utf-16 without a mark": ("location,b1\nA01,-70\n".encode("utf-16-le"), "NUL"),
    "cut utf-16": ("location,b1\nA01,-70\n".encode("utf-16")[:-1], "UTF-16"),
    "nul": (b"location,b1\nA01,-7\x000\n", "NUL"),
    "a zip file": (b"PK\x03\x04\x14\x00\x08\x08\xff\xfe", "ZIP archive"),
    "text": (b"location,b1,b2\nA01,-70,-70\nA01,-70,hello\n", "Line 3, column 'b2': 'hello'"),
    "python's own number": (b"location,b1\nA01,-7_0\n", "Line 2, column 'b1'"),
    "hexadecimal": (b"location,b1\nA01,0x10\n", "Line 2, column 'b1'"),
    "other digits": ("location,b1\nA01,-\u0667\u0660\n".encode(), "Line 2, column 'b1'"),
    "infinity": (b"location,b1\nA01,-inf\n", "Line 2, column 'b1'"),
    "overflow": (b"location,b1\nA01,-1e999\n", "Line 2, column 'b1'"),
    "above zero": (b"location,b1\n\nA01,-70\nA01,7\n", "Line 4, column 'b1': 7"),
    "below -200": (b"location,b1\nA01,-200.5\n", "Line 2, column 'b1': -200.5"),
    "a beacon twice": (b"location,b1,b1\nA01,-70,-70\n", "'b1' twice"),
    "location twice": (b"location,Location,b1\nA01,A01,-70\n", "'Location' twice"),
    "a column without a name": (b",location,b1\n0,A01,-70\n", "Column 1 has no name"),
    "a short row": (b"location,b1,b2\nA01,-70,-70\nA01,-70\n", "Line 3 has 2 fields"),
    "a long row": (b"location,b1\nA01,-70,-70\n", "Line 2 has 3 fields"),
    "an endless field": (b'location,b1\nA01,"' + b"7" * 70_000 + b'"\n', "Line 2"),
    "an endless label": (b"location,b1\n" + b"A" * 70_000 + b",-70\n", "Line 2"),
    "a long label": (b"location,b1\n" + b"A" * 200 + b",-70\n", "Line 2"),
    "an open quote": (b'location,b1\n"A01,-70\n' + b"A01,-70\n" * 20_000, "Line 2"),
    "no label": (b"location,b1\n?,-70\n,-71\n", "None of the 2 rows"),
    "half a point": (b"x,y,b1\n1,,-70\n", "Line 2, column 'y'"),
    "text in a point": (b"x,y,b1\n1,north,-70\n", "Line 2, column 'y'"),
    "a point at no place on Earth": (b"x,y,b1\n1,1e30,-70\n", "Line 2, column 'y'"),
    "a label in two places": (
        b"location,x,y,b1\nA01,1,1,-70\nA01,5,1,-70\n",
        "'A01' lies in more than one",
    ),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_bad_survey_is_refused_with_a_reason_that_says_where(content: bytes, reason: str) -> None:
    with pytest.raises(BadSurvey) as caught:
        read(content)

    assert reason in caught.value.reason


def test_a_survey_that_contradicts_its_site_is_refused() -> None:
    site = SiteDescription(name="hall", positions={"A01": (0.0, 0.0)})

    with pytest.raises(BadSurvey, match="site's description"):
        read("location,x,y,b1\nA01,9,9,-70\n", site)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=300)
    | st.text(alphabet='location,xyb1\n\r";-7?0\t\ufeff', max_size=200).map(str.encode)
)
def test_whatever_is_uploaded_is_read_or_refused(content: bytes) -> None:
    try:
        survey = read(content)
    except BadSurvey:
        return
    assert survey.rssi.shape == (len(survey.labels), len(survey.beacons))
    assert not (survey.rssi >= 0).any()


LENIENT = SiteDescription(
    name="hall", thresholds=Thresholds(malformed_rows=1, implausible_rows=1, silent_rows=1)
)


def outcome(text: str, *, large: bool, block_bytes: int = 1 << 20) -> tuple[object, ...]:
    """What a survey is read as, or the reason why it is refused."""
    try:
        reader = CsvReader(block_bytes, large_bytes=0 if large else sys.maxsize)
        survey = read_open_survey(reader.open(text.encode()), "walk", LENIENT)
    except BadSurvey as error:
        return (error.reason,)
    readings = np.nan_to_num(survey.rssi, nan=1.0).tolist()
    places = None if survey.positions is None else np.nan_to_num(survey.positions).tolist()
    times = None if survey.times is None else np.nan_to_num(survey.times).tolist()
    found = (
        survey.file_format.delimiter,
        survey.file_format.not_heard,
        survey.file_format.time_format,
    )
    return (survey.labels, readings, places, survey.lines.tolist(), times, survey.faults, found)


def test_the_fast_parser_reads_what_the_thorough_one_reads() -> None:
    lines = [*survey_lines(seed=3), "A01,,-70,NaN,,0,100", "?,x,-70.5,null,NA,-1e2,-200"]
    text = survey_text(lines)

    assert outcome(text, large=True) == outcome(text, large=False)
    assert len(outcome(text, large=True)[0]) == len(lines) - 1  # type: ignore[arg-type]


NUMBERS = st.sampled_from(
    ["-70", "-70.5", "-200", "100", "0", "-070", "-6.", "+5", "7", "1e1", ".5"]
)
WORDS = st.sampled_from(["NaN", "Nan", "inf", "-inf", "-1e999", "0x1", "-7_0", "loud", "null"])
ODD = st.sampled_from(["", " ", " -70", "99999", '"-70"', '"a\nb"', "-7\r"])
FIELDS = NUMBERS | WORDS | ODD
LABELS = st.sampled_from(["A01", " A01", "B02", "?", "", "NA", "größe", '"C,3"', "A" * 200])
POINTS = st.sampled_from(["1", "1.0", "2.5", "", "nan", "north", "-0"])
TIMES = st.sampled_from(["9-8-2016 11:15:21", "09-18-2016 11:15:22 ", "", " ", "noon"])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(LABELS, POINTS, POINTS, TIMES, FIELDS, FIELDS).map(",".join)
        | st.sampled_from(["", " ", "A01", "A01,1,1,,-70,-70,", "A01,1,1,,-70", "A01,,,,-70,-71"]),
        max_size=12,
    ),
    st.integers(30, 300),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_both_parsers_read_the_same_whole_or_in_blocks(
    rows: list[str], block_bytes: int, end: str
) -> None:
    good = ["A01,1,1,10-18-2016 11:15:21,-70,-71", "B02,2.5,1,,-80,"] * 2
    text = end.join(["location,x,y,time,b1,b2", *good, *rows, *good]) + end

    whole = outcome(text, large=False)

    assert outcome(text, large=False, block_bytes=block_bytes) == whole
    assert outcome(text, large=True) == whole
    assert outcome(text, large=True, block_bytes=block_bytes) == whole


@pytest.mark.parametrize(
    "line",
    [
        *("A01,-70", "A01,-70,-70,-70", "A01,seven,-70", "\nA01,-70,-70", "A01,Nan,-70"),
        *("A01,inf,-7", "A01,-70\nA01,-70,-70,-70", "A01" + "," * 258, "A01,-7" + "0" * 70_000),
    ],
)
def test_the_fast_parser_leaves_what_is_not_plain_to_the_thorough_one(line: str) -> None:
    header = read_header("location,b1,b2\n")
    plain = "A01,-70,-70\n"

    assert parse_plain(LineBlock(2, plain.encode()), header, ColumnSelection(0, (1, 2))) is not None
    assert (
        parse_plain(LineBlock(2, f"{plain}{line}\n".encode()), header, ColumnSelection(0, (1, 2)))
        is None
    )


def test_a_wide_survey_is_read_fast_too() -> None:
    names = [f"WAP{place:03d}" for place in range(520)]
    header = read_header(",".join(["location", *names]))
    row = ",".join(["A01", *["100"] * 519, "-70"])

    table = parse_plain(
        LineBlock(2, f"{row}\n{row}".encode()), header, ColumnSelection(0, tuple(range(1, 521)))
    )

    assert table is not None
    assert table.numbers.shape == (2, 520)
    assert table.numbers[1, -2:].tolist() == [100, -70]


def test_an_odd_row_sends_only_its_own_block_to_the_thorough_parser() -> None:
    lines = survey_lines() * 40
    odd = [*lines, "A01,, -70 ,-71,,,", *lines]

    assert outcome(survey_text(odd), large=True, block_bytes=20_000) == outcome(
        survey_text(odd), large=False
    )


def test_a_line_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.training.reading.formats.csv_blocks.MAX_LINE_BYTES", 10_000)

    [reason] = outcome("location,b1\n" + "7" * 20_000, large=True, block_bytes=1_000)

    assert "more than 10000 bytes" in str(reason)


def test_a_large_survey_is_read_whole_and_its_faults_are_still_found() -> None:
    lines = survey_lines() * 700
    text = survey_text(lines)

    assert len(read(text).labels) == len(lines)
    [fault] = read(text + "A01,,-70,12,,,\n").faults
    assert fault.kind is FaultKind.OUT_OF_RANGE
    assert f"Line {len(lines) + 2}, column 'b2': 12" in fault.reason
    with pytest.raises(BadSurvey, match=f"Line {len(lines) + 2}, column 'b2': 'loud'"):
        read(text + "A01,,-70,loud,,,\n")


BAD_ROWS = {
    FaultKind.OUT_OF_RANGE: "A01,1,1,7,-70\n",
    FaultKind.BAD_POINT: "A01,1,,-70,-70\n",
    FaultKind.MISPLACED: "A01,2,1,-70,-70\n",
    FaultKind.LONG_LABEL: "A" * 200 + ",1,1,-70,-70\n",
    FaultKind.SILENT: "A01,1,1,-200,\n",
    FaultKind.NO_NUMBER: "A01,1,1,-70,loud\n",
    FaultKind.RAGGED: "A01,1,1,-70\n",
}
FORGIVING = SiteDescription(name="hall", thresholds=Thresholds(malformed_rows=0.02))


@pytest.mark.parametrize(("kind", "row"), BAD_ROWS.items(), ids=[kind.name for kind in BAD_ROWS])
def test_a_bad_row_among_many_good_ones_is_dropped_and_listed(kind: FaultKind, row: str) -> None:
    good = "location,x,y,b1,b2\n" + "A01,1,1,-70,-71\n" * 60

    survey = read(good + row + "A01,1,1,-70,-71\n", FORGIVING)

    assert [fault.kind for fault in survey.faults] == [kind]
    assert "Line 62" in survey.faults[0].reason
    assert len(survey.labels) == 61
    assert survey.lines.tolist() == [*range(2, 62), 63]


@pytest.mark.parametrize(
    "row", [row for kind, row in BAD_ROWS.items() if kind is not FaultKind.SILENT]
)
def test_a_survey_with_more_bad_rows_than_the_site_allows_is_refused_as_a_whole(row: str) -> None:
    with pytest.raises(BadSurvey, match="of 62 rows are"):
        read("location,x,y,b1,b2\n" + "A01,1,1,-70,-71\n" * 60 + row * 2, FORGIVING)


def test_one_row_that_the_export_broke_sets_a_survey_aside_unless_the_site_says_otherwise() -> None:
    text = "location,b1\n" + "A01,-70\n" * 500 + "A01,loud\n"

    with pytest.raises(BadSurvey, match="'loud'"):
        read(text)
    assert len(read(text, FORGIVING).labels) == 500


def test_rows_that_an_open_quotation_mark_swallows_all_count() -> None:
    text = "location,b1\n" + "A01,-70\n" * 60 + '"A01,-70\n' + "A01,-70\n" * 30

    with pytest.raises(BadSurvey, match=r"31 of \d+ rows"):
        read(text, FORGIVING)


def test_a_column_without_any_number_is_named_and_may_be_ignored() -> None:
    text = "location,b1,comment\nA01,-70,door open\nA01,-71,rain\n"

    with pytest.raises(BadSurvey, match=r"'comment'.*ignored_columns"):
        read(text)
    assert read(text, SiteDescription(name="hall", ignored_columns=("comment",))).beacons == ("b1",)


def test_the_survey_says_how_its_file_is_written() -> None:
    text = "location;date;b1;b2\nA01;10-18-2016 11:15:21;-200;-70\nA01;10-18-2016 11:15:23;-199;\n"

    found = read("\ufeff" + text.replace("-199", "-71")).file_format

    assert (found.encoding, found.delimiter) == ("utf-8", ";")
    assert found.time_format == "%m-%d-%Y %H:%M:%S"
    assert found.not_heard == (("-200", 1), ("blank", 1))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2016-10-18 11:15:21", "2016-10-18 11:15:31"),
        ("2016-10-18T11:15:21", "2016-10-18T11:15:31"),
        ("2016-10-18T11:15:21.5+02:00", "2016-10-18T11:15:31.5+02:00"),
        ("10-18-2016 11:15:21", "10-18-2016 11:15:31"),
        ("18.10.2016 11:15:21", "18.10.2016 11:15:31"),
        ("1476789321", "1476789331"),
        ("1476789321000", "1476789331000"),
    ],
)
def test_every_usual_way_to_write_a_time_is_understood(first: str, second: str) -> None:
    times = read(f"location,time,b1\nA01,{first},-70\nA01,{second},-70\nA01,,-70\n").times

    assert times is not None
    assert times[1] - times[0] == 10
    assert math.isnan(times[2])


def test_a_time_in_no_known_form_is_read_over() -> None:
    survey = read("location,time,b1\nA01,noon,-70\n")

    assert (survey.times, survey.file_format.time_format) == (None, None)


def test_a_survey_is_called_by_its_file(survey_file: Path) -> None:
    assert read_survey(survey_file, SITE).name == "walk.csv"


class JsonLines:
    """A reader of one JSON object for each row."""

    column_names = ("location", "b1", "b2")
    file_format = FileFormat(delimiter="")

    def recognizes(self, name: str, beginning: bytes) -> bool:
        return name.endswith(".jsonl") and beginning.startswith(b"{")

    def open(self, source: Path | bytes, layout: FileLayout) -> "JsonLines":  # noqa: ARG002 - of the port
        content = source if isinstance(source, bytes) else source.read_bytes()
        self.rows = [json.loads(line) for line in content.splitlines()]
        return self

    def batches(self, selection: ColumnSelection) -> Iterator[RowBatch]:
        names = [self.column_names[index] for index in selection.numeric]
        labels = tuple(row["location"] for row in self.rows)
        yield RowBatch(
            locations=CategoricalColumn(labels, np.arange(len(labels), dtype=np.int32)),
            numbers=np.array([[row.get(name, math.nan) for name in names] for row in self.rows]),
            lines=np.arange(1, len(labels) + 1),
        )


def test_a_new_file_format_takes_one_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "READERS", (JsonLines(), *registry.READERS))
    (tmp_path / "walk.jsonl").write_text(
        '{"location": "A01", "b1": -70}\n{"location": "B02", "b1": -200, "b2": -60}\n'
    )
    (tmp_path / "walk.csv").write_text("location,b1,b2\nA01,-70,\nB02,-200,-60\n")

    other = read_survey(tmp_path / "walk.jsonl", SITE)
    usual = read_survey(tmp_path / "walk.csv", SITE)

    assert (other.beacons, other.labels) == (usual.beacons, usual.labels)
    np.testing.assert_array_equal(other.rssi, usual.rssi)
    data = combine_any([other], SITE)
    findings = audit(data, [other], SITE, find_near_duplicates(data)).findings
    said = {finding.topic: finding.seen for finding in findings}
    assert said["how it is written"] == "utf-8, no times."
