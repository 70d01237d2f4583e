"""The whole way as its users go it: `rssi up` in one terminal, the other commands in another."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ops.account.session import AwsSession, find_stack
from ops.demo.survey import broken_survey, generated_survey

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SITE = "whole-way"
RSSI = [sys.executable, "-m", "ops.cli"]


class Terminal:
    """A shell with the exports that `rssi up` printed."""

    def __init__(self, exports: dict[str, str]) -> None:
        self.environment = {**os.environ, **exports}

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run `rssi` and return what it printed to standard output, or to standard error."""
        done = subprocess.run(
            [*RSSI, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def ask(self, *arguments: str) -> object:
        """Run `rssi ... --json` and read its answer."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("stack")
    with subprocess.Popen(
        [*RSSI, "up", "--folder", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as up:
        try:
            yield Terminal(read_exports(up))
        finally:
            up.send_signal(signal.SIGINT)
            left = up.communicate(timeout=30)[0]
    assert up.returncode == 0
    assert "stopped" in left


def read_exports(up: "subprocess.Popen[str]") -> dict[str, str]:
    exports: dict[str, str] = {}
    assert up.stdout is not None
    for line in up.stdout:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exports[name] = value
        if "Ctrl-C stops everything" in line:
            return exports
    raise AssertionError(f"rssi up ended with {up.wait()}")


@pytest.fixture(scope="module")
def survey_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, survey = tmp_path_factory.mktemp("surveys"), generated_survey()
    contents = {
        "first": survey.first,
        "second": survey.second,
        "broken": broken_survey(survey.second),
        "empty": b"",
        "headers": survey.first.splitlines()[0],
    }
    files = {name: folder / f"{name} ü.csv" for name in contents}
    for name, content in contents.items():
        files[name].write_bytes(content)
    return files


@pytest.fixture(scope="module")
def releases(terminal: Terminal, survey_files: dict[str, Path]) -> Sequence[str]:
    """The ids of two releases, the second of them live."""
    made = []
    for name in ("first", "second"):
        dropped = terminal.ask("drop", "--site", SITE, str(survey_files[name]), "--wait")
        assert dropped["end"]["detail-type"] == "DeploymentSucceeded"
        made.append(dropped["end"]["detail"]["release"])
    return made


def test_the_address_is_of_this_machine_only(terminal):
    address = terminal.environment["AWS_ENDPOINT_URL"]

    assert address.startswith("http://127.0.0.1:")


def test_a_dropped_survey_becomes_live(terminal, releases):
    [status] = terminal.ask("status", "--site", SITE)

    assert status["live"]["release"] == releases[1]
    assert status["former"]["release"] == releases[0]
    assert status["endpoint_status"] == "InService"
    assert status["in_flight"] is None
    assert status["surveys"] == 2


def test_every_release_is_listed_with_its_figures(terminal, releases):
    rows = terminal.ask("releases", "--site", SITE)

    assert [row["record"]["run_id"] for row in rows] == list(releases)
    assert [row["is_live"] for row in rows] == [False, True]
    assert [row["record"]["surveys"] for row in rows] == [1, 2]
    assert rows[1]["record"]["metrics"]["mean_error_m"] < 3.048


def test_the_endpoint_answers_a_fingerprint_with_its_release(terminal, releases):
    answer = terminal.ask("predict", "--site", SITE, "--rssi", "b3001=-68,b3003=-85")

    assert answer["release"] == releases[1]
    [prediction] = answer["predictions"]
    assert {"location", "x", "y", "confidence"} <= prediction.keys()


def test_the_endpoint_answers_every_row_of_a_csv_in_order(terminal, releases, survey_files):
    answer = terminal.ask("predict", "--site", SITE, "--csv", str(survey_files["first"]))

    rows = survey_files["first"].read_text().splitlines()[1:]
    right = [
        prediction["location"] == row.split(",")[0]
        for prediction, row in zip(answer["predictions"], rows, strict=True)
    ]
    assert sum(right) > 0.5 * len(rows)


def test_a_release_leads_back_to_its_surveys_and_a_survey_to_its_releases(terminal, releases):
    back = terminal.ask("trace", releases[1])
    [release] = back["releases"]
    surveys = release["snapshot"]["surveys"]
    assert len(surveys) == 2

    forward = terminal.ask("trace", surveys[0]["key"])
    assert [release["run_id"] for release in forward["releases"]] == list(releases)
    assert [deployment["state"] for deployment in forward["deployments"]][:2] == ["live", "live"]


def test_everything_that_happened_can_be_read(terminal, releases):
    events = terminal.ask("events", "--site", SITE)

    for release in releases:
        kinds = [
            event["detail-type"]
            for event in events
            if release in (event["detail"].get("release"), event["detail"].get("run_id"))
        ]
        # The agent notices the end of a run a moment after its release has arrived.
        assert kinds[0] == "TrainingStarted"
        assert "TrainingSucceeded" in kinds
        assert kinds.index("ModelCreated") < kinds.index("RolloutStarted")
        assert kinds.index("RolloutStarted") < kinds.index("DeploymentSucceeded")


@pytest.mark.parametrize(
    ("kind", "reason"), [("broken", "no number"), ("empty", "empty"), ("headers", "no row")]
)
def test_a_bad_survey_is_quarantined_with_its_reason_and_nothing_else_changes(
    terminal, releases, survey_files, kind, reason
):
    said = terminal.run("drop", "--site", SITE, str(survey_files[kind]), "--wait", code=1)

    assert "SurveyQuarantined" in said
    assert reason in said.lower()
    [status] = terminal.ask("status", "--site", SITE)
    assert status["live"]["release"] == releases[1]
    assert f"{kind} ü.csv" in {
        entry["survey"]["key"].rsplit("/", 1)[-1] for entry in status["quarantined"]
    }
    assert len(terminal.ask("releases", "--site", SITE)) == 2


def test_a_mended_survey_is_replayed(terminal, releases, survey_files):
    good = str(survey_files["second"])

    back = terminal.ask("replay", "--site", SITE, "broken ü.csv", "--with", good, "--wait")

    assert back["end"]["detail-type"] == "DeploymentSucceeded"
    trace = terminal.ask("trace", back["end"]["detail"]["release"])
    learned = {survey["key"] for survey in trace["releases"][0]["snapshot"]["surveys"]}
    assert f"sites/{SITE}/surveys/broken ü.csv" in learned
    terminal.ask("rollback", "--site", SITE, "--to", releases[1])


def test_a_withdrawn_survey_is_out_until_it_is_replayed(terminal):
    before = terminal.ask("status", "--site", SITE)
    words = ("withdraw", "--site", SITE, "broken ü.csv", "--reason", "labels shuffled")
    record = terminal.ask(*words)
    assert record["reason"].endswith(": labels shuffled")
    assert terminal.ask(*words)["survey"] == record["survey"]

    (after,) = terminal.ask("status", "--site", SITE)
    assert after["surveys"] == before[0]["surveys"] - 1
    assert record["reason"] in [entry["reason"] for entry in after["quarantined"]]

    terminal.ask("replay", "--site", SITE, "broken ü.csv")
    (again,) = terminal.ask("status", "--site", SITE)
    assert again["surveys"] == before[0]["surveys"]


def test_an_earlier_release_is_put_back_and_forth_by_one_command(terminal, releases):
    there = terminal.ask("rollback", "--site", SITE, "--to", releases[0], "--reason", "to see")
    assert there["candidate"]["release"] == releases[0]
    assert there["state"] == "live"
    assert there["latency_ms"] > 0

    again = terminal.ask("rollback", "--site", SITE)
    assert again["candidate"]["release"] == releases[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["rollback", "--site", SITE, "--to", f"{SITE}-000000000000"], 1, "ever arrived"),
        (["rollback", "--site", "nowhere"], 1, "nothing to go back to"),
        (["predict", "--site", "nowhere", "--rssi", "b3001=-70"], 1, "rssi status"),
        (["predict", "--site", SITE, "--rssi", "b3001:-70"], 2, "BEACON=DBM"),
        (["predict", "--site", SITE, "--rssi", "b3001=70"], 1, "b3001"),
        (["predict", "--site", SITE], 2, "--csv"),
        (["predict", "--site", SITE, "--csv", "no-such-file.csv"], 2, "no-such-file.csv"),
        (["drop", "--site", "Not A Site", "README.md"], 2, "lower-case"),
        (["drop", "--site", SITE, "tests"], 2, "folder"),
        (["drop", "--site", SITE, "no-such-file.csv"], 2, "can't be read"),
        (["trace", "no-such-thing"], 1, "Nothing is called"),
        (["trace", f"{SITE}-000000000000"], 1, "rssi releases"),
    ],
)
def test_a_failure_is_one_sentence(terminal, releases, arguments, code, said):
    assert said in terminal.run(*arguments, code=code)


def test_a_folder_that_can_not_be_a_site_is_pointed_out(terminal, releases):
    aws = AwsSession(terminal.environment)
    bucket = find_stack(aws, "dev").data_bucket
    aws.s3.put_object(Bucket=bucket, Key="sites/Not A Site/surveys/a.csv", Body=b"b1")

    said = terminal.run("status")

    assert "sites/Not A Site/" in said
    assert releases[1] in said


def test_the_clean_up_can_run_dry(terminal):
    said = terminal.ask("clean-up", "--dry-run")["said"]
    assert said == "0 objects would be deleted, 0 versions would be purged, 0 bytes freed"


def test_people_see_tables(terminal, releases):
    assert releases[1] in terminal.run("status")
    assert "mean error" in terminal.run("releases", "--site", SITE)
    assert "confidence" in terminal.run("predict", "--site", SITE, "--rssi", "b3001=-68")
    assert "learned from" in terminal.run("trace", releases[0])
    assert "DeploymentSucceeded" in terminal.run("events")
