"""When sites are observed again, and how long pauses are."""

from datetime import timedelta

import pytest

from tests.agent.agent_world import START, survey_ref
from trainer.agent.core.backoff import backoff_s, jittered
from trainer.agent.core.observed import Listing
from trainer.agent.core.reconcile import NoAction, RetryAt, WaitForRun, WaitUntil
from trainer.agent.core.schedule import SiteSchedule, due_sites

LISTING = Listing((survey_ref(),), None)
HOUR = timedelta(hours=1)


def test_sites_that_never_started_a_run_come_first_and_then_the_longest_ago():
    schedules = {
        "young": SiteSchedule(due=START, last_start=START - HOUR),
        "old": SiteSchedule(due=START, last_start=START - 2 * HOUR),
        "new": SiteSchedule(due=START),
        "later": SiteSchedule(due=START + HOUR),
        "asleep": SiteSchedule(),
    }

    assert due_sites(schedules, START) == ["new", "old", "young"]


def test_a_site_without_anything_to_do_is_settled_for_a_while_only():
    schedule = SiteSchedule(due=START)

    schedule.follow(NoAction("released"), LISTING, START, HOUR)

    assert schedule.due is None
    assert schedule.settled_listing(START + HOUR - timedelta(seconds=1)) == LISTING
    assert schedule.settled_listing(START + HOUR) is None


@pytest.mark.parametrize("decision", [WaitUntil(START), RetryAt(START), WaitForRun()])
def test_a_site_that_waits_is_not_settled(decision):
    schedule = SiteSchedule(settled=LISTING, settled_until=START + HOUR)

    schedule.follow(decision, LISTING, START, HOUR)

    assert schedule.settled_listing(START) is None
    assert schedule.due == getattr(decision, "moment", None)
    assert schedule.waits_for_run is isinstance(decision, WaitForRun)


def test_a_woken_site_is_observed_in_full():
    schedule = SiteSchedule(settled=LISTING, settled_until=START + HOUR)

    schedule.wake(START)

    assert (schedule.due, schedule.settled_listing(START)) == (START, None)


def test_pauses_double_up_to_the_longest_and_are_drawn_from_their_upper_half():
    longest = [backoff_s(failures, 0.5, 3.0, 1.0) for failures in range(1, 6)]

    assert longest == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff_s(3, 0.5, 3.0, 0.0) == 1.0
    assert backoff_s(100_000, 0.5, 3.0, 1.0) == 3.0


def test_an_interval_varies_by_a_tenth():
    assert [jittered(timedelta(seconds=100), share).total_seconds() for share in (0, 0.5, 1)] == [
        90,
        100,
        110,
    ]
