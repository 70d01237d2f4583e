"""What the agent decides about a site, case by case. Pure: nothing but data."""

from datetime import timedelta

import pytest

from tests.agent.agent_world import POLICY, RECIPE, START, survey_ref, training_run
from trainer.agent.core.reconcile import (
    Debounce,
    NoAction,
    Restart,
    RetryAt,
    Start,
    WaitForRun,
    WaitUntil,
    debounce_after,
    debounced,
    decide,
    due_run,
)
from trainer.agent.core.runs import Announced, RunState, RunStatus
from trainer.training.job.outcome import ExitCode

LONG_AGO = START - timedelta(days=1)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def wanted(*surveys):
    return due_run("lab", surveys or (survey_ref(),), (), RECIPE)


def decided(what, *, now=START, seen=LONG_AGO, since=None, runs=(), released=False, policy=POLICY):
    debounce = Debounce(what.run.id, changed_at=seen, unsettled_since=since or seen)
    return decide(what, debounce, runs, policy, now, released=released, template="")


def status(run, state, exit_code=None, *, announced=Announced.END, ended_at=START):
    return RunStatus(
        run=run,
        state=state,
        exit_code=exit_code,
        announced=announced,
        ended_at=None if state is RunState.RUNNING else ended_at,
    )


def test_a_site_without_usable_surveys_has_no_candidate():
    survey = survey_ref()

    assert due_run("lab", (), (), RECIPE) is None
    assert due_run("lab", (survey,), {survey.id}, RECIPE) is None


def test_a_quarantined_survey_is_in_no_snapshot():
    good, bad = survey_ref("good.csv"), survey_ref("bad.csv")

    assert due_run("lab", (good, bad), {bad.id}, RECIPE).snapshot.surveys == (good,)


def test_the_order_of_the_listing_does_not_change_the_run():
    one, other = survey_ref("a.csv"), survey_ref("b.csv")

    assert wanted(one, other).run.id == wanted(other, one).run.id


@pytest.mark.parametrize("changed", [{"version": "v2"}, {"name": "b.csv"}, {"etag": "f"}], ids=str)
def test_another_upload_makes_another_run(changed):
    assert wanted(survey_ref(**changed)).run.id != wanted().run.id


def test_what_was_uploaded_long_ago_starts_at_once_even_when_the_agent_has_just_come():
    what = wanted(survey_ref(uploaded_at=LONG_AGO))

    assert decided(what, seen=START) == Start(what)


def test_a_fresh_upload_waits_for_the_quiet_period():
    what = wanted()

    assert decided(what, seen=START) == WaitUntil(START + POLICY.quiet_period)
    assert decided(what, seen=START, now=START + POLICY.quiet_period) == Start(what)


def test_a_store_whose_clock_runs_ahead_makes_nobody_wait_longer():
    what = wanted(survey_ref(uploaded_at=START + timedelta(hours=2)))

    assert decided(what, seen=START, now=START + POLICY.quiet_period) == Start(what)


def test_an_upload_that_looks_old_only_because_its_time_has_whole_seconds_still_waits():
    quick = POLICY.__class__(seconds(0.2), POLICY.longest_wait, POLICY.retry_after, 1)
    what = wanted(survey_ref(uploaded_at=START))
    seen = START + seconds(0.9)

    assert decided(what, seen=seen, now=seen, policy=quick) == WaitUntil(seen + seconds(0.2))


def test_uploads_that_never_pause_are_sealed_after_the_longest_wait():
    now = START + POLICY.longest_wait
    what = wanted(survey_ref(uploaded_at=now))

    assert decided(what, seen=now, since=START, now=now) == Start(what)


def test_a_release_that_is_there_leaves_nothing_to_do():
    assert isinstance(decided(wanted(), released=True), NoAction)


def test_a_site_whose_run_goes_on_waits_for_its_end():
    running = status(training_run(survey_ref("other.csv")), RunState.RUNNING)

    assert decided(wanted(), runs=[running]) == WaitForRun()


def test_a_run_of_another_site_is_in_nobodys_way_until_all_places_are_taken():
    what = wanted(survey_ref(uploaded_at=LONG_AGO))
    others = [status(training_run(site=site), RunState.RUNNING) for site in ("one", "two")]

    assert decided(what, runs=others[:1]) == Start(what)
    assert decided(what, runs=others) == WaitForRun()


@pytest.mark.parametrize(
    "exit_code",
    [
        ExitCode.CRASHED,
        ExitCode.BAD_DATA,
        ExitCode.NOT_ENOUGH_DATA,
        ExitCode.STALE_SNAPSHOT,
        ExitCode.MISCONFIGURED,
        None,
        137,
    ],
)
def test_a_run_that_would_fail_again_is_not_started_again(exit_code):
    failed = status(wanted().run, RunState.FAILED, exit_code, ended_at=LONG_AGO)

    assert isinstance(decided(wanted(), runs=[failed]), NoAction)


def test_a_failed_run_does_not_keep_other_data_from_being_trained():
    failed = status(training_run(survey_ref("old.csv")), RunState.FAILED, ExitCode.CRASHED)
    what = wanted(survey_ref(uploaded_at=LONG_AGO))

    assert decided(what, runs=[failed]) == Start(what)


@pytest.mark.parametrize(
    ("state", "exit_code"),
    [(RunState.FAILED, ExitCode.TRY_AGAIN), (RunState.SUCCEEDED, ExitCode.DONE)],
    ids=["the network failed", "its release was deleted"],
)
def test_a_run_without_a_release_through_no_fault_of_its_data_is_started_again_later(
    state, exit_code
):
    what = wanted()
    ended = status(what.run, state, exit_code)
    later = START + POLICY.retry_after

    assert decided(what, runs=[ended]) == RetryAt(later)
    assert decided(what, runs=[ended], now=later) == Restart(what)


def test_a_run_is_not_started_again_before_its_end_was_told():
    what = wanted()
    untold = status(what.run, RunState.FAILED, ExitCode.TRY_AGAIN, announced=Announced.START)

    assert decided(what, runs=[untold], now=START + POLICY.retry_after) == WaitForRun()


def test_a_new_candidate_renews_the_quiet_period_but_not_the_longest_wait():
    first = debounced(None, "lab-1", START)
    second = debounced(first, "lab-2", START + seconds(3))

    assert second == Debounce("lab-2", START + seconds(3), unsettled_since=START)
    assert debounced(second, "lab-2", START + seconds(9)) == second


def test_the_longest_wait_begins_anew_once_a_site_is_settled_and_after_a_run():
    debounce = Debounce("lab-1", START, START)
    later = START + seconds(50)

    assert debounce_after(debounce, NoAction("released"), later) is None
    assert debounce_after(debounce, WaitUntil(later), later) == debounce
    assert debounce_after(debounce, WaitForRun(), later).unsettled_since == later
