"""The pure judgements: what became of a rollout, whether answers are right, what may pass."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from events.manifests import SmokeAnswer
from events.names import ReleaseKey
from functions.core.candidates.manifest_gate import StoredObject, check_release
from functions.core.rollout import (
    EndpointAction,
    EndpointDescription,
    RolloutStatus,
    judge,
    next_action,
)
from functions.core.smoke import (
    EndpointResponse,
    ResultKind,
    SmokeBudget,
    SmokeResult,
    judge_results,
    smoke_requests,
)
from functions.core.specification import (
    EndpointSpecification,
    FleetSpecification,
    ModelSpecification,
)
from tests.functions.conftest import make_release

ASKED = datetime(2026, 11, 1, 12, tzinfo=UTC)
NEW, OLD = "config-new", "config-old"
LONG_AFTER = timedelta(minutes=10)
AT_ONCE = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("status", "config", "failure_reason", "after", "outcome"),
    [
        ("InService", NEW, None, LONG_AFTER, RolloutStatus.ARRIVED),
        ("InService", NEW, None, AT_ONCE, RolloutStatus.ARRIVED),
        ("InService", NEW, "left over from an earlier update", LONG_AFTER, RolloutStatus.ARRIVED),
        ("InService", OLD, None, LONG_AFTER, RolloutStatus.FELL_BACK),
        ("InService", OLD, "ping failed", LONG_AFTER, RolloutStatus.FELL_BACK),
        ("InService", OLD, "ping failed", AT_ONCE, RolloutStatus.FELL_BACK),
        ("InService", OLD, None, AT_ONCE, RolloutStatus.UNSETTLED),
        ("Creating", NEW, None, LONG_AFTER, RolloutStatus.IN_PROGRESS),
        ("Updating", OLD, None, LONG_AFTER, RolloutStatus.IN_PROGRESS),
        ("SystemUpdating", NEW, None, LONG_AFTER, RolloutStatus.IN_PROGRESS),
        ("RollingBack", OLD, "alarm", LONG_AFTER, RolloutStatus.IN_PROGRESS),
        ("Deleting", NEW, None, LONG_AFTER, RolloutStatus.IN_PROGRESS),
        ("Failed", NEW, "ping failed", LONG_AFTER, RolloutStatus.DEAD),
        ("OutOfService", NEW, None, LONG_AFTER, RolloutStatus.DEAD),
        ("UpdateRollbackFailed", OLD, None, LONG_AFTER, RolloutStatus.MIXED),
        ("UpdateRollbackFailed", NEW, None, LONG_AFTER, RolloutStatus.MIXED),
    ],
)
def test_only_in_service_on_the_configuration_asked_for_counts_as_arrived(
    status, config, failure_reason, after, outcome
):
    view = EndpointDescription(status, config, failure_reason=failure_reason)

    assert judge(view, NEW, requested_at=ASKED, now=ASKED + after) is outcome


def test_an_endpoint_that_is_not_there_is_dead():
    assert judge(None, NEW, requested_at=ASKED, now=ASKED) is RolloutStatus.DEAD


@pytest.mark.parametrize(
    ("view", "move"),
    [
        (None, EndpointAction.CREATE),
        (EndpointDescription("InService", OLD), EndpointAction.UPDATE),
        (EndpointDescription("OutOfService", OLD), EndpointAction.UPDATE),
        (EndpointDescription("InService", NEW), EndpointAction.NOTHING),
        (EndpointDescription("Creating", NEW), EndpointAction.NOTHING),
        (EndpointDescription("Creating", OLD), EndpointAction.WAIT),
        (EndpointDescription("Updating", OLD, pending_config_name=NEW), EndpointAction.NOTHING),
        (EndpointDescription("Updating", OLD, pending_config_name="another"), EndpointAction.WAIT),
        (EndpointDescription("Updating", OLD), EndpointAction.WAIT),
        (EndpointDescription("Updating", NEW), EndpointAction.WAIT),
        (EndpointDescription("RollingBack", OLD), EndpointAction.WAIT),
        (EndpointDescription("Failed", OLD), EndpointAction.REPLACE),
        (EndpointDescription("UpdateRollbackFailed", OLD), EndpointAction.FREEZE),
    ],
)
def test_the_next_move_follows_from_what_the_endpoint_is(view, move):
    assert next_action(view, NEW) is move


def answers(release, *, run=None, digest=None, **changes):
    predictions = tuple(case.answer.model_copy(update=changes) for case in release.smoke)
    return EndpointResponse(
        release=run or release.run_id, digest=digest or release.digest, predictions=predictions
    )


def report(release, batch, *, latency=5.0, **singles):
    """A smoke test with this answer to the whole set, and `singles` in place of some results."""
    results = []
    for request in smoke_requests(release):
        if not request.rows:
            results.append(SmokeResult(request, ResultKind.REFUSED))
            continue
        predictions = batch.predictions
        if len(request.rows) == 1:
            predictions = predictions[request.rows[0] : request.rows[0] + 1]
        answer = batch.model_copy(update={"predictions": predictions})
        results.append(SmokeResult(request, ResultKind.ANSWERED, latency, answer))
    for index, changes in singles.items():
        position = int(index.removeprefix("at_"))
        results[position] = dataclasses.replace(results[position], **changes)
    return judge_results(release, results, latency_bound_ms=100.0)


def test_the_recorded_answers_from_the_right_release_in_time_pass():
    release = make_release(1)

    assert report(release, answers(release)).passed


def test_differences_of_rounding_pass():
    release = make_release(1)

    assert report(release, answers(release, x=1.00005, confidence=0.50005)).passed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": "lab-ffffffffffff"}, "answers as release lab-ffffffffffff"),
        ({"digest": "0" * 64}, "answers as release"),
        ({"location": "Z99"}, "61 of 61 answers differ"),
        ({"x": 1.01}, "answers differ"),
        ({"y": None}, "answers differ"),
        ({"confidence": 0.6}, "answers differ"),
        ({"x": float("nan")}, "answers differ"),
    ],
)
def test_another_release_or_another_answer_fails_with_the_reason(changes, said):
    release = make_release(1)

    verdict = report(release, answers(release, **changes))

    assert not verdict.passed
    assert said in verdict.reason


def test_a_wrong_number_of_answers_fails():
    release = make_release(1)
    batch = answers(release)
    short = batch.model_copy(update={"predictions": batch.predictions[:-1]})

    assert "4 rows were sent and 3 answered" in report(release, short).reason


NO_RESPONSE = {"response": None, "text": "why"}


def test_one_wrong_answer_among_many_fails():
    release = make_release(1)
    wrong = SmokeAnswer(location="Q", x=0, y=0, confidence=1)
    response = EndpointResponse(release=release.run_id, digest=release.digest, predictions=(wrong,))

    assert (
        "1 of 61 answers differ"
        in report(release, answers(release), at_7={"response": response}).reason
    )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ResultKind.BROKEN, "1 of 61 requests failed (why)"),
        (ResultKind.REFUSED, "1 of 61 requests failed (why)"),
        (ResultKind.TIMED_OUT, "no answer to 1 of 63 requests: why"),
    ],
)
def test_a_request_without_an_answer_fails(kind, reason):
    release = make_release(1)

    assert report(release, answers(release), at_5={"kind": kind, **NO_RESPONSE}).reason == reason


def test_requests_that_did_not_reach_the_container_prove_nothing():
    release = make_release(1)

    verdict = report(release, answers(release), at_5={"kind": ResultKind.LOST, **NO_RESPONSE})

    assert not verdict.passed
    assert not verdict.problems
    assert "1 of 63 requests did not reach the container (why)" in verdict.inconclusive


def test_a_wrong_answer_is_a_verdict_although_other_requests_were_lost():
    release = make_release(1)

    verdict = report(
        release, answers(release, x=9.0), at_5={"kind": ResultKind.LOST, **NO_RESPONSE}
    )

    assert verdict.problems
    assert not verdict.inconclusive


@pytest.mark.parametrize("kind", [ResultKind.ANSWERED, ResultKind.BROKEN])
def test_a_malformed_request_that_is_not_refused_fails(kind):
    release = make_release(1)

    assert "malformed" in report(release, answers(release), at_62={"kind": kind}).reason


def test_a_smoke_test_meets_every_instance():
    release = make_release(1)

    assert len([request for request in smoke_requests(release, 1) if len(request.rows) == 1]) == 60
    assert len([one for one in smoke_requests(release, 20) if len(one.rows) == 1]) == 200


@pytest.mark.parametrize("bound_ms", [1.0, 1000.0, 60_000.0])
def test_the_budget_of_a_smoke_test_lets_two_waves_time_out(bound_ms):
    budget = SmokeBudget.of(bound_ms)

    assert budget.request_s >= 3 * bound_ms / 1000
    assert budget.total_s >= 2 * budget.request_s


def test_a_few_slow_answers_pass_and_more_than_one_in_twenty_do_not():
    release = make_release(1)
    late = {"milliseconds": 101.0}

    assert report(release, answers(release), **{f"at_{at}": late for at in range(1, 4)}).passed
    assert not report(release, answers(release), **{f"at_{at}": late for at in range(1, 6)}).passed


def test_an_endpoint_that_answers_too_late_fails():
    release = make_release(1)

    assert "100 ms allowed" in report(release, answers(release), latency=101.0).reason


def checked(release, **changes):
    key = changes.pop("stored_at", ReleaseKey(release.site, release.run_id))
    stored = changes.pop("stored", StoredObject(release.model.size, release.model.sha256))
    known = changes.pop("known_digest", None)
    return check_release(release, key, stored, known, changes.pop("now", release.created_at))


def test_a_release_that_is_what_it_says_passes_the_gate():
    release = make_release(1)

    assert checked(release) == []
    assert checked(release, known_digest=release.digest) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stored": None}, "is not there"),
        ({"stored": StoredObject(1, "0" * 64)}, "is not the file that release.json describes"),
        ({"stored_at": ReleaseKey("hall", "hall-0123456789ab")}, "is stored where"),
        ({"known_digest": "0" * 64}, "a release never changes"),
    ],
)
def test_a_release_that_is_not_what_it_says_is_refused_with_the_reason(changes, said):
    [reason] = checked(make_release(1), **changes)

    assert said in reason


@pytest.mark.parametrize(("ahead", "is_refused"), [(5, False), (6, True)])
def test_a_release_from_the_future_is_refused(ahead, is_refused):
    release = make_release(1)

    reasons = checked(release, now=release.created_at - timedelta(minutes=ahead))

    assert ["in the future" in reason for reason in reasons] == [True] * is_refused


def test_a_model_from_elsewhere_is_refused():
    release = make_release(1)
    moved = release.model.model_copy(update={"key": "sites/lab/releases/other/model.tar.gz"})

    [reason] = checked(release.model_copy(update={"model": moved}))
    assert "own attempt" in reason


@pytest.mark.parametrize(
    "wrong",
    [{"exact_accuracy": 1.5}, {"held_out_rows": 0}, {"mean_error_m": float("inf")}],
)
def test_metrics_that_mean_nothing_are_refused(wrong):
    release = make_release(1)
    metrics = release.metrics.model_copy(update=wrong)

    assert checked(release.model_copy(update={"metrics": metrics}))


def test_names_follow_from_content():
    model = ModelSpecification(
        release="lab-0123456789ab", image="i:1", model_data_url="s3://b/k", execution_role_arn="r"
    )
    fleet = FleetSpecification(instance_type="ml.t2.medium", instance_count=1)
    config = EndpointSpecification(release=model.release, model_name=model.name, fleet=fleet)

    assert model.name == model.model_copy().name
    assert model.name != model.model_copy(update={"image": "i:2"}).name
    larger = fleet.model_copy(update={"instance_count": 2})
    assert config.name != config.model_copy(update={"fleet": larger}).name
    assert config.name.startswith("lab-0123456789ab-")
