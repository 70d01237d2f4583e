"""The training process as a pod would run it: `python -m trainer.training` against a fake AWS."""

import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from aws.s3 import Bucket
from events import names
from events.manifests import Champion, Quarantine, Release, SurveyRef
from events.metrics import ComparisonBasis
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.reconcile import Recipe, due_run
from trainer.training.evaluation.champion import ChampionModel, NoChampion, read_champion
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome
from trainer.training.job.training_job import LOG_FILE, TrainingJob

IMAGE = "registry/trainer@sha256:1"
QUICK = Recipe("1", Hyperparameters(epochs=2, hidden=(8,)).model_dump())


def rows(seed: int = 0, count: int = 120) -> bytes:
    """A survey of four places, each next to one of four beacons."""
    generator = random.Random(seed)
    lines = ["location,date,b1,b2,b3,b4"]
    for row in range(count):
        place = row // 5 % 4
        heard = [-60 - 12 * abs(beacon - place) + generator.randint(-3, 3) for beacon in range(4)]
        lines.append(
            f"{'ABCD'[place]}01,10-18-2016 11:{row % 60:02}:00,{','.join(map(str, heard))}"
        )
    return "\n".join(lines).encode()


@dataclass(frozen=True)
class Ended:
    """How one process ended."""

    exit_code: int
    outcome: RunOutcome | None
    log: list[dict[str, object]]


class Site:
    """The buckets of one site, and a way to run its training."""

    def __init__(self, aws, folder: Path) -> None:
        self.aws = aws
        self.data = aws.bucket("data")
        self.artifacts = aws.bucket("artifacts")
        self._folder = folder

    def upload(self, name: str, body: bytes) -> None:
        self.data.put(f"sites/lab/surveys/{name}", body, "text/csv")

    def surveys(self) -> tuple[SurveyRef, ...]:
        return SurveyStore(self.data, structlog.get_logger()).listing("lab").surveys

    def seal(self, recipe: Recipe = QUICK):
        wanted = due_run("lab", self.surveys(), (), recipe)
        ArtifactStore(self.artifacts).seal(wanted.snapshot)
        return wanted.run

    def train(self, run, attempt: str = "one", **changed: str) -> Ended:
        note = self._folder / f"{attempt}.json"
        template = JobTemplate(
            artifact_bucket=self.artifacts.name, image="registry/trainer@sha256:1"
        )
        settings = template.settings(run, attempt, note).environment()
        environment = {"PATH": os.environ["PATH"], **self.aws.environment, **settings, **changed}
        ended = subprocess.run(
            [sys.executable, "-m", "trainer.training"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        outcome = RunOutcome.model_validate_json(note.read_text()) if note.exists() else None
        assert "Warning" not in ended.stderr, ended.stderr
        return Ended(ended.returncode, outcome, [*map(json.loads, ended.stdout.splitlines())])

    def outcome(self, run, data: Callable[[str], Bucket] | None = None) -> RunOutcome:
        """How the run ends, found out without a process of its own."""
        template = JobTemplate(artifact_bucket=self.artifacts.name, image="process")
        job = TrainingJob(
            settings=template.settings(run, "within", None),
            data=data or (lambda _: self.data),
            artifacts=self.artifacts,
            clock=lambda: datetime.now(UTC),
            log=structlog.wrap_logger(None, processors=[_drop]),
        )
        return job.run()

    def release(self, run) -> Release:
        return Release.model_validate_json(self.artifacts.get(names.release_key(run.id)).body)


def left_log(site: Site, key: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in site.artifacts.get(key).body.splitlines()]


def _drop(_logger: object, _method: str, _event: object) -> object:
    raise structlog.DropEvent


@pytest.fixture
def site(aws, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Site(aws, tmp_path)


def test_a_snapshot_becomes_a_release_whose_checksums_are_those_of_its_files(site):
    site.upload("a.csv", rows())
    run = site.seal()

    ended = site.train(run)

    assert ended.exit_code == ExitCode.DONE, ended.log
    release = site.release(run)
    for file in (release.model, release.metrics_file, release.card, release.log):
        head = site.aws.client("s3").head_object(
            Bucket=site.artifacts.name, Key=file.key, ChecksumMode="ENABLED"
        )
        assert base64.b64decode(head["ChecksumSHA256"]).hex() == file.sha256
        assert head["ContentLength"] == file.size
    assert release.run_id == run.id
    assert release.snapshot.surveys == site.surveys()
    assert release.image == IMAGE
    assert release.metrics.rows == 120
    assert ended.outcome == RunOutcome(
        kind=OutcomeKind.SUCCEEDED, digest=release.digest, metrics=release.metrics
    )
    assert {line["run_id"] for line in ended.log} == {run.id}
    assert {line["correlation_id"] for line in ended.log} == {run.correlation_id}
    kept = left_log(site, release.log.key)
    assert kept == ended.log[: len(kept)], "what the process said, up to the claim"
    assert "uploaded" in {line["event"] for line in kept}


def test_two_processes_of_one_run_make_one_release_and_both_end_well(site):
    site.upload("a.csv", rows())
    run = site.seal()

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda attempt: site.train(run, attempt), ["one", "two"]))

    assert [end.exit_code for end in ended] == [0, 0]
    assert sorted(end.outcome.kind for end in ended) == ["already_released", "succeeded"]
    versions = [
        found
        for found in site.aws.client("s3").list_object_versions(Bucket=site.artifacts.name)[
            "Versions"
        ]
        if found["Key"] == names.release_key(run.id)
    ]
    assert len(versions) == 1


def test_a_run_that_has_a_release_is_not_trained_again(site):
    site.upload("a.csv", rows())
    run = site.seal()
    site.artifacts.put(names.release_key(run.id), b"{}", "application/json")

    assert site.outcome(run).kind is OutcomeKind.ALREADY_RELEASED


def test_all_bad_surveys_are_found_at_once_and_nothing_is_trained(site):
    site.upload("bad-1.csv", b"\x00\x01 this is no survey")
    site.upload("bad-2.csv", b"location,b1\nA01,loud\n")
    site.upload("good.csv", rows())
    run = site.seal()
    bad = {survey.id: survey for survey in site.surveys() if "bad" in survey.key}

    ended = site.train(run)

    assert ended.exit_code == ExitCode.BAD_DATA
    assert site.outcome(run) == ended.outcome, "the second attempt finds it said already"
    assert set(ended.outcome.quarantined) == set(bad)
    for survey_id, survey in bad.items():
        stored = site.artifacts.get(names.quarantine_key("lab", survey_id)).body
        quarantine = Quarantine.model_validate_json(stored)
        assert quarantine.survey == survey
        assert quarantine.run_id == run.id
        assert survey.key in ended.outcome.reason
        assert quarantine.reason in ended.outcome.reason
    assert not site.artifacts.exists(names.release_key(run.id))
    kept = left_log(site, names.attempt_key(run.id, "one", LOG_FILE))
    assert kept == ended.log, "who is on call reads it after the pod is gone"


def test_large_surveys_are_on_the_disk_one_at_a_time_and_not_for_long(site, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    for name in "abc":
        site.upload(f"{name}.csv", name.encode() * 5_000_000)
    found_on_disk, threads = [], set()

    def look_and_open(_: str) -> Bucket:
        found_on_disk.append([path.name for path in disk.rglob("*") if path.is_file()])
        threads.add(threading.get_ident())
        return site.data

    outcome = site.outcome(site.seal(), look_and_open)

    assert outcome.kind is OutcomeKind.BAD_DATA
    assert len(outcome.quarantined) == 3
    assert found_on_disk == [[], [], []]
    assert len(threads) == 1
    assert list(disk.iterdir()) == []


def test_of_two_surveys_that_contradict_each_other_the_later_is_set_aside(site):
    site.upload("z-first.csv", b"location,x,y,b1\n" + b"A,0,0,-60\nB,5,0,-70\n" * 10)
    site.upload("a-later.csv", b"location,x,y,b1\n" + b"A,9,0,-60\nB,5,0,-70\n" * 10)
    by_time = sorted(site.surveys(), key=lambda survey: (survey.uploaded_at, survey.key))

    outcome = site.outcome(site.seal())

    assert outcome.kind is OutcomeKind.BAD_DATA
    assert outcome.quarantined == (by_time[-1].id,)


def test_too_little_data_is_no_fault_of_any_survey(site):
    site.upload("a.csv", b"location,b1\nA01,-60\n")

    outcome = site.outcome(site.seal())

    assert outcome.kind is OutcomeKind.NOT_ENOUGH_DATA
    assert outcome.reason
    assert ArtifactStore(site.artifacts).quarantined("lab") == frozenset()


def test_the_very_version_that_was_sealed_is_trained_though_it_was_replaced_since(site):
    site.upload("a.csv", rows(count=120))
    run = site.seal()
    site.upload("a.csv", rows(count=40))

    assert site.outcome(run).kind is OutcomeKind.SUCCEEDED
    assert site.release(run).metrics.rows == 120


def test_a_sealed_version_that_was_deleted_is_said_to_be_gone(site):
    site.upload("a.csv", rows())
    run = site.seal()
    (survey,) = site.surveys()
    site.aws.client("s3").delete_object(
        Bucket=site.data.name, Key=survey.key, VersionId=survey.version_id
    )

    outcome = site.outcome(run)

    assert outcome.kind is OutcomeKind.STALE_SNAPSHOT
    assert survey.key in outcome.reason


def test_a_file_that_was_overwritten_in_a_store_without_versions_is_never_taken_for_the_sealed_one(
    site,
):
    site.data = site.aws.bucket("plain", versioned=False)
    site.upload("a.csv", rows(seed=1))
    run = site.seal()
    site.upload("a.csv", rows(seed=2))

    assert site.outcome(run).kind is OutcomeKind.STALE_SNAPSHOT


def test_a_snapshot_that_was_tampered_with_is_refused(site):
    site.upload("a.csv", rows())
    run = site.seal()
    stored = json.loads(site.artifacts.get(run.snapshot_key).body)
    stored["surveys"][0]["etag"] = "another"
    site.artifacts.put(run.snapshot_key, json.dumps(stored).encode(), "application/json")

    outcome = site.outcome(run)

    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert "changed after it was sealed" in outcome.reason


def test_a_site_may_describe_where_its_reference_points_lie(site):
    positions = {"A01": (0, 0), "B01": (0, 50), "C01": (50, 0), "D01": (50, 50)}
    body = json.dumps({"cell_size_m": 50, "positions": positions}).encode()
    digest = site.data.put("sites/lab/site.json", body, "application/json")
    site.upload("a.csv", rows())
    pinned = Recipe("1", QUICK.hyperparameters, digest)
    run = site.seal(pinned)

    assert site.outcome(run).kind is OutcomeKind.SUCCEEDED
    places = {(case.answer.x, case.answer.y) for case in site.release(run).smoke}
    assert places, "the model answers in the described metres"
    assert all(0 <= x <= 50 and 0 <= y <= 50 for x, y in places)
    site.data.put("sites/lab/site.json", b"{}", "application/json")
    later = site.outcome(site.seal(Recipe("2", pinned.hyperparameters, digest)))
    assert later.kind is OutcomeKind.STALE_SNAPSHOT


def test_a_site_that_is_described_wrongly_is_said_so(site):
    digest = site.data.put("sites/lab/site.json", b'{"cell_size_m": -1}', "application/json")
    site.upload("a.csv", rows())

    pinned = Recipe("1", QUICK.hyperparameters, digest)
    outcome = site.outcome(site.seal(pinned))

    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert "cell_size_m" in outcome.reason


def goes_live(site: Site, run) -> Release:
    """What the release logic writes once a release answered rightly."""
    release = site.release(run)
    pointer = Champion(site="lab", release=release.run_id, digest=release.digest, ledger_version=3)
    body = pointer.model_dump_json().encode()
    site.artifacts.put(names.champion_key("lab"), body, "application/json")
    return release


def card_of(site: Site, run) -> str:
    return site.artifacts.get(site.release(run).card.key).body.decode()


def test_a_candidate_is_held_against_what_is_live(site):
    site.upload("a.csv", rows(seed=1, count=240))
    first = site.seal()
    assert site.outcome(first).kind is OutcomeKind.SUCCEEDED
    live = goes_live(site, first)
    site.upload("b.csv", rows(seed=2, count=480))
    second = site.seal()

    assert site.outcome(second).kind is OutcomeKind.SUCCEEDED

    comparison = site.release(second).metrics.against_champion
    assert (comparison.release, comparison.digest) == (live.run_id, live.digest)
    assert comparison.basis is ComparisonBasis.UNSEEN_ROWS
    assert comparison.rows >= 50
    assert live.run_id in card_of(site, second)
    assert site.release(first).metrics.against_champion is None


def test_another_recipe_for_the_same_surveys_is_held_against_what_is_live_on_its_hold_out(site):
    site.upload("a.csv", rows(count=240))
    first = site.seal()
    site.outcome(first)
    goes_live(site, first)
    second = site.seal(Recipe("1", {**QUICK.hyperparameters, "epochs": 3}))

    assert site.outcome(second).kind is OutcomeKind.SUCCEEDED

    comparison = site.release(second).metrics.against_champion
    assert comparison.basis is ComparisonBasis.SAME_HOLD_OUT
    assert comparison.rows == site.release(first).metrics.held_out_rows


def test_whatever_is_wrong_with_the_champion_is_said_and_training_goes_on(site, tmp_path):
    site.upload("a.csv", rows())
    first = site.seal()
    site.outcome(first)
    live = goes_live(site, first)
    wrong = {
        live.metrics_file.key: "is not the file",
        live.model.key: "is not the file",
        names.release_key(live.run_id): "The manifest of",
        names.champion_key("lab"): "The pointer to the live release",
    }
    assert isinstance(read_champion(site.artifacts, "lab", tmp_path), ChampionModel)

    for key, said in wrong.items():
        right = site.artifacts.get(key).body
        site.artifacts.put(key, b"spoilt", "application/octet-stream")
        found = read_champion(site.artifacts, "lab", tmp_path)
        assert isinstance(found, NoChampion)
        assert said in found.reason
        if key != names.champion_key("lab"):
            site.artifacts.put(key, right, "application/octet-stream")

    second = site.seal(Recipe("1", {**QUICK.hyperparameters, "epochs": 1}))
    assert site.outcome(second).kind is OutcomeKind.SUCCEEDED
    assert site.release(second).metrics.against_champion is None
    assert "Not compared. The pointer to the live release" in card_of(site, second)


def test_the_picture_of_the_floor_lies_beside_the_description_of_the_site(site):
    plan = {"image": "floor.svg", "west": -5, "south": -5, "width_m": 30, "height_m": 20}
    body = json.dumps({"floor_plan": plan}).encode()
    digest = site.data.put("sites/lab/site.json", body, "application/json")
    site.upload("a.csv", rows())
    without, drawn = (
        site.seal(Recipe(version, QUICK.hyperparameters, digest)) for version in ("1", "2")
    )

    assert site.outcome(without).kind is OutcomeKind.SUCCEEDED
    picture = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    site.data.put("sites/lab/floor.svg", picture, "image/svg+xml")
    assert site.outcome(drawn).kind is OutcomeKind.SUCCEEDED

    assert "No floor plan: sites/lab/floor.svg has 0 bytes" in card_of(site, without)
    assert "data:image/svg+xml;base64," in card_of(site, drawn)


def test_hyperparameters_that_do_not_exist_are_refused(site):
    site.upload("a.csv", rows())

    outcome = site.outcome(site.seal(Recipe("1", {"magic": 1})))

    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert "magic" in outcome.reason


def test_a_store_that_cannot_be_reached_asks_for_another_try(site):
    site.upload("a.csv", rows())

    ended = site.train(
        site.seal(), RSSI_ARTIFACT_BUCKET="no-such-bucket-of-ours", AWS_MAX_ATTEMPTS="1"
    )

    assert ended.exit_code == ExitCode.TRY_AGAIN
    assert "no-such-bucket-of-ours" in ended.outcome.reason


def test_an_environment_that_describes_no_run_is_refused(site):
    site.upload("a.csv", rows())
    run = site.seal()

    ended = site.train(run, RSSI_RUN_ID="lab-0123456789ab")

    assert ended.exit_code == ExitCode.MISCONFIGURED
    assert run.id in ended.log[0]["reason"]
