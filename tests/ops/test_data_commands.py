"""`rssi audit` and `rssi tune` as a person meets them: what is printed, written and refused."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ops.errors import OpsError, UsageError
from ops.experiments.audit import audit_here
from ops.experiments.train import settings_of, site_of
from ops.experiments.tune import tune_here
from tests.training.made_up_floor import HALL, QUICK, survey_lines, survey_text


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def test_the_audit_lists_dropped_rows_and_what_was_found(tmp_path: Path) -> None:
    survey = tmp_path / "walk.csv"
    survey.write_text(survey_text([*survey_lines(), "A01,,12,,,,"]))
    on = console()

    audit_here(on, [survey], None, as_json=False)

    assert "column 'b1': 12 is no RSSI" in printed(on)
    assert "dropped rows" in printed(on)
    assert "visits" in printed(on)


def test_a_survey_that_would_be_set_aside_fails_the_audit_with_its_reason(
    survey_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("location,b1\nA01,loud\nA01,-70\n")
    on = console()

    with pytest.raises(OpsError, match="1 of 2 surveys"):
        audit_here(on, [survey_file, broken], None, as_json=False)

    assert "'loud' is no number" in printed(on)


def test_the_audit_speaks_json(survey_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_here(console(), [survey_file], None, as_json=True)

    told = json.loads(capsys.readouterr().out)
    assert told["quarantined"] == {}
    assert told["audit"]["rows"] == len(survey_lines())


def test_a_site_file_brings_its_thresholds(tmp_path: Path) -> None:
    described = tmp_path / "site.json"
    described.write_text('{"thresholds": {"malformed_rows": 0.5}, "cell_size_m": 2.5}')

    assert site_of(described).thresholds.malformed_rows == 0.5
    assert site_of(described, 4.0).cell_size_m == 4.0


@pytest.mark.parametrize("content", ["{", '{"cell_size": 1}', '{"cell_size_m": -1}'])
def test_a_file_that_describes_no_site_is_refused(tmp_path: Path, content: str) -> None:
    described = tmp_path / "site.json"
    described.write_text(content)

    with pytest.raises(UsageError, match="can't be used"):
        site_of(described)


def test_tuning_writes_settings_that_training_takes(survey_file: Path, tmp_path: Path) -> None:
    start, found = tmp_path / "start.json", tmp_path / "found.json"
    start.write_text(QUICK.model_copy(update={"epochs": 5}).model_dump_json())
    on = console()

    tune_here(on, survey_file, HALL, start, found, trials=2, seed=0)

    assert settings_of(found) is not None
    assert "fresh seeds" in printed(on)
