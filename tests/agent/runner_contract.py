"""What every runner promises: one class of tests, shared by all of them and by tests/cluster."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.agent.agent_world import survey_ref, training_run
from trainer.agent.core.runs import Announced, RunState
from trainer.agent.errors import ForeignJobError
from trainer.agent.runners.indexed import IndexedWork
from trainer.training.job.outcome import ExitCode

RUN = training_run()
OTHER = training_run(survey_ref("other.csv"))


def eventually(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until something happened; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class RunnerContract:
    """Takes a runner, and a way to end its runs, from the fixture ``runner_and_end``."""

    @pytest.fixture(autouse=True)
    def _take(self, runner_and_end):
        self.runner, self.end = runner_and_end

    def status(self, run=RUN):
        return next(status for status in self.runner.runs() if status.run.id == run.id)

    def ended(self, run=RUN):
        eventually(lambda: not self.status(run).active)
        return self.status(run)

    def test_knows_no_run_at_first(self):
        assert self.runner.runs() == ()

    def test_remembers_what_it_started(self):
        self.runner.start(RUN)

        assert self.status().run == RUN
        assert self.status().active
        assert self.status().announced is Announced.NOTHING
        assert self.status().started_at <= now()

    def test_starts_a_run_only_once(self):
        self.runner.start(RUN)
        self.runner.start(RUN)

        assert len(self.runner.runs()) == 1

    def test_keeps_runs_apart(self):
        self.runner.start(RUN)
        self.runner.start(OTHER)
        self.end(OTHER.id, ExitCode.DONE)

        assert self.ended(OTHER).state is RunState.SUCCEEDED
        assert self.status(RUN).active

    def test_tells_a_success(self):
        self.runner.start(RUN)
        self.end(RUN.id, ExitCode.DONE)

        assert self.ended().state is RunState.SUCCEEDED
        assert self.ended().exit_code == 0
        assert self.ended().ended_at >= self.ended().started_at
        assert self.ended().reason is None

    def test_tells_a_failure_with_its_exit_code(self):
        self.runner.start(RUN)
        self.end(RUN.id, ExitCode.BAD_DATA)

        assert self.ended().state is RunState.FAILED
        assert self.ended().exit_code == ExitCode.BAD_DATA

    def test_does_not_start_an_ended_run_again_unless_it_is_forgotten(self):
        self.runner.start(RUN)
        self.end(RUN.id, ExitCode.BAD_DATA)
        self.ended()
        self.runner.start(RUN)
        assert not self.status().active

        self.runner.forget(RUN.id)
        assert self.runner.runs() == ()
        self.runner.start(RUN)
        assert len(self.runner.runs()) == 1

    def test_says_what_the_run_was_started_with(self):
        self.runner.start(RUN)

        assert self.status().template == self.runner.template

    def test_keeps_what_was_announced_beyond_the_end(self):
        self.runner.start(RUN)
        self.runner.mark_announced(RUN.id, Announced.START)
        self.end(RUN.id, ExitCode.DONE)
        self.ended()
        self.runner.mark_announced(RUN.id, Announced.END)

        assert self.status().announced is Announced.END

    def test_forgets_no_run_that_is_not_known(self):
        self.runner.forget(RUN.id)

        assert self.runner.runs() == ()

    def test_forgets_no_run_that_goes_on(self):
        self.runner.start(RUN)
        self.runner.forget(RUN.id)

        assert self.status().active

    def test_remembers_what_was_announced(self):
        self.runner.start(RUN)
        self.runner.mark_announced(RUN.id, Announced.START)

        assert self.status().announced is Announced.START


WORK = IndexedWork(
    name="lab-tune-0123456789ab",
    site="lab",
    module="obedient_number",
    environment={"RSSI_PLAN": "plan.json"},
    completions=3,
    parallelism=2,
)


class IndexedContract:
    """What runners of numbered processes promise.

    Takes one, and a way to end a number, from the fixture ``indexed_and_end``.
    """

    @pytest.fixture(autouse=True)
    def _take_indexed(self, indexed_and_end):
        self.indexed, self.end_number = indexed_and_end

    def ended_work(self):
        eventually(lambda: not self.indexed.look(WORK.name).active)
        return self.indexed.look(WORK.name)

    def test_knows_no_work_at_first(self):
        assert self.indexed.look(WORK.name) is None

    def test_has_started_work_once_however_often_it_is_told_to(self):
        self.indexed.start(WORK)
        self.indexed.start(WORK)

        assert self.indexed.look(WORK.name).active
        assert self.indexed.look(WORK.name).succeeded == 0

    def test_takes_the_same_work_for_the_same_however_many_should_do_it_at_once(self):
        self.indexed.start(WORK)
        self.indexed.start(WORK.model_copy(update={"parallelism": 1}))

        assert self.indexed.look(WORK.name).active

    def test_takes_no_other_work_under_the_same_name(self):
        self.indexed.start(WORK)

        with pytest.raises(ForeignJobError):
            self.indexed.start(WORK.model_copy(update={"completions": 4}))

    def test_has_succeeded_when_every_number_has(self):
        self.indexed.start(WORK)
        for index in (1, 0):
            self.end_number(WORK.name, index, ExitCode.DONE)
        eventually(lambda: self.indexed.look(WORK.name).succeeded == 2)
        assert self.indexed.look(WORK.name).active
        self.end_number(WORK.name, 2, ExitCode.DONE)

        assert self.ended_work().state is RunState.SUCCEEDED
        assert self.ended_work().succeeded == 3

    def test_has_failed_as_soon_as_a_number_has_for_good(self):
        self.indexed.start(WORK)
        self.end_number(WORK.name, 1, ExitCode.NOT_ENOUGH_DATA)

        assert self.ended_work().state is RunState.FAILED
        assert "43" in self.ended_work().reason

    def test_does_not_start_ended_work_again_unless_it_is_forgotten(self):
        self.indexed.start(WORK)
        self.end_number(WORK.name, 0, ExitCode.BAD_DATA)
        self.ended_work()
        self.indexed.start(WORK)
        assert not self.indexed.look(WORK.name).active

        self.indexed.forget(WORK.name)
        eventually(lambda: self.indexed.look(WORK.name) is None)
        self.indexed.start(WORK)
        assert self.indexed.look(WORK.name).active

    def test_forgets_no_work_that_goes_on_or_is_not_known(self):
        self.indexed.forget(WORK.name)
        self.indexed.start(WORK)
        self.indexed.forget(WORK.name)

        assert self.indexed.look(WORK.name).active
