"""An API server that restarts, is overloaded, forgets, refuses or falls silent.

Scripted over real HTTP with the official client. Pauses are noted, not waited for.
"""

import threading
from threading import Event

import pytest

from ops.dev.fakes.kubernetes_http import Fault
from tests.agent.runner_contract import RUN, eventually
from trainer.agent.errors import ClusterError, ConfigurationError
from trainer.agent.runners.kubernetes.access import find_access
from trainer.agent.runners.kubernetes.watch import JobWatch
from trainer.agent.work_queue import WorkQueue


def statuses(kubernetes, method: str) -> int:
    return sum(request.method == method for request in kubernetes.server.requests)


class TestCreating:
    def test_goes_on_after_a_500_although_the_job_was_made_and_answers_409_then(self, kubernetes):
        kubernetes.server.faults.append(Fault("POST", "jobs", 500, done_first=True))

        kubernetes.runner().start(RUN)

        assert [job.metadata.name for job in kubernetes.server.jobs()] == [RUN.id]
        assert statuses(kubernetes, "POST") == 2

    def test_goes_on_after_an_answer_that_was_lost(self, kubernetes):
        kubernetes.server.faults.append(Fault("POST", "jobs", None, done_first=True))

        kubernetes.runner().start(RUN)

        assert [job.metadata.name for job in kubernetes.server.jobs()] == [RUN.id]

    def test_goes_on_after_an_answer_that_never_came(self, kubernetes):
        kubernetes.server.faults.append(Fault("POST", "jobs", None, done_first=True, delay_s=0.5))

        kubernetes.runner(api=kubernetes.api(timeout_s=(1.0, 0.1))).start(RUN)

        assert [job.metadata.name for job in kubernetes.server.jobs()] == [RUN.id]

    def test_says_what_the_server_found_wrong_with_it(self, kubernetes):
        kubernetes.server.faults.append(Fault("POST", "jobs", 422))

        with pytest.raises(ClusterError, match="422 on request"):
            kubernetes.runner().start(RUN)
        assert kubernetes.pauses == [], "what is wrong stays wrong"


class TestARequest:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_is_repeated_while_the_server_is_in_trouble(self, kubernetes, status):
        kubernetes.server.faults.append(Fault("GET", "jobs", status, times=3))

        assert kubernetes.runner().runs() == ()

        assert len(kubernetes.pauses) == 3
        assert kubernetes.pauses == sorted(kubernetes.pauses), "each pause is longer"
        assert kubernetes.pauses[0] > 0

    def test_waits_as_long_as_the_server_asks(self, kubernetes):
        kubernetes.server.faults.append(Fault("GET", "jobs", 429, retry_after_s=7))

        kubernetes.runner().runs()

        assert 7 <= kubernetes.pauses[0] < 8

    def test_does_not_wait_for_hours_because_a_server_asks_for_it(self, kubernetes):
        kubernetes.server.faults.append(Fault("GET", "jobs", 503, retry_after_s=99_999))

        kubernetes.runner().runs()

        assert kubernetes.pauses[0] < 60

    def test_is_given_up_after_a_while_and_says_so(self, kubernetes):
        kubernetes.server.faults.append(Fault("GET", "jobs", 503, times=99))

        with pytest.raises(ClusterError, match="503") as caught:
            kubernetes.runner().runs()

        assert caught.value.status == 503
        assert statuses(kubernetes, "GET") == 5, "no hot loop"

    def test_is_not_repeated_when_it_is_forbidden(self, kubernetes):
        kubernetes.server.faults.append(Fault("GET", "jobs", 403, times=99))

        with pytest.raises(ClusterError, match="403"):
            kubernetes.runner().runs()
        assert statuses(kubernetes, "GET") == 1

    def test_is_repeated_with_the_new_token_after_the_old_one_was_rotated(self, kubernetes):
        kubernetes.server.token = "old"
        runner = kubernetes.runner()
        assert runner.runs() == ()
        kubernetes.server.token = "new"
        kubernetes.api()  # writes the kubeconfig anew, as a rotation writes the token's file

        assert runner.runs() == ()
        assert len(kubernetes.pauses) == 1

    def test_that_nobody_answers_is_told_from_one_that_is_refused(self, kubernetes):
        runner = kubernetes.runner()
        kubernetes.server.stop()

        with pytest.raises(ClusterError, match="no answer") as caught:
            runner.runs()
        assert caught.value.status is None

    def test_survives_a_restart_of_the_api_server(self, kubernetes):
        started = Event()

        def restart(_seconds: float) -> None:
            if not started.is_set():
                started.set()
                kubernetes.server.start()

        runner = kubernetes.runner(api=kubernetes.api(sleep=restart))
        runner.start(RUN)
        kubernetes.server.stop()

        assert len(runner.runs()) == 1

    def test_counts_what_went_wrong(self, kubernetes):
        failed = []
        kubernetes.server.faults.append(Fault("GET", "jobs", 500, times=2))

        kubernetes.runner(api=kubernetes.api(on_failure=lambda: failed.append(1))).runs()

        assert len(failed) == 2

    def test_that_a_proxy_answers_with_a_page_is_no_crash(self, kubernetes):
        kubernetes.server.logs["pod"] = "no json"
        api = kubernetes.api()

        with pytest.raises(ClusterError, match="can't be read"):
            api.create("/api/v1/namespaces/rssi/pods/pod/log", {})


class TestAListing:
    def test_that_took_too_long_is_begun_again(self, kubernetes):
        kubernetes.runner().start(RUN)
        kubernetes.server.faults.append(Fault("GET", "jobs", 410))

        assert len(kubernetes.runner().runs()) == 1

    def test_whose_place_is_always_too_old_is_given_up(self, kubernetes):
        kubernetes.server.faults.append(Fault("GET", "jobs", 410, times=99))

        with pytest.raises(ClusterError, match="410"):
            kubernetes.runner().runs()


class TestALog:
    def test_that_cannot_be_had_does_not_hide_how_the_run_ended(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        kubernetes.server.finish(RUN.id, 1, log="gone with the node")
        kubernetes.server.faults.append(Fault("GET", "/log", 404))

        (status,) = runner.runs()

        assert (status.exit_code, status.log_tail) == (1, ())


@pytest.fixture
def watching(kubernetes):
    """Watches in a thread; gives the count of calls and the watch."""
    changes, stop = [], Event()
    watch = JobWatch(
        kubernetes.api(),
        lambda: changes.append(1),
        stop,
        kubernetes.log,
        lasts_s=1,
        grace_s=0.3,
        random_share=lambda: 0.0,
    )
    thread = threading.Thread(target=watch.run)

    def begin():
        thread.start()
        eventually(lambda: bool(changes))
        eventually(lambda: statuses(kubernetes, "WATCH") > 0)
        return changes

    yield begin
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


class TestTheWatch:
    def test_calls_out_when_a_job_changes(self, kubernetes, watching):
        changes = watching()
        before = len(changes)

        kubernetes.runner().start(RUN)

        eventually(lambda: len(changes) > before)

    def test_is_begun_again_when_its_place_is_too_old(self, kubernetes, watching):
        changes = watching()
        kubernetes.server.forget_history()
        eventually(lambda: "the watch on Jobs ended, beginning again" in kubernetes.lines())
        before = len(changes)

        kubernetes.runner().start(RUN)

        eventually(lambda: len(changes) > before)

    def test_that_is_answered_with_410_is_begun_again_after_a_pause(self, kubernetes, watching):
        kubernetes.server.faults.append(Fault("WATCH", status=410, times=2))
        changes = watching()
        eventually(lambda: statuses(kubernetes, "WATCH") == 3)

        before = len(changes)
        kubernetes.runner().start(RUN)

        eventually(lambda: len(changes) > before)

    def test_that_stalls_in_silence_is_noticed(self, kubernetes, watching):
        # Far longer than the test waits: only a read timeout can end it in time.
        kubernetes.server.faults.append(Fault("WATCH", status=None, delay_s=60.0))
        changes = watching()
        eventually(lambda: statuses(kubernetes, "WATCH") > 1)
        before = len(changes)

        kubernetes.runner().start(RUN)

        eventually(lambda: len(changes) > before)

    def test_survives_a_restart_of_the_api_server(self, kubernetes, watching):
        changes = watching()
        kubernetes.server.stop()
        eventually(lambda: "the watch on Jobs ended, beginning again" in kubernetes.lines())
        kubernetes.server.start()
        before = len(changes)

        eventually(lambda: len(changes) > before)

    def test_is_not_repeated_without_a_pause_when_it_is_forbidden(self, kubernetes):
        kubernetes.server.faults.append(Fault("GET", "jobs", 403, times=9999))
        stop = PausesThenStops(after=8)

        JobWatch(kubernetes.api(), WorkQueue().wake, stop, kubernetes.log).run()

        assert statuses(kubernetes, "GET") == 8
        assert stop.pauses[-1] > 20
        assert max(stop.pauses) <= 60


class PausesThenStops(Event):
    """Remembers the pauses that it was asked for, and stops after some."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self._after = after

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) == self._after:
            self.set()
        return self.is_set()


def test_without_a_way_into_a_cluster_the_agent_says_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match="KUBECONFIG"):
        find_access({"KUBECONFIG": str(tmp_path / "missing")})
