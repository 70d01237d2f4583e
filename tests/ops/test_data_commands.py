"""`rssi audit` and `rssi tune` by their command lines: what is printed, written and refused."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ops.cli.main import app
from ops.errors import OpsError, UsageError
from ops.experiments.inputs import read_settings, read_site
from tests.training.made_up_floor import HALL, QUICK, survey_lines, survey_text


def rssi(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_audit_lists_dropped_rows_and_what_was_found(tmp_path: Path) -> None:
    survey = tmp_path / "walk.csv"
    survey.write_text(survey_text([*survey_lines(), "A01,,12,,,,"]))

    printed = rssi("audit", survey).output

    assert "column 'b1': 12 is no RSSI" in printed
    assert "dropped rows" in printed
    assert "visits" in printed


def test_a_survey_that_would_be_quarantined_fails_the_audit_with_its_reason(
    survey_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("location,b1\nA01,loud\nA01,-70\n")

    ended = rssi("audit", survey_file, broken)

    assert isinstance(ended.exception, OpsError)
    assert "1 of 2 surveys" in str(ended.exception)
    assert "'loud' is no number" in ended.output


def test_the_audit_prints_json(survey_file: Path) -> None:
    printed = json.loads(rssi("audit", survey_file, "--json").output)

    assert printed["quarantined"] == {}
    assert printed["audit"]["rows"] == len(survey_lines())


def test_a_draft_of_the_site_takes_what_was_refused(tmp_path: Path) -> None:
    rows = [f"R{row % 4},{row % 4},S9,rain,{-60 - row % 7},{-70 - row % 5}" for row in range(40)]
    survey = tmp_path / "walk.csv"
    survey.write_text("\n".join(["Room,Level,phone_model,note,b1,b2", *rows]))
    refused = rssi("audit", survey)
    assert isinstance(refused.exception, OpsError)

    ended = rssi("audit", survey, "--suggest")

    draft = json.loads(ended.stdout)
    assert draft == {
        "ignored_columns": ["phone_model", "note"],
        "columns": {"location": "Room", "floor": "Level"},
    }
    assert "phone_model" in ended.stderr
    assert "location is 'Room'" in ended.stderr
    site = tmp_path / "site.json"
    site.write_text(ended.stdout)
    assert rssi("audit", survey, "--site-file", site).exit_code == 0


def test_a_draft_writes_down_the_number_for_not_heard(tmp_path: Path) -> None:
    rows = [f"R{row % 4},{-60 - row % 7},{-100 if row % 2 else -70}" for row in range(80)]
    survey = tmp_path / "walk.csv"
    survey.write_text("\n".join(["location,b1,b2", *rows]))

    assert json.loads(rssi("audit", survey, "--suggest").stdout) == {"not_heard": [-100.0]}


def test_what_no_description_makes_a_survey_gets_no_draft(tmp_path: Path) -> None:
    broken = tmp_path / "walk.csv"
    broken.write_bytes(b"PK\x03\x04" + bytes(40))

    ended = rssi("audit", broken, "--suggest")

    assert isinstance(ended.exception, OpsError)
    assert not ended.stdout


def test_a_site_file_brings_its_thresholds(tmp_path: Path) -> None:
    described = tmp_path / "site.json"
    described.write_text('{"thresholds": {"malformed_rows": 0.5}, "cell_size_m": 2.5}')

    assert read_site(described).thresholds.malformed_rows == 0.5
    assert read_site(described, 4.0).cell_size_m == 4.0


@pytest.mark.parametrize("content", ["{", '{"cell_size": 1}', '{"cell_size_m": -1}'])
def test_a_file_that_describes_no_site_is_refused(tmp_path: Path, content: str) -> None:
    described = tmp_path / "site.json"
    described.write_text(content)

    with pytest.raises(UsageError, match="can't be used"):
        read_site(described)


def test_tuning_writes_settings_that_training_takes(survey_file: Path, tmp_path: Path) -> None:
    start, found, hall = (tmp_path / f"{name}.json" for name in ("start", "found", "hall"))
    start.write_text(QUICK.model_copy(update={"epochs": 5}).model_dump_json())
    hall.write_text(HALL.model_dump_json())

    ended = rssi(
        *("tune", "--data", survey_file, "--site-file", hall, "--settings", start),
        *("--out", found, "--trials", "2"),
    )

    assert read_settings(found) is not None
    assert "fresh seeds" in ended.output
