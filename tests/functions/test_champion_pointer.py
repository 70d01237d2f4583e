"""``champion.json``: it says what the ledger says, whoever writes it, however late and often."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aws.s3 import Bucket
from events.manifests import Champion
from events.names import champion_key
from functions.adapters.champions import Champions, StoredPointer
from functions.core.champions import due_pointer
from functions.core.deployments import Candidate, SiteState
from functions.core.errors import ContentionError
from tests.functions.conftest import SITE, AwsWorld
from tests.functions.fakes import MemoryChampions

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def state(version: int, release: int | None, since: datetime = NOW) -> SiteState:
    live = None
    if release is not None:
        live = Candidate(release=f"lab-{release:012x}", digest=f"{release:064x}", model_name="m")
    return SiteState(site=SITE, version=version, champion=live, champion_since=since)


def pointer(version: int, release: int) -> Champion:
    due = due_pointer(state(version, release), None)
    assert due is not None
    return due


@pytest.fixture
def real(aws) -> Champions:
    boto3.client("s3").create_bucket(Bucket="artifacts")
    return Champions(Bucket(boto3.client("s3"), "artifacts"))


@pytest.fixture(params=["real", "memory"])
def champions(request):
    return request.getfixturevalue("real") if request.param == "real" else MemoryChampions()


def test_nothing_lies_where_nobody_wrote(champions):
    assert champions.read(SITE) == StoredPointer(None, None)


def test_what_was_written_is_read(champions):
    assert champions.write(pointer(3, 1), replacing=champions.read(SITE))

    assert champions.read(SITE).champion == pointer(3, 1)


def test_of_two_first_writes_one_is_told_to_look_again(champions):
    nothing = champions.read(SITE)

    assert champions.write(pointer(3, 1), replacing=nothing)
    assert not champions.write(pointer(4, 2), replacing=nothing)
    assert champions.read(SITE).champion == pointer(3, 1)


def test_a_write_that_another_one_overtook_is_told_to_look_again(champions):
    champions.write(pointer(3, 1), replacing=champions.read(SITE))
    seen = champions.read(SITE)
    champions.write(pointer(5, 2), replacing=seen)

    assert not champions.write(pointer(4, 3), replacing=seen)
    assert champions.read(SITE).champion == pointer(5, 2)


def test_what_somebody_wrote_over_by_hand_is_written_anew(real):
    boto3.client("s3").put_object(Bucket="artifacts", Key=champion_key(SITE), Body=b"{}")
    stored = real.read(SITE)

    assert stored.champion is None
    assert real.write(pointer(3, 1), replacing=stored)
    assert real.read(SITE).champion == pointer(3, 1)


@settings(deadline=None)
@given(looks=st.permutations(range(1, 7)), repeats=st.lists(st.integers(1, 6), max_size=6))
def test_looks_at_the_ledger_in_any_order_end_with_the_newest(looks, repeats):
    """Releases 1 to 3 become live in turn, so that each comes back once."""
    stored = None
    for version in [*looks, *repeats]:
        look = state(version, version % 3, since=NOW + timedelta(minutes=version))
        stored = due_pointer(look, stored) or stored

    assert stored is not None
    assert stored.release == pointer(6, 6 % 3).release
    assert stored.ledger_version == 6


def test_a_state_that_changed_otherwise_leaves_the_pointer_as_it_is():
    assert due_pointer(state(9, 1), pointer(3, 1)) is None
    assert due_pointer(state(9, None), None) is None


def written(world: AwsWorld) -> Champion:
    found = world.services.champions.read(SITE).champion
    assert found is not None
    return found


def test_the_pointer_follows_what_is_live_and_a_rollback_too(aws_world):
    first, second = aws_world.put_release(1), aws_world.put_release(2)
    aws_world.settle(aws_world.arrive(first))
    assert (written(aws_world).release, written(aws_world).digest) == (first.run_id, first.digest)
    since = written(aws_world).since

    aws_world.settle(aws_world.arrive(second))
    assert written(aws_world).release == second.run_id

    aws_world.settle(aws_world.ask())
    assert written(aws_world).release == first.run_id
    assert written(aws_world).since > since


def test_a_release_that_fails_its_smoke_test_is_never_pointed_at(aws_world):
    first, liar = aws_world.put_release(1), aws_world.put_release(2)
    aws_world.sagemaker.liars.add(liar.run_id)
    aws_world.settle(aws_world.arrive(first))

    aws_world.settle(aws_world.arrive(liar))

    listed = aws_world.s3.list_object_versions(Bucket="artifacts", Prefix=champion_key(SITE))
    bodies = [
        aws_world.s3.get_object(
            Bucket="artifacts", Key=champion_key(SITE), VersionId=version["VersionId"]
        )["Body"].read()
        for version in listed["Versions"]
    ]
    pointed_at = {Champion.model_validate_json(body).release for body in bodies}
    assert pointed_at == {first.run_id}


def test_reconcile_writes_a_pointer_that_a_step_did_not_live_to_write(aws_world):
    first = aws_world.put_release(1)
    aws_world.settle(aws_world.arrive(first))
    aws_world.s3.delete_object(Bucket="artifacts", Key=champion_key(SITE))

    aws_world.settle(aws_world.tick())

    assert written(aws_world).release == first.run_id


def test_reconcile_writes_nothing_where_the_pointer_is_right(aws_world):
    aws_world.settle(aws_world.arrive(aws_world.put_release(1)))

    for _ in range(3):
        aws_world.settle(aws_world.tick())

    found = aws_world.s3.list_object_versions(Bucket="artifacts", Prefix=champion_key(SITE))
    assert len(found["Versions"]) == 1


def test_a_pointer_that_changes_under_every_attempt_is_left_to_reconcile(world):
    class Contended(MemoryChampions):
        def write(self, champion: Champion, replacing: StoredPointer) -> bool:
            super().write(pointer(champion.ledger_version - 1, 2), replacing=self.read(SITE))
            return super().write(champion, replacing)

    vars(world.services)["champions"] = Contended()

    with pytest.raises(ContentionError, match="reconcile will"):
        world.services.publish_champion(state(3, 1))
