"""What the bus hears about the end of a run: whole sentences that a person can act on."""

import pytest

from events.manifests import Quarantine, Snapshot
from events.outbound import SurveyQuarantined, TrainingFailed, TrainingSucceeded
from tests.agent.agent_world import START, release_of, survey_ref, training_run
from trainer.agent.core import run_events
from trainer.agent.core.runs import DEADLINE_EXCEEDED, RunState, RunStatus
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome

RUN = training_run()


def failed(exit_code=None, **changes) -> RunStatus:
    fields = {"run": RUN, "state": RunState.FAILED, "exit_code": exit_code, "ended_at": START}
    return RunStatus.model_validate(fields | changes)


def reason_of(status: RunStatus) -> str:
    (event,) = run_events.ended(status, None, ())
    assert isinstance(event, TrainingFailed)
    return event.reason


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (failed(ExitCode.BAD_DATA), "upload them again"),
        (failed(ExitCode.NOT_ENOUGH_DATA), "Upload more labelled fingerprints"),
        (failed(ExitCode.STALE_SNAPSHOT), "is trained next"),
        (failed(ExitCode.TRY_AGAIN), "tried again later"),
        (failed(ExitCode.MISCONFIGURED), "Correct what is named here"),
        (failed(ExitCode.CRASHED), "exit code 1"),
        (failed(137), "exit code 137"),
        (failed(reason=DEADLINE_EXCEEDED), "Raise the deadline"),
        (failed(reason="the disk is full"), "the disk is full"),
        (failed(137, reason="OOMKilled"), "resources.limits.memory"),
        (failed(reason="DeadlineExceeded: ImagePullBackOff: no such"), "imagePullSecrets"),
        (
            failed(reason="DeadlineExceeded: FailedCreate: violates PodSecurity"),
            "namespace's labels",
        ),
        (failed(reason="DeadlineExceeded: FailedCreate: exceeded quota: q"), "Raise the quota"),
        (failed(reason="DeadlineExceeded: Unschedulable: 0/3 nodes"), "Add nodes"),
        (failed(reason="Evicted: low on memory"), "retried automatically"),
        (failed(reason="DeadlineExceeded: CreateContainerConfigError: x"), "Create it"),
        (failed(0, state=RunState.SUCCEEDED), "not in the artifact bucket"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_end_has_a_reason_that_says_what_to_do(status, words):
    assert words in reason_of(status)


def test_every_exit_code_that_names_a_cause_has_a_meaning_of_its_own():
    reasons = {code: reason_of(failed(code)) for code in ExitCode if code is not ExitCode.DONE}

    assert len(set(reasons.values())) == len(reasons)


def test_the_note_of_the_training_process_is_part_of_the_reason():
    note = RunOutcome(kind=OutcomeKind.NOT_ENOUGH_DATA, reason="there are 3 rows")

    assert "there are 3 rows" in reason_of(failed(ExitCode.NOT_ENOUGH_DATA, outcome=note))


def test_a_log_without_end_does_not_make_an_event_that_the_bus_refuses():
    endless = RunOutcome(kind=OutcomeKind.FAILED, reason="x" * 1_000_000)
    status = failed(1, outcome=endless, log_tail=tuple("y" * 1_000_000 for _ in range(100)))

    (event,) = run_events.ended(status, None, ())

    assert len(event.model_dump_json().encode()) < 64 * 1024


def test_only_what_this_run_found_bad_is_told_with_its_end():
    ours = Quarantine(site="lab", survey=survey_ref("a.csv"), reason="broken", run_id=RUN.id)
    others = Quarantine(site="lab", survey=survey_ref("b.csv"), reason="broken")

    events = run_events.ended(failed(ExitCode.BAD_DATA), None, [ours, others])

    assert [type(event) for event in events] == [SurveyQuarantined, TrainingFailed]
    assert isinstance(events[0], SurveyQuarantined)
    assert events[0].survey == ours.survey
    assert {event.correlation_id for event in events} == {RUN.correlation_id}


def test_a_run_with_a_release_succeeded_however_its_process_ended():
    release = release_of(RUN, Snapshot.of("lab", [survey_ref()]))

    (event,) = run_events.ended(failed(137), release, ())

    assert isinstance(event, TrainingSucceeded)
    assert event.digest == release.digest
