"""What every runner promises, and what the one with processes adds to it.

The process runner runs small stand-ins for training: what is tested is how it starts, watches,
retries and remembers, not what it runs.
"""

import json
import os
import signal
import sys
from pathlib import Path
from threading import Event

import pytest
import structlog

from ops.dev.fakes.memory_runner import MemoryRunner
from tests.agent.runner_contract import RUN, RunnerContract, eventually, now
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import ProcessLimits
from trainer.agent.core.runs import DEADLINE_EXCEEDED, Announced, RunState
from trainer.agent.errors import RunnerError
from trainer.agent.runners.process.runner import ProcessRunner
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome

# Waits for a file named after its run to appear in the current folder's `orders`, and ends with
# the exit code that is written in it.
OBEDIENT = """
import os, pathlib, sys, time
order = pathlib.Path(os.environ["HOME"], "orders", os.environ["RSSI_RUN_ID"])
print("waiting", flush=True)
while not order.exists(): time.sleep(0.01)
code = int(order.read_text())
print("ending with", code, flush=True)
sys.exit(code)
"""

# Leaves a note, then ends with the note's exit code.
NOTING = """
import os, pathlib, sys
from trainer.training.job.outcome import RunOutcome
note = RunOutcome(kind="not_enough_data", reason="only three rows")
pathlib.Path(os.environ["RSSI_TERMINATION_LOG"]).write_bytes(note.note())
sys.exit(note.exit_code)
"""

# Counts its attempts, and succeeds at the third.
AT_LAST = """
import os, pathlib, sys
count = pathlib.Path(os.environ["HOME"], "count")
done = len(count.read_text()) if count.exists() else 0
count.write_text("x" * (done + 1))
sys.exit(0 if done == 2 else 75)
"""


@pytest.fixture
def make_process_runner(tmp_path):
    """Makes process runners on one work directory; closes them in the end."""
    made = []
    (tmp_path / "orders").mkdir()

    def make(script: str = OBEDIENT, **changes) -> ProcessRunner:
        runner = ProcessRunner(
            work_dir=tmp_path / "runs",
            job_template=JobTemplate(artifact_bucket="artifacts", image="process"),
            environment={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            clock=now,
            log=structlog.get_logger(),
            command=(sys.executable, "-c", script),
            **{
                "on_change": lambda: None,
                "limits": ProcessLimits(backoff_limit=2, backoff_s=0.0, deadline_s=30),
                **changes,
            },
        )
        runner.resume()
        made.append(runner)
        return runner

    yield make
    for runner in made:
        runner.close()


@pytest.fixture(params=["memory", "process", "kubernetes"])
def runner_and_end(request, tmp_path):
    """A runner, and a way to make a run's training end with an exit code."""
    if request.param == "memory":
        memory = MemoryRunner(now)
        return memory, memory.end
    if request.param == "kubernetes":
        world = request.getfixturevalue("kubernetes")
        return world.runner(), world.end
    make = request.getfixturevalue("make_process_runner")

    def end(run_id: str, code: ExitCode) -> None:
        draft = tmp_path / "order"
        draft.write_text(str(int(code)))
        draft.rename(tmp_path / "orders" / run_id)

    return make(), end


class TestEveryRunner(RunnerContract):
    """The contract of tests/agent/runner_contract.py, by every runner."""


def only(runner: ProcessRunner):
    (status,) = runner.runs()
    return status


def end_of(runner: ProcessRunner):
    eventually(lambda: not only(runner).active)
    return only(runner)


def test_a_process_gets_the_variables_of_a_jobs_pod_and_nothing_else(
    make_process_runner, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "1")
    dump = "import json, os; print(json.dumps(dict(os.environ)))"
    runner = make_process_runner(dump)
    runner.start(RUN)

    printed = json.loads(end_of(runner).log_tail[-1])

    variables = {name: value for name, value in printed.items() if name.startswith("RSSI_")}
    assert set(printed) - set(variables) <= {"PATH", "HOME", "LC_CTYPE"}
    assert variables["RSSI_RUN_ID"] == RUN.id
    assert variables["RSSI_SNAPSHOT"] == RUN.snapshot_key
    assert json.loads(variables["RSSI_RUN_SPEC"])["site"] == "lab"


def test_the_note_of_a_process_comes_back_as_its_outcome(make_process_runner):
    runner = make_process_runner(NOTING)
    runner.start(RUN)

    outcome = end_of(runner).outcome

    assert outcome == RunOutcome(kind=OutcomeKind.NOT_ENOUGH_DATA, reason="only three rows")


def test_a_process_that_fails_for_a_while_is_tried_again(make_process_runner):
    runner = make_process_runner(AT_LAST)
    runner.start(RUN)

    assert end_of(runner).state is RunState.SUCCEEDED


@pytest.mark.parametrize(("code", "attempts"), [(1, 3), (75, 3), (42, 1), (43, 1), (0, 1)])
def test_only_exits_that_may_end_otherwise_are_tried_again(
    make_process_runner, tmp_path, code, attempts
):
    runner = make_process_runner(f"raise SystemExit({code})")
    runner.start(RUN)

    assert end_of(runner).exit_code == code
    assert len(list((tmp_path / "runs" / RUN.id).glob("*.log"))) == attempts


def test_a_killed_process_is_told_like_kubernetes_tells_it(make_process_runner):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    runner = make_process_runner(kill, limits=ProcessLimits(backoff_limit=0))
    runner.start(RUN)

    assert end_of(runner).exit_code == 128 + signal.SIGKILL


def test_a_process_that_takes_too_long_is_stopped_with_all_that_it_started(make_process_runner):
    runner = make_process_runner(limits=ProcessLimits(deadline_s=0.2))
    runner.start(RUN)

    assert end_of(runner).reason == DEADLINE_EXCEEDED
    assert end_of(runner).exit_code is None


def test_a_command_that_does_not_exist_is_a_failed_run(make_process_runner):
    runner = make_process_runner()
    runner.command = ("/does/not/exist",)
    runner.start(RUN)

    assert end_of(runner).state is RunState.FAILED
    assert "could not be started" in end_of(runner).reason


def test_the_end_of_a_run_is_called_out(make_process_runner):
    called = Event()
    runner = make_process_runner("pass", on_change=called.set)
    runner.start(RUN)

    assert called.wait(20)


def test_a_restarted_agent_finds_what_ended_and_what_was_announced(make_process_runner):
    before = make_process_runner("print('bye')")
    before.start(RUN)
    end_of(before)
    before.mark_announced(RUN.id, Announced.END)

    after = make_process_runner()

    assert only(after) == only(before)
    assert only(after).log_tail == ("bye",)
    assert only(after).announced is Announced.END


def record_of(tmp_path: Path):
    return json.loads((tmp_path / "runs" / RUN.id / "record.json").read_text())


def test_a_run_that_outlived_its_agent_is_waited_for_and_not_started_twice(
    make_process_runner, tmp_path
):
    note_and_wait = OBEDIENT.replace(
        "sys.exit(code)",
        "note = pathlib.Path(os.environ['RSSI_TERMINATION_LOG'])\n"
        'note.write_text(\'{"kind": "bad_data"}\')\n'
        "sys.exit(code)",
    )
    before = make_process_runner(note_and_wait)
    before.start(RUN)
    eventually(lambda: only(before).state is RunState.RUNNING)
    before._closing.set()  # As dead as it can be within this process: it writes nothing any more.

    after = make_process_runner(note_and_wait)
    (tmp_path / "orders" / RUN.id).write_text("42")

    assert end_of(after).exit_code == ExitCode.BAD_DATA
    assert len(list((tmp_path / "runs" / RUN.id).glob("*.log"))) == 1


def test_a_run_that_was_cut_off_with_its_agent_is_started_anew(make_process_runner, tmp_path):
    before = make_process_runner()
    before.start(RUN)
    eventually(lambda: only(before).state is RunState.RUNNING)
    before.close()
    (tmp_path / "orders" / RUN.id).write_text("0")

    after = make_process_runner()

    assert end_of(after).state is RunState.SUCCEEDED
    assert record_of(tmp_path)["failures"] == 0


def test_closing_leaves_no_process_behind(make_process_runner, tmp_path):
    runner = make_process_runner()
    runner.start(RUN)
    eventually(lambda: only(runner).state is RunState.RUNNING)
    pid = record_of(tmp_path)["process"]["pid"]

    runner.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_id_that_was_given_to_someone_else_is_left_alone(make_process_runner, tmp_path):
    before = make_process_runner()
    before.start(RUN)
    eventually(lambda: only(before).state is RunState.RUNNING)
    before.close()
    path = tmp_path / "runs" / RUN.id / "record.json"
    record = json.loads(path.read_text())
    record["process"] = {"pid": os.getpid(), "start_ticks": 1}
    path.write_text(json.dumps(record))
    (tmp_path / "orders" / RUN.id).write_text("0")

    after = make_process_runner()

    assert end_of(after).state is RunState.SUCCEEDED


def test_a_damaged_record_is_named_instead_of_guessed_at(make_process_runner, tmp_path):
    folder = tmp_path / "runs" / RUN.id
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")

    with pytest.raises(RunnerError, match=r"record\.json"):
        make_process_runner()
