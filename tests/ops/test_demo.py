"""`rssi demo`: six acts that check themselves, on generated and on real data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.demo.survey import broken_survey, fullest_fingerprint, generated_survey, split_csv

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def play(out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "demo", "--out", str(out), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def children_of(folder: Path) -> list[str]:
    """Command lines of running processes that work below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def check(out: Path, done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ok"]
    assert [act["ok"] for act in summary["acts"]] == [True] * 6
    first, second, broken, wrong, hanging, back = (act["showed"] for act in summary["acts"])
    assert second["probe_failures"] == 0
    assert second["probe_requests"] > 20
    assert second["probe_releases"] == [first["release"], second["release"]]
    assert broken["quarantine_reason"]
    assert [deployment["state"] for deployment in wrong["deployments"]] == ["failed", "live"]
    assert wrong["live"] == second["release"]
    assert [deployment["state"] for deployment in hanging["deployments"]] == ["failed", "live"]
    assert "does not answer" in hanging["smoke_test"]
    assert hanging["live"] == second["release"]
    assert back["live"] == first["release"]
    assert len(summary["drop_to_live_s"]) == 2
    assert [len(release["surveys"]) for release in summary["releases"]] == [1, 2, 2]
    times = [event["time"] for event in summary["events"]]
    assert times == sorted(times)
    assert summary["events"][0]["detail-type"] == "TrainingStarted"
    assert {event["site"] for event in summary["events"]} == {"library-1f"}
    report = (out / "report.html").read_text()
    assert "<svg" in report
    assert "http://" not in report.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in report


def test_every_act_shows_what_it_should_on_generated_data(tmp_path):
    check(tmp_path, play(tmp_path))
    assert children_of(tmp_path) == []


def test_every_act_shows_what_it_should_on_the_real_data_set(tmp_path, shared_data):
    file = shared_data / "ble-rssi" / "iBeacon_RSSI_Labeled.csv"

    check(tmp_path, play(tmp_path, "--data", str(file)))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"location,b1\nA01,loud\n", "'loud'"), (None, "can't be read")],
)
def test_data_that_is_no_survey_is_refused_before_anything_starts(tmp_path, content, said):
    file = tmp_path / "data.csv"
    if content is not None:
        file.write_bytes(content)

    done = play(tmp_path / "out", "--data", str(file))

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_generated_site_is_the_same_each_time():
    assert generated_survey() == generated_survey()
    assert generated_survey() != generated_survey(seed=1)


def test_a_survey_is_cut_into_two_with_the_header_on_both():
    first, second = split_csv(b"location,b1\nA01,-70\nA02,-71\nA03,-72\n", share=0.67)

    assert first == b"location,b1\nA01,-70\nA02,-71\n"
    assert second == b"location,b1\nA03,-72\n"


def test_a_line_break_in_quotes_does_not_cut_a_row():
    first, second = split_csv(b'location,note,b1\nA01,"two\nlines",-70\nA02,one,-71', share=0.5)

    assert first == b'location,note,b1\nA01,"two\nlines",-70\n'
    assert second == b"location,note,b1\nA02,one,-71\n"


def test_the_broken_survey_differs_in_one_field():
    good = generated_survey().second
    pairs = zip(good.splitlines(), broken_survey(good).splitlines(), strict=True)

    assert [new.rsplit(b",", 1)[1] for old, new in pairs if old != new] == [b"no signal"]


def test_the_fingerprint_that_is_asked_about_hears_the_most():
    content = b"location,b1,b2\nA01,-71,-200\nA02,-70,-60\nA03,-200,-72\n"

    assert fullest_fingerprint(content) == {"b1": -70.0, "b2": -60.0}


def test_nothing_is_found_where_no_stack_is(monkeypatch):
    environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "status"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 3
    assert "rssi up" in done.stderr
    assert "Traceback" not in done.stderr
