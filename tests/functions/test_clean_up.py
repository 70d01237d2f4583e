"""What the nightly clean-up deletes of attempts that became no release, and above all what not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from aws import s3
from events import names
from events.manifests import Release
from functions import clean_up
from functions.adapters.attempts import Attempts
from functions.core.errors import RetryLaterError
from functions.core.retention import Retention, StoredVersion, expired_files, is_settled
from functions.services import Services
from functions.settings import CleanUpSettings
from tests.functions.conftest import SETTINGS, SITE, envelope, make_release

RUN = make_release(1).run_id
NOW = datetime(2026, 11, 1, 2, 17, tzinfo=UTC)
RETENTION = Retention(dead=timedelta(days=7), failed=timedelta(days=30))
NAMES = ("model.tar.gz", "metrics.json", "model-card.html", "log.jsonl")

hours = st.integers(min_value=-24, max_value=24 * 60)
attempts = st.dictionaries(
    st.sampled_from("abcdef"),
    st.dictionaries(st.sampled_from(NAMES), hours, min_size=1),
    max_size=6,
)


def stored(attempt: str, name: str, age: timedelta, version: str = "1") -> StoredVersion:
    return StoredVersion(
        key=names.attempt_key(RUN, attempt, name),
        version_id=f"{attempt}-{name}-{version}",
        written_at=NOW - age,
        size=10,
        is_current=True,
        is_delete_marker=False,
    )


def manifest(age: timedelta = timedelta(days=90)) -> StoredVersion:
    return replace(stored("x", "y", age), key=names.release_key(RUN), version_id="m")


class VersionedFolder:
    """A run's objects in a bucket that keeps versions, as far as deleting goes."""

    def __init__(self, versions: Sequence[StoredVersion]) -> None:
        self.versions = list(versions)

    def night(self, claimed: frozenset[str], now: datetime) -> bool:
        """One clean-up; whether it found anything."""
        waste = expired_files(self.versions, claimed, RETENTION, now)
        for gone in waste.to_delete:
            self._mark(gone.key, now)
        self.versions = [version for version in self.versions if version not in waste.to_purge]
        return bool(waste)

    def _mark(self, key: str, now: datetime) -> None:
        self.versions = [
            replace(version, is_current=False) if version.key == key else version
            for version in self.versions
        ]
        mark = StoredVersion(key, f"mark-{now}", now, 0, is_current=True, is_delete_marker=True)
        self.versions.append(mark)


def folder_of(written: dict[str, dict[str, int]]) -> VersionedFolder:
    return VersionedFolder(
        [
            stored(attempt, name, timedelta(hours=age))
            for attempt, files in written.items()
            for name, age in files.items()
        ]
    )


@settings(deadline=None)
@given(
    attempts,
    st.sets(st.sampled_from("abcdef"), min_size=1),
    st.lists(hours, max_size=8),
    st.randoms(),
)
def test_no_file_that_a_release_names_is_ever_deleted_whatever_the_order_and_age(
    written: dict[str, dict[str, int]], claimed: set[str], nights: list[int], chance: Any
) -> None:
    folder = folder_of(written)
    chance.shuffle(folder.versions)
    named = [file for file in folder.versions if names.parse_attempt_key(file.key)[1] in claimed]
    for hour in nights:
        folder.night(frozenset(claimed), NOW + timedelta(hours=hour))
        chance.shuffle(folder.versions)
    assert [file for file in named if file not in folder.versions] == []


@settings(deadline=None)
@given(attempts, st.lists(hours, max_size=8), st.randoms())
def test_nothing_of_an_attempt_that_wrote_within_its_week_is_deleted(
    written: dict[str, dict[str, int]], nights: list[int], chance: Any
) -> None:
    folder = folder_of(written)
    for hour in sorted(nights):
        now = NOW + timedelta(hours=hour)
        young = [
            file
            for file in folder.versions
            if any(
                now - other.written_at < RETENTION.dead and not other.is_delete_marker
                for other in folder.versions
                if names.parse_attempt_key(other.key)[1] == names.parse_attempt_key(file.key)[1]
            )
        ]
        chance.shuffle(folder.versions)
        folder.night(frozenset(), now)
        assert [file for file in young if file not in folder.versions] == []


@settings(deadline=None)
@given(attempts, st.sampled_from(["", "a"]))
def test_all_that_is_dead_is_gone_for_good_in_the_end_and_then_there_is_nothing_to_do(
    written: dict[str, dict[str, int]], claimed: str
) -> None:
    folder = folder_of(written)
    kept = frozenset({claimed} if claimed else set())
    for night in range(0, 120, 3):
        folder.night(kept, NOW + timedelta(days=night))
    assert {names.parse_attempt_key(file.key).attempt for file in folder.versions} == kept & set(
        written
    )
    assert not folder.night(kept, NOW + timedelta(days=200))


def test_the_newest_attempt_at_a_run_without_a_release_stays_for_a_month() -> None:
    files = [stored("old", "log", timedelta(days=10)), stored("new", "log", timedelta(days=9))]
    assert expired_files(files, (), RETENTION, NOW).attempts == ("old",)
    later = expired_files(files, (), RETENTION, NOW + timedelta(days=21))
    assert later.attempts == ("new", "old")


def test_a_deleted_file_is_purged_only_after_as_long_again() -> None:
    folder = VersionedFolder(
        [stored("dead", "log", timedelta(days=8)), stored("a", "log", timedelta(days=90))]
    )
    assert folder.night(frozenset("a"), NOW)
    assert len(folder.versions) == 3
    assert not folder.night(frozenset("a"), NOW + timedelta(days=6, hours=23))
    assert folder.night(frozenset("a"), NOW + timedelta(days=7))
    assert [names.parse_attempt_key(file.key).attempt for file in folder.versions] == ["a"]


def test_a_file_that_was_brought_back_is_not_purged_by_its_old_mark() -> None:
    file = stored("dead", "log", timedelta(days=20))
    mark = replace(file, version_id="mark", is_delete_marker=True, is_current=False)
    waste = expired_files([file, mark], {"a"}, RETENTION, NOW)
    assert (waste.to_delete, waste.to_purge) == ((file,), ())


def test_a_run_with_a_release_and_one_attempt_need_not_be_read() -> None:
    files = [stored("a", name, timedelta(days=90)) for name in NAMES]
    assert is_settled([*files, manifest()], names.release_key(RUN))
    assert not is_settled(files, names.release_key(RUN))
    two = [*files, stored("b", "log", timedelta(days=90)), manifest()]
    assert not is_settled(two, names.release_key(RUN))


# Over a bucket.


class Bucket:
    """The artifact bucket, with releases and what dead attempts left, and a clock for both."""

    def __init__(self, client: Any, name: str) -> None:
        self.s3 = client
        self.name = name
        self.now = NOW
        settings = SETTINGS.model_copy(update={"artifact_bucket": name})
        self.services = Services(settings, client={"s3": client}.__getitem__, now=lambda: self.now)
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, *keys: str, body: str = "0123456789") -> None:
        for key in keys:
            self.s3.put_object(Bucket=self.name, Key=key, Body=body)

    def write(self, run_id: str, attempt: str, *files: str) -> list[str]:
        keys = [names.attempt_key(run_id, attempt, name) for name in files]
        self.put(*keys)
        return keys

    def claim(self, release: Release) -> None:
        self.put(names.release_key(release.run_id), body=release.model_dump_json())

    def release(self, number: int) -> Release:
        release = make_release(number)
        self.put(release.model.key)
        self.claim(release)
        return release

    def keys(self) -> set[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {found["Key"] for page in pages for found in page.get("Contents", ())}

    def versions(self) -> int:
        found = self.s3.list_object_versions(Bucket=self.name)
        return len(found.get("Versions", ())) + len(found.get("DeleteMarkers", ()))

    def night(self, *, dry_run: bool = False, days: float = 8) -> str:
        self.now += timedelta(days=days)
        detail = {"dry_run": True} if dry_run else {}
        return clean_up.handler.run(envelope("Scheduled Event", detail), self.services).text


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


@pytest.fixture
def bucket(client: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket(client, f"artifacts-{uuid4().hex}")
    monkeypatch.setattr("moto.s3.models.utcnow", lambda: made.now.replace(tzinfo=None))
    return made


def test_what_dead_attempts_left_goes_and_what_a_release_is_made_of_stays(bucket: Bucket) -> None:
    release = bucket.release(1)
    before = bucket.keys()
    bucket.write(release.run_id, "dead", *NAMES)

    assert bucket.night() == "4 objects deleted, 0 versions purged, 0 bytes freed"

    assert bucket.keys() == before
    assert bucket.night(days=0) == "0 objects deleted, 0 versions purged, 0 bytes freed"


def test_a_week_later_its_space_is_freed(bucket: Bucket) -> None:
    release = bucket.release(1)
    before = bucket.versions()
    bucket.write(release.run_id, "dead", *NAMES)
    bucket.night()

    assert bucket.night(days=7) == "0 objects deleted, 8 versions purged, 40 bytes freed"

    assert bucket.versions() == before


def test_a_dry_run_says_what_would_go_and_lets_it_stay(bucket: Bucket) -> None:
    release = bucket.release(1)
    bucket.write(release.run_id, "dead", "log.jsonl")
    before = bucket.keys()

    said = bucket.night(dry_run=True)

    assert said == "1 objects would be deleted, 0 versions would be purged, 0 bytes freed"
    assert bucket.keys() == before


def test_the_log_names_what_went(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    release = bucket.release(1)
    (key,) = bucket.write(release.run_id, "dead", "log.jsonl")

    bucket.night()

    (line,) = (vars(line) for line in caplog.records if line.message == "attempts are deleted")
    assert (line["run_id"], line["attempts"], line["deleted"]) == (release.run_id, ("dead",), [key])


def test_a_release_whose_manifest_was_deleted_keeps_its_files(bucket: Bucket) -> None:
    release = bucket.release(1)
    bucket.write(release.run_id, "dead", "log.jsonl")
    bucket.s3.delete_object(Bucket=bucket.name, Key=names.release_key(release.run_id))

    bucket.night(days=60)

    assert bucket.keys() == {release.model.key}


def test_files_of_a_release_that_was_written_over_stay_too(bucket: Bucket) -> None:
    release = bucket.release(1)
    (other,) = bucket.write(release.run_id, "second", "model.tar.gz")
    replaced = release.model_copy(
        update={
            "attempt": "second",
            "model": release.model.model_copy(update={"key": other}),
        }
    )
    bucket.claim(replaced)

    assert bucket.night(days=60).startswith("0 objects deleted")
    assert {release.model.key, other} <= bucket.keys()


def test_a_run_whose_manifest_can_not_be_read_is_left_alone_and_the_others_are_not(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = sorted((make_release(1), make_release(2)), key=lambda one: one.run_id)
    key = names.release_key(broken.run_id)
    bucket.put(key, body="no manifest")
    kept = bucket.write(broken.run_id, "a", "log.jsonl") + bucket.write(
        broken.run_id, "b", "log.jsonl"
    )
    gone = bucket.write(fine.run_id, "a", "log.jsonl")

    bucket.night(days=60)

    assert set(kept) <= bucket.keys()
    assert not set(gone) & bucket.keys()
    (line,) = (vars(line) for line in caplog.records if line.message == "a run is left alone")
    assert key in line["reason"]


def test_strangers_files_beside_releases_are_left_alone(bucket: Bucket) -> None:
    release = bucket.release(1)
    strange = [
        f"sites/{SITE}/releases/notes.txt",
        f"sites/{SITE}/releases/{release.run_id}/attempts/readme",
        f"sites/{SITE}/releases/not a run/attempts/a/model.tar.gz",
        f"sites/{SITE}/releases/other-0123456789ab/attempts/a/model.tar.gz",
    ]
    bucket.put(*strange)

    bucket.night(days=60)

    assert set(strange) <= bucket.keys()


def test_a_release_that_is_claimed_after_the_listing_keeps_its_files(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release(1)
    keys = bucket.write(release.run_id, release.attempt, "model.tar.gz")
    listed = Attempts.by_run

    def listed_just_before_the_claim(self: Attempts, site: str) -> Iterator[Any]:
        found = list(listed(self, site))
        bucket.release(1)
        return iter(found)

    monkeypatch.setattr(Attempts, "by_run", listed_just_before_the_claim)

    bucket.night(days=60)

    assert set(keys) <= bucket.keys()


def test_runs_are_read_over_many_pages_and_a_night_that_was_killed_is_made_up_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = [bucket.release(number) for number in range(1, 9)]
    before = bucket.keys()
    for release in releases:
        for attempt in ("dead-1", "dead-2"):
            bucket.write(release.run_id, attempt, *NAMES)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "7")
    deleted = Attempts.delete
    left = [3]

    def killed_at_the_fourth(self: Attempts, objects: Sequence[StoredVersion]) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        deleted(self, objects)

    monkeypatch.setattr(Attempts, "delete", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        bucket.night()
    monkeypatch.setattr(Attempts, "delete", deleted)

    assert bucket.night(days=1) == f"{5 * 8} objects deleted, 0 versions purged, 0 bytes freed"

    assert bucket.keys() == before


def test_what_s3_refuses_to_delete_is_an_error_that_a_repeat_may_mend() -> None:
    class Refusing:
        def delete_objects(self, **_: object) -> dict[str, object]:
            refused = {"Key": "k", "Code": "InternalError", "Message": "We encountered an error."}
            return {"Errors": [refused]}

    with pytest.raises(RetryLaterError, match=r"deleted 0 of 1 objects; it refused k: Internal"):
        Attempts(s3.Bucket(Refusing(), "artifacts")).delete([stored("a", "log", timedelta())])


def test_thousands_of_objects_are_deleted_a_thousand_at_a_time() -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def delete_objects(self, **request: Any) -> dict[str, object]:
            self.asked.append(len(request["Delete"]["Objects"]))
            return {}

    client = Counting()
    files = [stored("a", f"{number}", timedelta()) for number in range(2_500)]
    Attempts(s3.Bucket(client, "artifacts")).purge(files)
    assert client.asked == [1000, 1000, 500]


def test_no_setting_deletes_what_a_run_of_a_day_may_still_write() -> None:
    environment = SETTINGS.model_dump(by_alias=True) | {"RSSI_DEAD_ATTEMPTS_DAYS": "1"}
    with pytest.raises(ValueError, match="RSSI_DEAD_ATTEMPTS_DAYS"):
        CleanUpSettings.model_validate(environment)
