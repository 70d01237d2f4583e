"""Releases that are held, what people decide about them, and sites that a person paused."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.core.candidates.site_policy import GateMode, SitePolicy, policy_parameter
from functions.core.errors import RetryLaterError
from functions.core.releases import GateVerdict
from tests.functions.conftest import SITE, World, envelope

BAD = {"mean_error_m": 11.0, "exact_accuracy": 0.04}


def live(world) -> str:
    return world.state().champion.release


def verdict(world, release) -> GateVerdict:
    return world.services.ledger.release(SITE, release.run_id).verdict


@pytest.fixture(params=["world", "aws_world"])
def any_world(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def held(any_world):
    """A world with a live release and a worse one that is held."""
    good, bad = any_world.put_release(1), any_world.put_release(2, **BAD)
    any_world.settle(any_world.arrive(good))
    any_world.settle(any_world.arrive(bad))
    return any_world, good, bad


def test_a_worse_release_is_held_and_says_by_how_much(held):
    world, good, bad = held

    assert live(world) == good.run_id
    assert verdict(world, bad) is GateVerdict.HELD
    event = world.bus.last("ReleaseHeld")
    assert "worse by 10.00 m" in event["reason"]
    assert f"rssi approve --site lab {bad.run_id}" in event["next_step"]
    assert not event["awaits_approval"]
    assert event["judgement"]["champion"] == good.run_id
    assert "ModelCreated" not in world.bus.kinds()[3:]


def test_nothing_but_a_person_makes_a_held_release_live(held):
    world, good, bad = held
    before = world.bus.kinds()
    model_created = {
        "site": SITE,
        "correlation_id": "c",
        "release": bad.run_id,
        "digest": bad.digest,
        "model_name": "m",
        "cause": "artifact",
        "trigger": "artifact:forged",
        "created_at": bad.created_at.isoformat(),
    }

    world.settle(world.arrive(bad))
    world.settle(
        envelope("ReleaseFound", {"site": SITE, "correlation_id": "c", "release": bad.run_id})
    )
    world.settle(envelope("ModelCreated", model_created))
    world.settle(envelope("ModelCreated", model_created | {"cause": "redeploy"}))
    world.settle(world.tick())
    assert world.bus.kinds() == before
    world.settle(world.ask(to=bad.run_id))

    assert "is held" in world.bus.last("RollbackRefused")["reason"]
    assert live(world) == good.run_id
    assert verdict(world, bad) is GateVerdict.HELD


def test_a_copy_that_asks_for_a_redeployment_does_not_free_a_held_release(aws_world):
    good, bad = aws_world.put_release(1), aws_world.put_release(2, **BAD)
    aws_world.settle(aws_world.arrive(good))
    aws_world.settle(aws_world.arrive(bad))

    aws_world.settle(aws_world.copy(bad, redeploy="now"))

    assert live(aws_world) == good.run_id


def test_an_approved_release_goes_live_and_is_marked_so(held):
    world, _, bad = held

    world.settle(world.decide("ApprovalRequested", bad.run_id))

    assert live(world) == bad.run_id
    record = world.services.ledger.release(SITE, bad.run_id)
    assert (record.verdict, record.decision.by) == (GateVerdict.APPROVED, "on-call")
    approved = world.bus.last("ReleaseApproved")
    assert (approved["approved_by"], approved["reason"]) == ("on-call", "checked")
    assert not approved["judgement"]["is_good"]
    assert world.bus.last("ModelCreated")["approved_by"] == "on-call"


def test_an_approved_release_that_is_older_than_the_live_one_goes_live_too(held):
    world, _, bad = held
    world.settle(world.arrive(world.put_release(3)))

    world.settle(world.decide("ApprovalRequested", bad.run_id))

    assert live(world) == bad.run_id
    world.settle(world.arrive(world.put_release(4)))
    assert "DeploymentSuperseded" not in world.bus.kinds()


def test_a_rejected_release_never_goes_live(held):
    world, good, bad = held

    world.settle(world.decide("RejectionRequested", bad.run_id))
    world.settle(world.arrive(bad), world.tick())
    world.settle(world.decide("ApprovalRequested", bad.run_id, "decision-2"))
    world.settle(world.ask(to=bad.run_id))

    assert live(world) == good.run_id
    assert world.bus.last("ReleaseDeclined")["declined_by"] == "on-call"
    assert "was declined by on-call" in world.bus.last("DecisionRefused")["reason"]
    assert "was rejected by on-call" in world.bus.last("RollbackRefused")["reason"]


@pytest.mark.parametrize("request_", ["ApprovalRequested", "RejectionRequested"])
def test_a_decision_that_comes_again_changes_nothing(held, request_):
    world, _, bad = held
    decision = world.decide(request_, bad.run_id)
    world.settle(decision)
    state, record = world.state(), world.services.ledger.release(SITE, bad.run_id)
    started = world.bus.kinds().count("RolloutStarted")

    world.settle(decision, decision)

    assert world.state() == state
    assert world.services.ledger.release(SITE, bad.run_id) == record
    assert world.bus.kinds().count("RolloutStarted") == started
    assert "DecisionRefused" not in world.bus.kinds()


def test_of_two_operators_the_first_decides(held):
    world, good, bad = held

    world.settle(world.decide("RejectionRequested", bad.run_id, "first"))
    world.settle(world.decide("ApprovalRequested", bad.run_id, "second"))

    assert live(world) == good.run_id
    assert verdict(world, bad) is GateVerdict.DECLINED


@pytest.mark.parametrize(
    ("number", "said"), [(1, "passed the gate"), (9, "ever arrived")], ids=["live", "unknown"]
)
def test_a_decision_about_what_is_not_held_is_refused_with_the_reason(held, number, said):
    world = held[0]

    world.settle(world.decide("ApprovalRequested", world.put_release(number).run_id))

    assert said in world.bus.last("DecisionRefused")["reason"]


def test_a_model_that_was_altered_since_can_not_be_approved(aws_world):
    good, bad = aws_world.put_release(1), aws_world.put_release(2, **BAD)
    aws_world.settle(aws_world.arrive(good))
    aws_world.settle(aws_world.arrive(bad))
    aws_world.s3.put_object(Bucket="artifacts", Key=bad.model.key, Body=b"something else")

    aws_world.settle(aws_world.decide("ApprovalRequested", bad.run_id))

    assert "is not the file" in aws_world.bus.last("DecisionRefused")["reason"]
    assert live(aws_world) == good.run_id


def test_an_approval_whose_announcement_was_lost_is_carried_out(held):
    world, _, bad = held
    world.deliver(world.decide("ApprovalRequested", bad.run_id))
    world.bus.wire.clear()

    world.settle(world.tick())

    assert live(world) == bad.run_id


def test_a_step_that_died_before_it_announced_an_approval_does_so_when_repeated(held):
    world, _, bad = held
    decision = world.decide("ApprovalRequested", bad.run_id)
    world.bus.fail_next = 4
    with pytest.raises(RetryLaterError):
        world.deliver(decision)

    world.settle(decision)

    assert live(world) == bad.run_id
    assert world.bus.kinds().count("ReleaseApproved") == 1


def test_a_site_may_want_every_release_approved(world):
    world.services.policies.policy = SitePolicy(gate=GateMode.APPROVE)
    release = world.put_release(1)

    world.settle(world.arrive(release))
    assert world.state().champion is None
    assert world.bus.last("ReleaseHeld")["awaits_approval"]

    world.settle(world.decide("ApprovalRequested", release.run_id))
    assert live(world) == release.run_id


def test_a_site_may_only_have_the_judgement_recorded(world):
    world.services.policies.policy = SitePolicy(gate=GateMode.REPORT)
    world.settle(world.arrive(world.put_release(1)))
    bad = world.put_release(2, **BAD)

    world.settle(world.arrive(bad))

    assert live(world) == bad.run_id
    assert not world.bus.last("ModelCreated")["judgement"]["is_good"]


def test_policies_come_from_the_stacks_parameters(aws_world):
    ssm = aws_world.services.policies._ssm
    policies = aws_world.services.policies
    assert policies.of("lab") == SitePolicy()

    for site, policy in ((None, SitePolicy(margin_m=2)), ("hall", SitePolicy(gate="approve"))):
        ssm.put_parameter(
            Name=policy_parameter("dev", site), Value=policy.model_dump_json(), Type="String"
        )

    assert policies.of("hall").gate is GateMode.APPROVE
    assert policies.of("lab").margin_m == 0.5
    aws_world.now += timedelta(minutes=1)
    assert policies.of("lab").margin_m == 2


@pytest.fixture
def paused(any_world):
    """A world that was rolled back by hand from its second release to its first."""
    first, second = any_world.put_release(1), any_world.put_release(2)
    any_world.settle(any_world.arrive(first))
    any_world.settle(any_world.arrive(second))
    any_world.settle(any_world.ask())
    return any_world, first, second


def test_a_rollback_by_hand_pauses_the_site(paused):
    world, first, _ = paused

    assert live(world) == first.run_id
    assert world.state().paused.by == "on-call"
    assert world.bus.kinds().count("SitePaused") == 1


def test_an_automatic_rollback_does_not_pause(world):
    good, liar = world.put_release(1), world.put_release(2)
    world.sagemaker.liars.add(liar.run_id)
    world.settle(world.arrive(good))

    world.settle(world.arrive(liar))

    assert world.bus.kinds()[-1] == "RolledBack"
    assert world.state().paused is None


def test_what_arrives_at_a_paused_site_waits_and_the_newest_is_deployed_when_resumed(paused):
    world, first, _ = paused
    third, fourth, bad = (
        world.put_release(3),
        world.put_release(4),
        world.put_release(5, **BAD),
    )
    for release in (third, fourth, bad):
        world.settle(world.arrive(release), world.tick())

    assert live(world) == first.run_id
    assert world.state().waiting.candidate.release == fourth.run_id
    assert verdict(world, bad) is GateVerdict.HELD

    world.settle(world.decide("ResumeRequested"))

    assert live(world) == fourth.run_id
    assert world.state().paused is None
    assert world.bus.last("SiteResumed")["release"] == fourth.run_id
    assert world.bus.last("DeploymentSuperseded")["release"] == third.run_id


def test_a_paused_site_can_be_rolled_back_again(paused):
    world, _, second = paused

    world.settle(world.ask(to=second.run_id, event_id="request-2"))

    assert live(world) == second.run_id
    assert world.state().paused is not None
    assert world.bus.kinds().count("SitePaused") == 1


def test_an_approved_release_waits_while_the_site_is_paused(paused):
    world, first, _ = paused
    bad = world.put_release(3, **BAD)
    world.settle(world.arrive(bad))

    world.settle(world.decide("ApprovalRequested", bad.run_id))
    assert live(world) == first.run_id
    world.settle(world.decide("ResumeRequested", event_id="decision-2"))

    assert live(world) == bad.run_id


def test_a_resumption_from_before_the_pause_changes_nothing(paused):
    world, _, second = paused
    old = world.decide("ResumeRequested")
    world.settle(old)
    world.now += timedelta(minutes=1)
    world.settle(world.ask(to=second.run_id, event_id="request-2"))

    world.settle(old)

    assert world.state().paused is not None
    assert live(world) == second.run_id


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_in_whatever_order_things_happen_no_held_release_goes_live_and_no_paused_site_moves(data):
    world = World()
    releases = [
        world.put_release(number, **(BAD if number > 1 and data.draw(st.booleans()) else {}))
        for number in range(1, 6)
    ]
    is_bad = {release.run_id for release in releases if release.metrics.mean_error_m == 11.0}
    world.settle(world.arrive(releases[0]))
    approved: set[str] = set()
    steps = st.sampled_from(["arrive", "approve", "reject", "rollback", "resume", "tick"])
    for number in range(data.draw(st.integers(1, 14))):
        step, release = data.draw(steps), data.draw(st.sampled_from(releases))
        was_paused, before = world.state().paused is not None, live(world)
        world.now += timedelta(seconds=30)
        decision = f"decision-{number}"
        if step == "arrive":
            world.settle(world.arrive(release))
        elif step == "approve":
            world.settle(world.decide("ApprovalRequested", release.run_id, decision))
        elif step == "reject":
            world.settle(world.decide("RejectionRequested", release.run_id, decision))
        elif step == "rollback":
            world.settle(world.ask(event_id=decision))
        elif step == "resume":
            world.settle(world.decide("ResumeRequested", event_id=decision))
        else:
            world.settle(world.tick())
        approved |= {
            record.run_id
            for record in world.services.ledger.releases(SITE)
            if record.verdict is GateVerdict.APPROVED
        }
        assert live(world) not in is_bad - approved
        if was_paused and step not in ("rollback", "resume"):
            assert live(world) == before
