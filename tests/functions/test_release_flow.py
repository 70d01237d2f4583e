"""A release's way through the cloud side: four functions, one ledger, an endpoint that moves."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.core.deployments import DeploymentState
from functions.core.errors import RetryLaterError
from functions.core.releases import GateVerdict
from tests.functions.conftest import ENDPOINT, SITE, World, envelope, make_release, object_created


def live(world: World) -> str:
    champion = world.state().champion
    assert champion is not None
    return champion.release


def test_the_first_release_becomes_live_after_its_smoke_test(aws_world):
    first = aws_world.put_release(1)

    aws_world.settle(aws_world.arrive(first))

    assert live(aws_world) == first.run_id
    assert aws_world.bus.kinds() == ["ModelCreated", "RolloutStarted", "DeploymentSucceeded"]
    assert aws_world.state().in_flight is None
    assert aws_world.state().outbox == ()


def test_a_second_release_replaces_the_first_and_remembers_it(world):
    first, second = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))

    world.settle(world.arrive(second))

    assert live(world) == second.run_id
    assert world.state().previous_champion.release == first.run_id
    assert world.bus.last("DeploymentSucceeded")["previous"] == first.run_id


def test_the_correlation_id_runs_from_the_survey_to_the_endpoint(world):
    first = world.put_release(1)

    world.settle(world.arrive(first))

    newest_survey = first.snapshot.correlation_id
    assert {detail["correlation_id"] for _, detail in world.bus.said} == {newest_survey}


def test_a_release_that_answers_wrongly_goes_back_by_itself_and_that_is_tested_too(world):
    first, liar = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.sagemaker.liars.add(liar.run_id)
    before = len(world.bus.said)

    world.settle(world.arrive(liar))

    assert live(world) == first.run_id
    assert world.bus.kinds()[before:] == [
        "ModelCreated",
        "RolloutStarted",
        "SmokeTestFailed",
        "ModelCreated",
        "RolloutStarted",
        "RolledBack",
    ]
    back = world.bus.last("RolledBack")
    assert back["automatic"]
    assert back["from_release"] == liar.run_id
    assert "answers differ" in back["reason"]
    assert world.state().previous_champion is None


def test_a_container_that_never_comes_up_leaves_the_former_release_live(world):
    first, broken = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.sagemaker.broken_models.add(broken.run_id)

    world.settle(world.arrive(broken))

    assert live(world) == first.run_id
    failure = world.bus.last("DeploymentFailed")
    assert failure["release"] == broken.run_id
    assert "ping health check" in failure["reason"]
    assert not failure["frozen"]


def test_a_first_release_that_never_comes_up_can_be_followed_by_a_good_one(world):
    broken, good = world.put_release(1), world.put_release(2)
    world.sagemaker.broken_models.add(broken.run_id)
    world.settle(world.arrive(broken))
    arrival = world.arrive(good)
    world.deliver(arrival)
    [request] = [event for event in world.bus.wire if event["detail-type"] == "ModelCreated"]
    world.bus.wire.clear()

    with pytest.raises(RetryLaterError, match="is being deleted"):
        world.deliver(request)
    world.settle(request)

    assert live(world) == good.run_id


def test_a_first_release_that_answers_wrongly_is_taken_off_the_endpoint(world):
    liar = world.put_release(1)
    world.sagemaker.liars.add(liar.run_id)

    world.settle(world.arrive(liar))

    assert world.state().champion is None
    assert ENDPOINT not in world.sagemaker.endpoints
    assert "nothing was live before" in world.bus.last("DeploymentFailed")["reason"]


def test_a_rollback_without_a_target_goes_to_what_was_live_before(world):
    first, second = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.settle(world.arrive(second))

    world.settle(world.ask())

    assert live(world) == first.run_id
    back = world.bus.last("RolledBack")
    assert not back["automatic"]
    assert back["from_release"] == second.run_id


def test_any_earlier_release_can_be_put_back(world):
    releases = [world.put_release(number) for number in (1, 2, 3)]
    for release in releases:
        world.settle(world.arrive(release))

    world.settle(world.ask(to=releases[0].run_id))

    assert live(world) == releases[0].run_id
    assert world.state().previous_champion.release == releases[2].run_id


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("lab-000000000000", "ever arrived"), (None, "nothing to go back to")],
)
def test_a_rollback_that_can_not_be_done_is_refused_with_the_reason(world, wanted, said):
    world.settle(world.arrive(world.put_release(1)))

    world.settle(world.ask(to=wanted))

    assert said in world.bus.last("RollbackRefused")["reason"]
    assert world.bus.kinds().count("RolloutStarted") == 1


def test_a_rollback_to_what_is_live_is_refused(world):
    first = world.put_release(1)
    world.settle(world.arrive(first))

    world.settle(world.ask(to=first.run_id))

    assert "live at lab already" in world.bus.last("RollbackRefused")["reason"]


def test_a_repeated_rollback_request_rolls_back_once(world):
    first, second = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.settle(world.arrive(second))

    world.settle(world.ask(), world.ask())
    world.settle(world.ask())

    assert live(world) == first.run_id
    assert world.bus.kinds().count("RolledBack") == 1


def test_a_rollback_whose_release_fails_returns_to_the_champion(world):
    first, second = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.settle(world.arrive(second))
    world.sagemaker.liars.add(first.run_id)

    world.settle(world.ask())

    assert live(world) == second.run_id
    assert world.bus.last("RolledBack")["from_release"] == first.run_id


def test_when_the_way_back_fails_too_the_endpoint_is_frozen_until_a_rollback_by_hand(world):
    first, liar, third = (world.put_release(number) for number in (1, 2, 3))
    world.settle(world.arrive(first))
    world.sagemaker.liars |= {first.run_id, liar.run_id}
    world.settle(world.arrive(liar))

    assert "no other release to put back" in world.state().frozen

    assert world.bus.last("DeploymentFailed")["frozen"]
    world.settle(world.arrive(third))
    assert world.state().waiting.candidate.release == third.run_id

    world.sagemaker.liars.clear()
    world.settle(world.ask(to=first.run_id))

    assert live(world) == first.run_id
    assert world.state().frozen is None

    world.settle(world.decide("ResumeRequested"))

    assert live(world) == third.run_id


def test_a_mixed_fleet_is_left_alone(world):
    first, second = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.sagemaker.endpoints[ENDPOINT]["EndpointStatus"] = "UpdateRollbackFailed"
    asked = list(world.sagemaker.updates)

    world.settle(world.arrive(second))

    assert world.sagemaker.updates == asked
    assert world.bus.last("DeploymentFailed")["frozen"]


def test_releases_that_arrive_during_a_rollout_wait_and_the_latest_wins(world):
    releases = [world.put_release(number) for number in (1, 2, 3)]
    arrivals = [world.arrive(release) for release in releases]

    world.settle(*arrivals)

    assert live(world) == releases[2].run_id
    assert world.bus.last("DeploymentSuperseded")["release"] == releases[1].run_id
    assert world.bus.kinds().count("RolloutStarted") == 2


def test_an_older_release_that_comes_late_does_not_replace_a_newer_one(world):
    old, new = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(new))

    world.settle(world.arrive(old))

    assert live(world) == new.run_id
    assert world.bus.last("DeploymentSuperseded")["release"] == old.run_id


def test_a_copy_of_a_manifest_changes_nothing(aws_world):
    first, second = aws_world.put_release(1), aws_world.put_release(2)
    aws_world.settle(aws_world.arrive(first))
    aws_world.settle(aws_world.arrive(second))
    before = list(aws_world.bus.kinds())

    aws_world.settle(aws_world.copy(first), aws_world.copy(second), aws_world.tick())

    assert live(aws_world) == second.run_id
    assert aws_world.bus.kinds() == before


def test_a_copy_that_keeps_the_metadata_of_a_redeployment_changes_nothing(aws_world):
    first, second = aws_world.put_release(1), aws_world.put_release(2)
    aws_world.settle(aws_world.arrive(first))
    aws_world.settle(aws_world.copy(first, redeploy="2026-11-01"))
    aws_world.settle(aws_world.arrive(second))

    aws_world.settle(aws_world.copy(first, redeploy="2026-11-01"))
    assert live(aws_world) == second.run_id

    aws_world.settle(aws_world.copy(first, redeploy="2026-11-02"))
    assert live(aws_world) == first.run_id


def test_a_copy_whose_metadata_says_so_redeploys_that_release(aws_world):
    first, second = aws_world.put_release(1), aws_world.put_release(2)
    aws_world.settle(aws_world.arrive(first))
    aws_world.settle(aws_world.arrive(second))

    aws_world.settle(aws_world.copy(first, redeploy="today"))

    assert live(aws_world) == first.run_id
    assert aws_world.bus.last("DeploymentSucceeded")["cause"] == "redeploy"


def test_redeploying_what_is_live_only_tests_it_again(aws_world):
    first = aws_world.put_release(1)
    aws_world.settle(aws_world.arrive(first))

    aws_world.settle(aws_world.copy(first, redeploy="today"))

    assert aws_world.bus.kinds().count("DeploymentSucceeded") == 2
    assert len(aws_world.sagemaker.updates) == 1


def test_an_altered_model_artifact_is_rejected_and_nothing_else_changes(aws_world):
    first, second = aws_world.put_release(1), aws_world.put_release(2)
    aws_world.settle(aws_world.arrive(first))
    aws_world.s3.put_object(Bucket="artifacts", Key=second.model.key, Body=b"something else")

    aws_world.settle(aws_world.arrive(second))

    assert live(aws_world) == first.run_id
    assert (
        "is not the file that release.json describes"
        in aws_world.bus.last("ReleaseRejected")["reason"]
    )
    assert aws_world.services.ledger.release(SITE, second.run_id).verdict is GateVerdict.REJECTED


def test_an_unreadable_manifest_is_rejected_with_the_field(aws_world):
    event = aws_world.arrive(aws_world.put_release(1))
    key = event["detail"]["object"]["key"]
    aws_world.s3.put_object(Bucket="artifacts", Key=key, Body=b'{"schema_version": 1}')

    aws_world.settle(event)

    assert "site: Field required" in aws_world.bus.last("ReleaseRejected")["reason"]


def test_a_rewritten_manifest_is_rejected_and_the_registered_release_stays(aws_world):
    first = aws_world.put_release(1)
    aws_world.settle(aws_world.arrive(first))

    aws_world.settle(aws_world.arrive(first.model_copy(update={"digest": "0" * 64})))

    assert "a release never changes" in aws_world.bus.last("ReleaseRejected")["reason"]
    assert aws_world.services.ledger.release(SITE, first.run_id).verdict is GateVerdict.REGISTERED


@pytest.mark.parametrize(
    ("key", "bucket", "outcome"),
    [
        ("sites/lab/releases/lab-0123456789ab/release.json", "artifacts", "gone"),
        ("sites/lab/releases/lab-0123456789ab/release.json", "of-someone-else", "not our bucket"),
        (
            "sites/lab/releases/lab-0123456789ab/attempts/1/model.tar.gz",
            "artifacts",
            "not a release",
        ),
        ("sites/lab/snapshots/abc.json", "artifacts", "not a release"),
    ],
)
def test_events_that_are_no_release_of_ours_change_nothing(world, key, bucket, outcome):
    assert world.deliver(object_created(key, "v1", bucket=bucket)) == [outcome]
    assert world.bus.said == []


def test_the_endpoint_of_another_system_is_none_of_our_business(world):
    event = envelope(
        "SageMaker Endpoint State Change",
        {"EndpointName": "MyEndpoint", "EndpointStatus": "IN_SERVICE"},
    )

    assert world.deliver(event) == ["not our endpoint", "not our endpoint"]


def test_an_event_with_a_field_missing_is_set_aside_with_the_reason(aws_world):
    event = envelope("ModelCreated", {"site": SITE})

    assert aws_world.deliver(event) == ["unreadable"]

    [letter] = aws_world.dead_letters()
    assert json.loads(letter["Body"]) == event
    assert "detail.release" in letter["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]


def test_an_event_with_unknown_fields_is_handled(world):
    event = world.arrive(world.put_release(1))
    event["detail"]["colour"] = "blue"
    event["shape"] = "round"

    assert world.deliver(event) == ["model created"]


def test_an_event_lost_by_a_step_that_died_is_published_by_the_next(world):
    first = world.put_release(1)
    world.deliver(world.arrive(first))
    [request] = world.bus.wire
    world.bus.wire.clear()
    world.bus.fail_next = 4

    with pytest.raises(RetryLaterError, match="RolloutStarted"):
        world.deliver(request)
    world.settle(request)

    assert world.bus.kinds() == ["ModelCreated", "RolloutStarted", "DeploymentSucceeded"]
    assert live(world) == first.run_id


def test_a_rollout_waits_while_the_endpoint_is_busy_with_something_else(world):
    first, second = world.put_release(1), world.put_release(2)
    world.settle(world.arrive(first))
    world.sagemaker.endpoints[ENDPOINT]["EndpointStatus"] = "SystemUpdating"
    world.deliver(world.arrive(second))
    request = world.bus.wire.pop()

    with pytest.raises(RetryLaterError, match="middle of another change"):
        world.deliver(request)
    assert world.state().in_flight.state is DeploymentState.PENDING
    world.sagemaker.endpoints[ENDPOINT]["EndpointStatus"] = "InService"
    world.settle(
        envelope(
            "SageMaker Endpoint State Change",
            {"EndpointName": ENDPOINT, "EndpointStatus": "IN_SERVICE"},
        )
    )

    assert live(world) == second.run_id


def test_an_endpoint_that_no_longer_exists_is_not_taken_for_success(world):
    first = world.put_release(1)
    world.deliver(world.arrive(first))
    world.deliver(world.bus.wire.pop())
    world.bus.wire.clear()
    world.sagemaker.endpoints.clear()

    world.settle(
        envelope(
            "SageMaker Endpoint State Change",
            {"EndpointName": ENDPOINT, "EndpointStatus": "IN_SERVICE"},
        )
    )

    assert world.state().champion is None
    assert "no such endpoint" in world.bus.last("DeploymentFailed")["reason"]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_events_may_come_twice_late_and_in_any_order(data):
    world, releases, liars = world_with_liars(data)

    deliver_in_any_order(world, [world.arrive(release) for release in releases], data)

    check_settled(world, liars)
    if not liars:
        assert live(world) == releases[2].run_id


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_events_are_lost_reconciling_reaches_the_same_end(data):
    world, releases, liars = world_with_liars(data)

    deliver_in_any_order(world, [world.arrive(release) for release in releases], data, lose=True)
    for _ in range(12):
        world.settle(world.tick())
    spoken = len(world.bus.said)
    world.settle(world.tick())

    check_settled(world, liars)
    assert len(world.bus.said) == spoken, "nothing is left to find"
    written = world.services.champions.read(SITE).champion
    assert (written and written.release) == (world.state().champion and live(world))
    if not liars:
        assert live(world) == releases[2].run_id


def test_a_release_whose_arrival_nobody_heard_of_is_found(world):
    first = world.put_release(1)
    world.arrive(first)

    world.settle(world.tick())

    assert live(world) == first.run_id
    assert world.bus.kinds()[0] == "ReleaseFound"


def test_a_registered_release_that_nobody_asked_to_deploy_is_found_whenever_it_arrived(world):
    old, new = world.put_release(1), world.put_release(2)
    world.deliver(world.arrive(new))
    world.bus.wire.clear()
    world.now += timedelta(seconds=1)
    world.settle(world.arrive(old))

    world.settle(world.tick())

    assert live(world) == new.run_id


def test_a_late_arrival_of_a_release_that_was_found_deploys_nothing_twice(world):
    first = world.put_release(1)
    arrival = world.arrive(first)
    world.settle(world.tick())

    world.settle(arrival)

    assert world.bus.kinds().count("DeploymentSucceeded") == 1


def test_a_deployment_whose_end_nobody_heard_of_is_looked_at_again(world):
    first = world.put_release(1)
    world.deliver(world.arrive(first))
    world.deliver(world.bus.wire.pop())
    world.sagemaker.advance()
    world.bus.wire.clear()

    world.settle(world.tick())

    assert live(world) == first.run_id
    assert world.bus.last("DeploymentStalled")["state"] == "rolling"


def test_a_deployment_that_moves_is_left_alone(world):
    first = world.put_release(1)
    world.deliver(world.arrive(first))
    world.deliver(world.bus.wire.pop())
    tick = envelope("Scheduled Event", {})

    assert world.deliver(tick) == ["0 releases found, 0 deployments stalled"]


def world_with_liars(data):
    """Three releases, some of the later ones answering wrongly."""
    world = World()
    releases = [world.put_release(number) for number in (1, 2, 3)]
    liars = data.draw(st.sets(st.sampled_from([release.run_id for release in releases[1:]])))
    world.sagemaker.liars |= liars
    return world, releases, liars


def check_settled(world, liars):
    state = world.state()
    assert state.in_flight is None
    assert state.waiting is None
    assert state.outbox == ()
    if state.champion is not None:
        assert state.champion.release not in liars
        config = world.sagemaker.endpoints[ENDPOINT]["EndpointConfigName"]
        assert str(config).startswith(state.champion.release)


def deliver_in_any_order(world, wire, data, *, lose=False):
    """Deliver events in an order that Hypothesis chooses, some again, until nothing is left."""
    history: list[dict[str, object]] = []
    for _ in range(400):
        wire += world.bus.wire
        world.bus.wire.clear()
        if not wire and not world.sagemaker.advance():
            return
        if not wire:
            continue
        event = wire.pop(data.draw(st.integers(0, len(wire) - 1)))
        if lose and data.draw(st.integers(0, 3)) == 0:
            continue
        history.append(event)
        try:
            world.deliver(event)
        except RetryLaterError:
            wire.append(event)
        if len(history) < 40 and data.draw(st.booleans()):
            wire.append(data.draw(st.sampled_from(history)))
    raise AssertionError("it never settles")


def test_releases_made_by_this_file_are_distinct():
    assert len({make_release(number).run_id for number in range(1, 5)}) == 4
