"""One contract for the ledger and its twin in memory; and what only the real one can show."""

import json
from datetime import UTC, datetime
from functools import partial

import boto3
import pytest

from events.outbound import Cause, ModelCreated
from events.triggers import Trigger
from functions.adapters.ledger import Ledger
from functions.core.deployments import (
    Change,
    Deployment,
    DeploymentState,
    SiteState,
)
from functions.core.errors import ContentionError
from functions.core.releases import GateVerdict, ReleaseRecord
from functions.core.transitions import (
    open_deployment,
)
from tests.functions.conftest import create_ledger_table
from tests.functions.fakes import MemoryLedger

NOW = datetime(2026, 11, 1, tzinfo=UTC)
RUN = "lab-0123456789ab"


def request(trigger: str = "artifact:v1") -> ModelCreated:
    return ModelCreated(
        site="lab",
        correlation_id="c",
        release=RUN,
        digest="ab" * 32,
        model_name="m",
        cause=Cause.ARTIFACT,
        trigger=trigger,
        created_at=NOW,
    )


def opening(trigger: str = "artifact:v1"):
    return partial(open_deployment, request=request(trigger))


@pytest.fixture
def real(aws) -> Ledger:
    client = boto3.client("dynamodb")
    create_ledger_table(client)
    return Ledger(client, "ledger")


@pytest.fixture(params=["real", "memory"])
def ledger(request):
    return request.getfixturevalue("real") if request.param == "real" else MemoryLedger()


def test_a_site_nobody_heard_of_has_an_empty_state(ledger):
    assert ledger.state("lab") == SiteState(site="lab")


def test_a_change_is_there_for_the_next_reader(ledger):
    after = ledger.change("lab", opening(), NOW)

    assert ledger.state("lab") == after
    assert after.version == 1
    assert after.in_flight.number == 1


def test_the_same_trigger_opens_one_deployment(ledger):
    ledger.change("lab", opening(), NOW)

    assert ledger.change("lab", opening(), NOW).next_number == 2
    assert ledger.change("lab", opening("artifact:v2"), NOW).next_number == 3
    assert ledger.opened_by("lab", Trigger.parse("artifact:v2")).number == 2
    assert ledger.opened_by("lab", Trigger.parse("artifact:v3")) is None


def test_a_transition_that_changes_nothing_writes_nothing(ledger):
    before = ledger.change("lab", opening(), NOW)

    assert ledger.change("lab", lambda state, _: Change(state), NOW) == before


def test_sites_do_not_see_each_other(ledger):
    ledger.change("lab", opening(), NOW)

    assert ledger.state("hall").version == 0
    assert ledger.sites() == ["lab"]


def test_a_release_is_remembered(ledger):
    record = ReleaseRecord(site="lab", run_id=RUN, verdict=GateVerdict.REGISTERED, arrived_at=NOW)

    ledger.remember(record)

    assert ledger.release("lab", RUN) == record
    assert ledger.releases("lab") == [record]
    assert ledger.release("lab", "lab-ffffffffffff") is None


def test_a_state_that_changes_under_every_attempt_is_given_up_with_an_error(real):
    hasty = Ledger(boto3.client("dynamodb"), "ledger", sleep=lambda _: None)
    real.change("lab", opening(), NOW)
    numbers = iter(range(1000))

    def interrupted(state: SiteState, now: datetime) -> Change:
        Ledger.change(
            real,
            "lab",
            lambda state, _: Change(state.model_copy(update={"frozen": str(next(numbers))})),
            NOW,
        )
        return Change(state.model_copy(update={"frozen": "mine"}))

    with pytest.raises(ContentionError, match="nothing was written"):
        hasty.change("lab", interrupted, NOW)
    assert real.state("lab").frozen != "mine"


def test_a_ledger_keeps_its_keys_so_that_older_and_newer_readers_share_it():
    candidate = {"release": "lab-0123456789ab", "digest": "0" * 64, "model_name": "m"}
    written = json.dumps({"site": "lab", "version": 3, "former": candidate})

    state = SiteState.model_validate_json(written)

    assert state.previous_champion.release == candidate["release"]
    assert json.loads(state.model_dump_json())["former"]["release"] == candidate["release"]
    assert DeploymentState("unfit") is DeploymentState.VERIFICATION_FAILED
    record = ReleaseRecord(
        site="lab", run_id="lab-0123456789ab", verdict=GateVerdict.REJECTED, arrived_at=NOW
    )
    assert json.loads(record.model_dump_json())["standing"] == "rejected"
    assert ReleaseRecord.model_validate_json(record.model_dump_json()) == record
    assert {"previous", "leaves"} <= set(Deployment.model_json_schema()["properties"])
