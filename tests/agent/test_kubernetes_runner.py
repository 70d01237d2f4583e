"""What the Kubernetes runner asks of a cluster, and what it makes of the answers.

Over HTTP with the official client, to a fake API server.
"""

import json

import pytest

from events.outbound import TrainingFailed
from tests.agent.agent_world import METRICS, survey_ref, training_run
from tests.agent.runner_contract import OTHER, RUN
from trainer.agent.core import run_events
from trainer.agent.core.limits import JobLimits
from trainer.agent.core.runs import Announced, RunState
from trainer.agent.errors import ForeignJobError, RunnerError
from trainer.agent.runners.kubernetes.runner import dropped
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome
from trainer.training.settings import JobSettings

POD_SECURITY = (
    'Error creating: pods "lab-x" is forbidden: violates PodSecurity "restricted:latest": '
    "runAsNonRoot != true"
)


def only(runner):
    (status,) = runner.runs()
    return status


def container(kubernetes):
    return kubernetes.server.manifest(RUN.id)["spec"]["template"]["spec"]["containers"][0]


class TestTheJob:
    def test_is_named_by_its_run_and_labelled_with_its_site(self, kubernetes):
        kubernetes.runner().start(RUN)

        metadata = kubernetes.server.manifest(RUN.id)["metadata"]
        assert metadata["name"] == RUN.id
        assert metadata["labels"]["rssi-mlops/site"] == "lab"

    def test_tells_its_pod_what_to_train_and_names_the_attempt_by_the_pods_uid(
        self, kubernetes, monkeypatch
    ):
        kubernetes.runner().start(RUN)

        for variable in container(kubernetes)["env"]:
            value = variable.get("value", "the-uid-of-the-pod")
            monkeypatch.setenv(variable["name"], value)
        settings = JobSettings()
        assert settings.run_spec == RUN.spec
        assert settings.image == kubernetes.pods.image
        assert settings.attempt == "the-uid-of-the-pod"
        by_field = [v for v in container(kubernetes)["env"] if "valueFrom" in v]
        assert [v["valueFrom"]["fieldRef"]["fieldPath"] for v in by_field] == ["metadata.uid"]

    def test_retries_what_may_end_otherwise_and_nothing_else(self, kubernetes):
        kubernetes.limits = JobLimits(backoff_limit=3, deadline_s=60, keep_s=120)
        kubernetes.runner().start(RUN)

        spec = kubernetes.server.manifest(RUN.id)["spec"]
        fail, ignore = spec["podFailurePolicy"]["rules"]
        assert fail["action"] == "FailJob"
        assert fail["onExitCodes"]["values"] == [42, 43, 44, 78]
        assert ignore["action"] == "Ignore"
        assert ignore["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["podReplacementPolicy"] == "Failed"
        limits = ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
        assert [spec[name] for name in limits] == [3, 60, 120]

    def test_carries_no_secret_of_the_agents_environment(self, kubernetes):
        kubernetes.runner().start(RUN)

        manifest = json.dumps(kubernetes.server.manifest(RUN.id))
        assert "SECRET" not in manifest
        assert "AWS_REGION" in manifest


class TestAJobThatIsThereAlready:
    def test_is_taken_for_a_success_when_it_is_the_same_run(self, kubernetes):
        kubernetes.runner().start(RUN)
        kubernetes.runner().start(RUN)

        assert len(kubernetes.server.jobs()) == 1

    def test_is_refused_when_it_is_not_ours(self, kubernetes):
        job = {"metadata": {"name": RUN.id}, "spec": {"template": {}}}
        kubernetes.server.create("jobs", job)

        with pytest.raises(ForeignJobError, match="delete or rename"):
            kubernetes.runner().start(RUN)

    def test_is_refused_when_it_is_another_runs(self, kubernetes):
        kubernetes.runner().start(RUN)
        changed = OTHER.model_dump_json()
        kubernetes.server.patch(
            "jobs", RUN.id, {"metadata": {"annotations": {"rssi-mlops/training-run": changed}}}
        )

        with pytest.raises(ForeignJobError, match=RUN.id):
            kubernetes.runner().start(RUN)

    def test_is_waited_for_while_it_is_being_deleted(self, kubernetes):
        kubernetes.runner().start(RUN)
        deleting = {"metadata": {"deletionTimestamp": "2026-11-01T12:00:00Z"}}
        kubernetes.server.patch("jobs", RUN.id, deleting)

        with pytest.raises(RunnerError, match="still being deleted"):
            kubernetes.runner().start(RUN)

    def test_is_passed_over_in_listings_when_it_is_not_ours_and_said_once(self, kubernetes):
        labels = {"app.kubernetes.io/managed-by": "rssi-agent"}
        job = {"metadata": {"name": "other", "labels": labels}, "spec": {"template": {}}}
        kubernetes.server.create("jobs", job)
        runner = kubernetes.runner()

        assert runner.runs() == runner.runs() == ()
        assert kubernetes.lines().count("a Job is ignored") == 1


class TestAnOldServer:
    def test_is_said_once_to_have_dropped_what_it_does_not_know(self, kubernetes):
        kubernetes.server.drops = ("podFailurePolicy", "podReplacementPolicy", "suspend")
        runner = kubernetes.runner()
        runner.start(RUN)
        runner.start(OTHER)

        warnings = [call.kwargs for call in kubernetes.said.calls if "fields" in call.kwargs]
        (warning,) = warnings
        assert warning["fields"] == ["spec.podReplacementPolicy", "spec.podFailurePolicy"]

    def test_is_not_blamed_for_what_it_adds_or_changes(self):
        sent = {"a": 1, "b": [{"c": 1}], "d": False, "e": [], "f": {"g": 1}}
        made = {"a": 2, "b": [{"c": 1, "x": 2}], "new": 1, "f": {"g": 1}}

        assert list(dropped(sent, made)) == []

    def test_is_seen_through_when_it_drops_a_part_of_a_part(self):
        assert list(dropped({"b": [{"c": 1}]}, {"b": [{}]})) == ["b[0].c"]
        assert list(dropped({"a": {"b": 1}}, {"a": None})) == ["a"]


class TestTheEnd:
    def test_has_the_note_that_the_trainer_left(self, kubernetes):
        outcome = RunOutcome(kind=OutcomeKind.SUCCEEDED, digest="0" * 64, metrics=METRICS)
        runner = kubernetes.runner()
        runner.start(RUN)
        kubernetes.server.finish(RUN.id, 0, message=outcome.note().decode())

        assert only(runner).outcome == outcome

    def test_has_the_logs_last_lines_and_keeps_them_beyond_the_pod(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        log = "\n".join(f"line {n}" for n in range(50))
        kubernetes.server.finish(RUN.id, 1, log=log)
        seen = only(runner)

        kubernetes.server.remove_pods(RUN.id)
        kubernetes.server.logs.clear()

        assert seen.log_tail[-1] == "line 49"
        assert len(seen.log_tail) == 20
        assert only(kubernetes.runner()) == seen, "another agent sees the same"

    def test_is_known_by_its_code_though_its_pod_went_before_anyone_looked(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        kubernetes.server.finish(RUN.id, 42)
        kubernetes.server.remove_pods(RUN.id)

        assert only(runner).exit_code == ExitCode.BAD_DATA

    def test_is_told_from_the_conditions_that_come_before_it(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        early = [{"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}]
        kubernetes.server.set_status(RUN.id, active=1, conditions=early)

        assert only(runner).active

    def test_has_the_log_that_kubernetes_put_in_place_of_a_note(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        kubernetes.server.finish(RUN.id, 1, message="Traceback\nValueError: no beacons")
        kubernetes.server.logs.clear()

        assert only(runner).outcome is None
        assert only(runner).log_tail == ("Traceback", "ValueError: no beacons")

    @pytest.mark.parametrize("code", [ExitCode.CRASHED, 137])
    def test_is_that_of_the_attempt_that_ended_last(self, kubernetes, code):
        runner = kubernetes.runner()
        runner.start(RUN)
        first = {"exitCode": 75, "finishedAt": "2026-11-01T12:00:00Z"}
        status = {"name": "trainer", "state": {"terminated": first}}
        kubernetes.server.add_pod(RUN.id, {"phase": "Failed", "containerStatuses": [status]})
        kubernetes.server.finish(RUN.id, int(code))

        assert only(runner).exit_code == code


class TestTheReason:
    @pytest.mark.parametrize("log_is_there", [True, False], ids=["with a log", "its log is gone"])
    def test_names_a_lack_of_memory_with_the_last_lines_though_no_note_was_left(
        self, kubernetes, log_is_there
    ):
        lines = "reading surveys\nfitting"
        runner = kubernetes.runner()
        runner.start(RUN)
        # Killed, the process writes no termination message; the kubelet takes the log's end.
        kubernetes.server.finish(
            RUN.id,
            137,
            reason="OOMKilled",
            message=lines,
            log=lines if log_is_there else "",
        )

        ended = only(runner)
        assert (ended.reason, ended.exit_code, ended.outcome) == ("OOMKilled", 137, None)
        (event,) = run_events.ended(ended, None, ())
        assert isinstance(event, TrainingFailed)
        assert "resources.limits.memory" in event.reason
        assert event.log_tail == ("reading surveys", "fitting")

    def test_names_an_image_that_cannot_be_had_while_it_waits_and_after_the_deadline(
        self, kubernetes
    ):
        runner = kubernetes.runner()
        runner.start(RUN)
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        status = {"name": "trainer", "state": {"waiting": waiting}}
        kubernetes.server.add_pod(RUN.id, {"phase": "Pending", "containerStatuses": [status]})
        kubernetes.server.set_status(RUN.id, active=1, ready=0)
        assert only(runner).state is RunState.PENDING
        assert only(runner).reason == "ImagePullBackOff: no such image"

        kubernetes.server.remove_pods(RUN.id)
        kubernetes.server.end(RUN.id, "Failed", "DeadlineExceeded", "was active too long")

        assert only(runner).reason == "DeadlineExceeded: ImagePullBackOff: no such image"

    def test_names_what_pod_security_refused_though_only_an_event_shows_it(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        kubernetes.server.add_event(RUN.id, "FailedCreate", POD_SECURITY)

        assert only(runner).state is RunState.PENDING
        assert "runAsNonRoot != true" in only(runner).reason
        kubernetes.server.end(RUN.id, "Failed", "DeadlineExceeded")
        assert "PodSecurity" in only(kubernetes.runner()).reason

    def test_of_a_deadline_that_was_simply_too_short_is_the_deadline(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        kubernetes.server.add_event(RUN.id, "FailedCreate", "etcd was slow")
        runner.runs()
        kubernetes.server.run(RUN.id)
        assert only(runner).state is RunState.RUNNING

        kubernetes.server.remove_pods(RUN.id)
        kubernetes.server.end(RUN.id, "Failed", "DeadlineExceeded")

        assert only(runner).reason == "DeadlineExceeded"

    def test_of_a_run_that_waits_for_quota_is_no_failure(self, kubernetes):
        kubernetes.pods = kubernetes.pods.model_copy(update={"queue_name": "research"})
        runner = kubernetes.runner()
        runner.start(RUN)

        assert only(runner).state is RunState.PENDING
        assert only(runner).reason == "Suspended: waits for quota in the queue research"
        labels = kubernetes.server.manifest(RUN.id)["metadata"]["labels"]
        assert labels["kueue.x-k8s.io/queue-name"] == "research"

        kubernetes.server.patch("jobs", RUN.id, {"spec": {"suspend": False}})
        kubernetes.server.run(RUN.id)
        assert only(runner).state is RunState.RUNNING

    def test_of_a_pod_without_a_place_names_what_is_missing(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        message = {"message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu"}
        kubernetes.server.add_pod(
            RUN.id, {"phase": "Pending", "conditions": [{**condition, **message}]}
        )

        assert "nvidia.com/gpu" in only(runner).reason

    def test_of_an_evicted_pod_is_the_nodes(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        evicted = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}
        kubernetes.server.add_pod(RUN.id, evicted)
        kubernetes.server.end(RUN.id, "Failed", "BackoffLimitExceeded")

        assert only(runner).reason == "Evicted: The node was low on memory"

    def test_is_logged_once_however_often_kubernetes_repeats_it(self, kubernetes):
        runner = kubernetes.runner()
        runner.start(RUN)
        for pod in ("a", "b", "c"):
            kubernetes.server.add_event(RUN.id, "FailedCreate", f"pod {pod} is forbidden")
            runner.runs()

        assert kubernetes.lines().count("a run can't begin") == 1


def test_a_job_that_someone_deleted_needs_no_further_mark(kubernetes):
    runner = kubernetes.runner()
    runner.start(RUN)
    kubernetes.server.delete("jobs", RUN.id, {})

    runner.mark_announced(RUN.id, Announced.END)

    assert runner.runs() == ()


def test_many_jobs_are_listed_page_by_page(kubernetes):
    runs = [training_run(survey_ref(f"{n}.csv")) for n in range(12)]
    runner = kubernetes.runner(api=kubernetes.api(page=5))
    for run in runs:
        runner.start(run)
    kubernetes.server.requests.clear()

    assert [status.run for status in runner.runs()] == runs
    pages = [r for r in kubernetes.server.requests if r.path.endswith("/jobs")]
    assert len(pages) == 3


def test_a_mark_that_someone_spoiled_is_made_again(kubernetes):
    runner = kubernetes.runner()
    runner.start(RUN)
    spoiled = {"rssi-mlops/announced": "?", "rssi-mlops/ending": "{", "rssi-mlops/trouble": "{"}
    kubernetes.server.patch("jobs", RUN.id, {"metadata": {"annotations": spoiled}})

    assert only(runner).announced is Announced.NOTHING
    kubernetes.server.finish(RUN.id, 0)
    assert only(runner).exit_code == 0
