"""Which of several replicas acts. Time is set by hand; the API server is a fake one over HTTP."""

import threading
from datetime import UTC, datetime
from threading import Event

import pytest

from ops.dev.fakes.kubernetes_http import Fault
from tests.agent.runner_contract import eventually
from trainer.agent.runners.kubernetes.lease import LeaderLease, LeaseTimes

QUICK = LeaseTimes(duration_s=1.0, renew_within_s=0.5, retry_s=0.02)


class Seconds:
    """A monotonic clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
def replica(kubernetes, seconds):
    made = []

    def make(identity: str, monotonic=seconds, **changes) -> LeaderLease:
        lease = LeaderLease(
            api=kubernetes.api(sleep=lambda _: None, attempts=1),
            name="rssi-agent",
            identity=identity,
            clock=lambda: datetime.now(UTC),
            monotonic=monotonic,
            log=kubernetes.log,
            times=changes.pop("times", QUICK),
        )
        made.append(lease)
        return lease

    yield make
    for lease in made:
        lease.release()


def holder(kubernetes) -> str:
    return kubernetes.server.read("leases", "rssi-agent")["spec"]["holderIdentity"]


def test_the_first_to_come_leads_and_the_second_stands_by(kubernetes, replica):
    one, two = replica("one"), replica("two")

    assert one.try_to_take()
    assert not two.try_to_take()
    assert holder(kubernetes) == "one"


def test_of_many_that_try_at_once_one_leads(kubernetes, replica):
    leases = [replica(f"replica-{n}") for n in range(6)]
    won = []
    threads = [
        threading.Thread(target=lambda lease=lease: won.append(lease.try_to_take()))
        for lease in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won.count(True) == 1


def test_one_that_dies_is_replaced_once_its_lease_has_run_out(kubernetes, replica, seconds):
    one, two = replica("one"), replica("two")
    one.try_to_take()
    two.try_to_take()
    seconds.now = 0.9
    assert not two.try_to_take()

    seconds.now = 1.1

    assert two.try_to_take()
    assert holder(kubernetes) == "two"
    assert kubernetes.server.read("leases", "rssi-agent")["spec"]["leaseTransitions"] == 1


def test_one_that_renews_is_not_replaced_however_much_time_passes(replica, seconds):
    one, two = replica("one"), replica("two")
    for moment in range(10):
        seconds.now = float(moment)
        assert one.try_to_take()
        assert not two.try_to_take()


def test_one_that_stops_in_order_is_replaced_at_once(kubernetes, replica):
    one, two = replica("one"), replica("two")
    assert one.acquire(Event())
    one.keep(on_lost=lambda: None)

    one.release()

    assert two.try_to_take()


def test_one_that_cannot_renew_in_time_takes_itself_for_deposed(kubernetes, replica, seconds):
    one, notified = replica("one"), Event()
    assert one.acquire(Event())
    one.keep(on_lost=notified.set)
    kubernetes.server.faults.append(Fault("PUT", "leases", 503, times=9999))
    assert not one.lost.is_set()

    seconds.now = 0.6

    assert notified.wait(10)
    assert one.lost.is_set()


def test_a_renewal_that_fails_once_deposes_nobody(kubernetes, replica):
    one = replica("one")
    assert one.acquire(Event())
    one.keep(on_lost=lambda: None)
    kubernetes.server.faults.append(Fault("PUT", "leases", 500))

    def renewed() -> bool:
        answered = [r for r in kubernetes.server.requests if r.method == "PUT"]
        return len(answered) >= 3

    eventually(renewed)
    assert not one.lost.is_set()


def test_standing_by_ends_when_the_agent_is_told_to_stop(replica):
    replica("one").try_to_take()
    stop, waited = Event(), []

    def wait_once() -> None:
        waited.append(1)
        stop.set()

    assert not replica("two").acquire(stop, wait_once)
    assert waited == [1]


def test_an_api_server_that_is_away_is_waited_for(kubernetes, replica):
    kubernetes.server.faults.append(Fault("GET", "leases", 503, times=3))

    assert replica("one").acquire(Event())
    assert "the lease can't be had, trying again" in kubernetes.lines()
