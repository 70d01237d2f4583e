"""The note that a training process leaves, and its settings: both cross a process border."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.agent.agent_world import METRICS, training_run
from trainer.agent.core.job_template import JobTemplate
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.outcome import (
    MAX_NOTE_BYTES,
    ExitCode,
    OutcomeKind,
    RunOutcome,
    worth_retrying,
)
from trainer.training.settings import JobSettings

RUN = training_run()


@given(st.text(max_size=20_000), st.integers(0, 2000), st.sampled_from(OutcomeKind))
def test_a_note_always_fits_and_can_be_read_again(reason, bad, kind):
    ids = tuple(f"{number:016x}" for number in range(bad))
    outcome = RunOutcome(kind=kind, reason=reason, metrics=METRICS, quarantined=ids)

    note = outcome.note()
    read = RunOutcome.model_validate_json(note)

    assert len(note) <= MAX_NOTE_BYTES
    assert read.kind is kind
    assert reason.startswith(read.reason)
    assert read.metrics == METRICS


def test_a_note_that_fits_is_left_whole():
    outcome = RunOutcome(kind=OutcomeKind.BAD_DATA, reason="two are bad", quarantined=("a", "b"))

    assert RunOutcome.model_validate_json(outcome.note()) == outcome


@pytest.mark.parametrize("kind", OutcomeKind)
def test_every_end_has_an_exit_code(kind):
    assert RunOutcome(kind=kind).exit_code in ExitCode


def test_only_crashes_kills_and_temporary_trouble_are_worth_another_try():
    assert {code for code in (*ExitCode, 137, 143) if worth_retrying(code)} == {
        ExitCode.CRASHED,
        ExitCode.TRY_AGAIN,
        137,
        143,
    }


@given(
    endpoint=st.none() | st.just("http://minio:9000"),
    hyperparameters=st.builds(
        Hyperparameters,
        seed=st.integers(0, 2**32 - 1),
        learning_rate=st.floats(1e-6, 1),
        hidden=st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple),
    ),
)
def test_a_process_reads_from_its_environment_what_its_runner_wrote(endpoint, hyperparameters):
    spec = RUN.spec.model_copy(update={"hyperparameters": hyperparameters.model_dump()})
    run = RUN.model_copy(update={"spec": spec})
    template = JobTemplate(artifact_bucket="artifacts", image="i", data_endpoint_url=endpoint)
    settings = template.settings(run, "pod-1", None)

    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.environment().items():
            environment.setenv(name, value)
        read = JobSettings()

    assert read == settings
    assert Hyperparameters.model_validate(read.run_spec.hyperparameters) == hyperparameters


@pytest.mark.parametrize("attempt", ["", "../up", "a/b", "a b"])
def test_an_attempt_that_could_not_be_part_of_a_key_is_refused(attempt):
    with pytest.raises(ValidationError):
        JobTemplate(artifact_bucket="a", image="i").settings(RUN, attempt, None)
