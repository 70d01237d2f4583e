"""Files that mean harm, or were made by something broken, through whole training runs.

Each run gets several files at once, from a bucket as in production: it must end in a word of the
contract, name every bad file with a reason, take no row of a bad file, and drop no row in silence.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import boto3
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from aws.s3 import Bucket
from events import names
from events.manifests import Quarantine, Release, RunSpec, Snapshot, SurveyRef
from trainer.training.errors import BadSurvey
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.outcome import OutcomeKind, RunOutcome
from trainer.training.job.training_job import TrainingJob
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.settings import JobSettings

FILES_PER_RUN = 10
RUNS = 21
QUICK = Hyperparameters(epochs=1, hidden=(4,))
SITE = SiteDescription(name="lab")
STARTED = datetime(2026, 11, 1, tzinfo=UTC)

READINGS = st.one_of(
    st.integers(-100, -40).map(str),
    st.sampled_from(
        ["-200", "100", "0", "-110", "NaN", "-70.5", "1e9", "-1e999", "inf", "0x1F", "--7", "-7,5"]
    ),
    st.sampled_from(
        ["'-70", "=1+1", "<b>", "\N{COLLISION SYMBOL}", "\N{ARABIC-INDIC DIGIT ONE}", "1_000"]
    ),
    st.sampled_from(["", " ", '"', '"-70', "-70\x00", "-70\r", "\u202e-70", "9" * 400]),
)
LABELS = st.sampled_from(
    ["A01", "B02", "O02", "?", "", "a" * 200, "x=1,y=2", '"', "<script>", "../..", "\x00", "é"]
)
HEADERS = st.sampled_from(
    [
        ["location", "b1", "b2"],
        ["location", "date", "b1", "b2"],
        ["x", "y", "b1"],
        ["location", "x", "y", "b1"],
        ["location", "b1", "b1"],
        ["location", "", "b1"],
        ["location"],
        ["b1", "b2"],
        ["Location", "location", "b1"],
        ["location", "b1", "remarks"],
    ]
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"])
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Something like a survey, wrong in one way or several."""
    header = draw(HEADERS)
    delimiter = draw(st.sampled_from(",;\t|"))
    odd = draw(st.integers(0, 6))
    rows = [
        [draw(LABELS) if name == "location" else draw(READINGS) for name in header]
        for _ in range(odd)
    ]
    rows += [
        [place if name == "location" else f"-{60 + row}" for name in header]
        for row in range(draw(st.integers(0, 12)))
        for place in ("A01", "B02")
    ]
    if draw(st.booleans()) and rows:
        rows[0] = rows[0][: draw(st.integers(0, len(rows[0])))]
    end = draw(ENDS)
    text = end.join(delimiter.join(row) for row in [header, *rows]) + end
    return text.encode(draw(ENCODINGS), errors="replace")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file that was cut short, or had bytes turned."""
    good = GOOD[: draw(st.integers(1, len(GOOD)))]
    place = draw(st.integers(0, len(good) - 1))
    return good[:place] + draw(st.binary(max_size=4)) + good[place + 1 :]


GOOD = b"location,b1,b2\n" + b"".join(b"A01,-6%d,-80\nB02,-80,-6%d\n" % (n, n) for n in range(10))
HOSTILE = st.one_of(tables(), tables(), damaged(), st.binary(max_size=200), st.just(b""))


ODD_READINGS = st.sampled_from(
    ["-70", "-70.25", "-200", "-199", "100", "0", "NaN", " -71 ", '"-72"']
)


@st.composite
def odd_but_good(draw: st.DrawFn) -> bytes:
    """A survey that is written as nobody would, and can be read."""
    delimiter, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    rows = [
        [draw(st.sampled_from(["A01", "B02", " C03 ", "?", ""])), "-66", draw(ODD_READINGS)]
        for _ in range(draw(st.integers(1, 12)))
    ]
    lines = [
        ["location", "b1", draw(st.sampled_from(["b2", "b10", "02:AA"]))],
        *rows,
        ["A01", "-5", ""],
    ]
    text = end.join(delimiter.join(row) for row in lines)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


MILD = odd_but_good()


class Lab:
    """The buckets of a site, and its training."""

    def __init__(self) -> None:
        client = boto3.client("s3", region_name="us-east-1")
        for name in ("data", "artifacts"):
            client.create_bucket(Bucket=name)
        self.data, self.artifacts = Bucket(client, "data"), Bucket(client, "artifacts")
        self._numbers = count()

    def run(self, files: list[bytes]) -> "Ran":
        number = next(self._numbers)
        surveys = [self._upload(f"{number}-{place}.csv", body) for place, body in enumerate(files)]
        snapshot = Snapshot.of("lab", surveys)
        key = names.snapshot_key("lab", snapshot.digest)
        self.artifacts.put(key, snapshot.model_dump_json().encode(), "application/json")
        spec = RunSpec(
            site="lab",
            snapshot=snapshot.digest,
            trainer_version="1",
            hyperparameters=QUICK.model_dump(),
        )
        job = TrainingJob(
            settings=JobSettings(
                site="lab",
                run_id=spec.run_id,
                run_spec=spec,
                snapshot=key,
                artifact_bucket="artifacts",
                attempt="one",
                image="process",
            ),
            data=lambda _: self.data,
            artifacts=self.artifacts,
            clock=lambda: STARTED,
            log=structlog.wrap_logger(None, processors=[_drop]),
        )
        return Ran(self, spec.run_id, surveys, job.run())

    def _upload(self, name: str, body: bytes) -> SurveyRef:
        key = f"sites/lab/surveys/{name}"
        self.data.put(key, body, "text/csv")
        return SurveyRef(
            bucket="data",
            key=key,
            version_id="null",
            etag=hashlib.md5(body).hexdigest(),  # noqa: S324 - S3's own entity tag
            size=len(body),
            uploaded_at=STARTED,
        )


@dataclass(frozen=True)
class Ran:
    """One run that ended."""

    lab: Lab
    run: str
    surveys: list[SurveyRef]
    outcome: RunOutcome

    @property
    def refused(self) -> list[bool]:
        """Which of the surveys were set aside, each with a reason."""
        told = [survey.id in self.outcome.quarantined for survey in self.surveys]
        for survey, is_refused in zip(self.surveys, told, strict=True):
            reason = re.search(rf"{re.escape(survey.key)}: \S+", self.outcome.reason)
            assert bool(reason) == is_refused
        return told

    def kept_reason(self, survey: SurveyRef) -> str:
        stored = self.lab.artifacts.get(names.quarantine_key("lab", survey.id))
        return Quarantine.model_validate_json(stored.body).reason

    def audit(self) -> dict[str, object]:
        release = Release.model_validate_json(
            self.lab.artifacts.get(names.release_key(self.run)).body
        )
        return json.loads(self.lab.artifacts.get(release.metrics_file.key).body)["audit"]


def _drop(_logger: object, _method: str, _event: object) -> object:
    raise structlog.DropEvent


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with mock_aws():
        yield Lab()


def refused(body: bytes) -> bool:
    try:
        read_survey(body, SITE)
    except BadSurvey:
        return True
    return False


@settings(
    max_examples=RUNS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(files=st.lists(HOSTILE, min_size=FILES_PER_RUN, max_size=FILES_PER_RUN))
def test_no_file_crashes_a_run_or_is_half_used_or_refused_without_a_reason(
    lab: Lab, files: list[bytes]
) -> None:
    """210 files; what the reader refuses alone, the run sets aside, and the other way round."""
    ran = lab.run(files)

    bad = [refused(body) for body in files]
    if any(bad):
        assert ran.outcome.kind is OutcomeKind.BAD_DATA
        assert ran.refused == bad
    elif any(ran.refused):
        assert ran.outcome.kind is OutcomeKind.BAD_DATA, "they contradict each other"
    elif ran.outcome.kind is OutcomeKind.SUCCEEDED:
        check_every_row_is_told_of(ran.audit(), files)
    else:
        assert ran.outcome.kind is OutcomeKind.NOT_ENOUGH_DATA
        assert ran.outcome.reason


def check_every_row_is_told_of(audit: dict[str, Any], files: list[bytes]) -> None:
    surveys = [read_survey(body, SITE) for body in files]
    assert audit["rows"] == sum(len(survey.labels) for survey in surveys)
    assert audit["unlabelled_rows"] == sum(survey.ignored_rows for survey in surveys)
    dropped = sum(rows for _, rows in audit["dropped"])
    assert dropped == sum(len(survey.faults) for survey in surveys)


def test_one_hostile_file_beside_good_ones_is_named_and_they_are_not(lab: Lab) -> None:
    hostile = b"location,b1,b2\nA01,loud,-70\n"

    ran = lab.run([GOOD, hostile, GOOD + b"A01,-71,-72\n"])

    assert ran.outcome.kind is OutcomeKind.BAD_DATA
    assert ran.refused == [False, True, False]
    assert "'loud'" in ran.kept_reason(ran.surveys[1])
    rest = lab.run([GOOD, GOOD + b"A01,-71,-72\n"])
    assert rest.outcome.kind is OutcomeKind.SUCCEEDED
    check_every_row_is_told_of(rest.audit(), [GOOD, GOOD + b"A01,-71,-72\n"])


@settings(max_examples=3, deadline=None, derandomize=True)
@given(files=st.lists(MILD, min_size=2, max_size=2))
def test_files_that_are_only_odd_are_used_to_the_last_row(lab: Lab, files: list[bytes]) -> None:
    ran = lab.run([GOOD, *files])

    assert ran.outcome.kind is OutcomeKind.SUCCEEDED
    check_every_row_is_told_of(ran.audit(), [GOOD, *files])
