"""Numbered processes: what every runner of them promises, and what each adds to it."""

import os
import re
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import structlog
import yaml

from ops.dev.fakes.memory_runner import MemoryIndexed
from tests.agent.kubernetes_world import IMAGE, KubernetesWorld
from tests.agent.runner_contract import RUN, WORK, IndexedContract, eventually
from trainer.agent.core.limits import JobLimits, ProcessLimits
from trainer.agent.core.runs import RunState
from trainer.agent.runners.kubernetes.indexed import IndexedJobs, indexed_job_manifest
from trainer.agent.runners.kubernetes.manifest import CONTAINER
from trainer.agent.runners.kubernetes.template import PodTemplate, Resources
from trainer.agent.runners.process.indexed import IndexedProcesses
from trainer.training.fitting.distributed import WorkerGroupSettings
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome

# Waits for a file named after its number, and ends with the exit code that is written in it.
OBEDIENT = """
import os, pathlib, sys, time
order = pathlib.Path(os.environ["HOME"], "orders", os.environ["JOB_COMPLETION_INDEX"])
print("waiting for", order.name, flush=True)
while not order.exists(): time.sleep(0.01)
sys.exit(int(order.read_text()))
"""

# Succeeds at the second attempt.
AT_LAST = """
import os, pathlib, sys
trace = pathlib.Path(os.environ["HOME"], "trace-" + os.environ["JOB_COMPLETION_INDEX"])
sys.exit(0) if trace.exists() else trace.touch()
sys.exit(75)
"""

NOTING = """
import os, pathlib, sys
from trainer.training.job.outcome import RunOutcome
note = RunOutcome(kind="not_enough_data", reason="only three rows")
pathlib.Path(os.environ["RSSI_TERMINATION_LOG"]).write_bytes(note.note())
sys.exit(note.exit_code)
"""


@pytest.fixture
def make_indexed(tmp_path):
    """Makes runners of processes that run a script; stops them in the end."""
    made = []
    (tmp_path / "orders").mkdir()

    def make(script: str = OBEDIENT, **limits) -> IndexedProcesses:
        (tmp_path / "obedient_number.py").write_text(script)
        runner = IndexedProcesses(
            work_dir=tmp_path / "work",
            environment={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PYTHONPATH": str(tmp_path),
            },
            log=structlog.get_logger(),
            limits=replace(ProcessLimits(backoff_limit=2, backoff_s=0.0, deadline_s=30), **limits),
        )
        made.append(runner)
        return runner

    yield make
    for runner in made:
        runner.close()


def jobs_of(world: KubernetesWorld) -> IndexedJobs:
    return IndexedJobs(
        world.api(), world.pods, world.limits, {"AWS_REGION": "eu-west-1"}, world.log
    )


def asked_for(kubernetes: KubernetesWorld) -> set[tuple[str, str]]:
    """What was asked of the API server, in RBAC's words."""
    verbs = {"POST": "create", "DELETE": "delete"}
    found = set()
    for request in kubernetes.server.requests:
        place = re.search(r"/namespaces/[^/]+/(\w+)(/[^/]+)?(/log)?$", request.path)
        assert place is not None
        kind, name, log = place.groups()
        verb = verbs.get(request.method) or ("get" if name else "list")
        found.add((verb, kind + (log or "")))
    return found


@pytest.fixture(params=["memory", "process", "kubernetes"])
def indexed_and_end(request, tmp_path):
    """A runner, and a way to make a number's process end with an exit code."""
    if request.param == "memory":
        memory = MemoryIndexed()
        return memory, memory.end
    if request.param == "kubernetes":
        world = request.getfixturevalue("kubernetes")
        return jobs_of(world), lambda name, index, code: world.server.finish_index(
            name, index, int(code)
        )
    make = request.getfixturevalue("make_indexed")

    def end(_name: str, index: int, code: ExitCode) -> None:
        draft = tmp_path / "order"
        draft.write_text(str(int(code)))
        draft.rename(tmp_path / "orders" / str(index))

    return make(), end


class TestEveryIndexedRunner(IndexedContract):
    """The contract of tests/agent/runner_contract.py, by every runner."""


class TestTheIndexedJob:
    def test_is_valid_and_has_the_pods_of_a_training_job(self, kubernetes):
        kubernetes.pods = PodTemplate(
            image=IMAGE,
            resources=Resources(limits={"memory": "8Gi", "nvidia.com/gpu": "1"}),
            credentials_secret="keys",
        )
        jobs_of(kubernetes).start(WORK)
        job = kubernetes.server.manifest(WORK.name)

        sent = {key: value for key, value in job.items() if key != "status"}
        kubernetes_validate.validate(sent, "1.36", strict=True)
        spec = job["spec"]
        assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == (
            "Indexed",
            3,
            2,
        )
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["image"] == IMAGE
        assert container["command"] == ["python", "-m", WORK.module]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert variables["RSSI_PLAN"] == "plan.json"
        assert variables["AWS_REGION"] == "eu-west-1"

    def test_may_take_its_limit_for_each_wave(self):
        pods = PodTemplate(image=IMAGE)

        document = indexed_job_manifest(WORK, pods, JobLimits(deadline_s=100), {})

        spec = document["spec"]
        assert isinstance(spec, dict)
        assert spec["activeDeadlineSeconds"] == 200

    def test_is_none_of_the_agents_runs(self, kubernetes):
        jobs_of(kubernetes).start(WORK)

        assert kubernetes.runner().runs() == ()
        assert kubernetes.lines() == []

    def test_tells_what_a_failed_pod_has_noted(self, kubernetes):
        jobs = jobs_of(kubernetes)
        jobs.start(WORK)
        note = RunOutcome(kind=OutcomeKind.NOT_ENOUGH_DATA, reason="only three rows").note()
        kubernetes.server.finish_index(WORK.name, 0, 43, message=note.decode())

        assert jobs.look(WORK.name).reason == "only three rows"

    def test_that_no_pod_comes_of_says_why(self, kubernetes):
        jobs = jobs_of(kubernetes)
        jobs.start(WORK)
        kubernetes.server.add_event(WORK.name, "FailedCreate", "pods is forbidden: quota")

        assert jobs.look(WORK.name).state is RunState.PENDING
        assert "quota" in jobs.look(WORK.name).reason

    def test_needs_nothing_that_the_agents_role_does_not_allow(self, kubernetes):
        jobs = jobs_of(kubernetes)
        for code in (42, 0):
            jobs.start(WORK)
            jobs.start(WORK)
            jobs.look(WORK.name)
            for index in range(WORK.completions if code == 0 else 1):
                kubernetes.server.finish_index(WORK.name, index, code)
            jobs.look(WORK.name)
            jobs.forget(WORK.name)

        role = Path(__file__).parents[2] / "trainer" / "deploy" / "base" / "role.yaml"
        rules = next(yaml.safe_load_all(role.read_text()))["rules"]
        allowed = {(verb, kind) for r in rules for verb in r["verbs"] for kind in r["resources"]}
        assert asked_for(kubernetes) <= allowed

    def test_waits_in_the_queue_that_the_template_names(self, kubernetes):
        kubernetes.pods = PodTemplate(image=IMAGE, queue_name="slow")
        jobs = jobs_of(kubernetes)
        jobs.start(WORK)

        assert kubernetes.server.manifest(WORK.name)["spec"]["suspend"] is True
        assert "slow" in jobs.look(WORK.name).reason


def test_a_number_that_fails_for_a_while_is_tried_again(make_indexed):
    runner = make_indexed(AT_LAST)
    runner.start(WORK)
    eventually(lambda: not runner.look(WORK.name).active)

    assert runner.look(WORK.name).state is RunState.SUCCEEDED


def test_the_note_of_a_number_says_why_the_work_failed(make_indexed):
    runner = make_indexed(NOTING)
    runner.start(WORK)
    eventually(lambda: not runner.look(WORK.name).active)

    assert runner.look(WORK.name).reason == "only three rows"


def test_no_more_processes_run_at_once_than_asked_for(make_indexed, tmp_path: Path):
    runner = make_indexed()
    runner.start(WORK)
    logs = tmp_path / "work" / WORK.name
    eventually(lambda: sum("waiting" in log.read_text() for log in logs.glob("*.log")) == 2)

    assert {log.name for log in logs.glob("*.log")} == {"0-0.log", "1-0.log"}


def test_a_process_beyond_its_deadline_fails_the_work_and_leaves_nothing_behind(make_indexed):
    runner = make_indexed(deadline_s=0.2)
    runner.start(WORK)
    eventually(lambda: not runner.look(WORK.name).active)

    assert runner.look(WORK.name).reason == "DeadlineExceeded"
    eventually(lambda: not runner._works[WORK.name].children)


def together(kubernetes: KubernetesWorld) -> dict:
    """The Job of a run that three pods fit together."""
    kubernetes.pods = PodTemplate(image=IMAGE, workers=3)
    kubernetes.runner().start(RUN)
    return kubernetes.server.manifest(RUN.id)


class TestARunOfSeveralWorkers:
    def test_is_a_valid_indexed_job_of_which_no_pod_is_replaced(self, kubernetes):
        job = together(kubernetes)

        sent = {key: value for key, value in job.items() if key != "status"}
        kubernetes_validate.validate(sent, "1.36", strict=True)
        spec = job["spec"]
        assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == (
            "Indexed",
            3,
            3,
        )
        assert spec["backoffLimit"] == 0
        assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["FailJob"]

    def test_tells_its_pods_how_many_they_are_and_where_they_meet(self, kubernetes):
        pod = together(kubernetes)["spec"]["template"]["spec"]

        (container,) = pod["containers"]
        variables = {each["name"]: each.get("value", "10.0.0.7") for each in container["env"]}
        settings = WorkerGroupSettings(
            workers=variables["RSSI_WORKERS"],
            meeting_host=variables["RSSI_MEETING_HOST"],
            own_host=variables["RSSI_OWN_HOST"],
            JOB_COMPLETION_INDEX=1,
        )
        assert settings.meeting_host == f"{RUN.id}-0.{pod['subdomain']}"
        assert variables["RSSI_RUN_ID"] == RUN.id
        assert container["command"][-1] == "trainer.training.job.worker"

    def test_has_failed_by_the_pod_that_failed_by_itself(self, kubernetes):
        together(kubernetes)
        server, now = kubernetes.server, "2026-11-01T12:00:00Z"
        for exit_code, deleted in ((42, False), (137, True)):
            ended = {"exitCode": exit_code, "finishedAt": now}
            status = {"name": CONTAINER, "state": {"terminated": ended}}
            name = server.add_pod(RUN.id, {"phase": "Failed", "containerStatuses": [status]})
            if deleted:
                server.patch("pods", name, {"metadata": {"deletionTimestamp": now}})
        server.end(RUN.id, "Failed", "BackoffLimitExceeded", "Job has reached the specified limit")

        (status,) = kubernetes.runner().runs()
        assert status.exit_code == ExitCode.BAD_DATA

    def test_reaches_its_pods_by_the_component_that_an_overlay_adds(self, kubernetes):
        pod = together(kubernetes)["spec"]["template"]
        folder = Path(__file__).parents[2] / "trainer" / "deploy" / "components" / "workers"
        component = yaml.safe_load((folder / "kustomization.yaml").read_text())
        service, policy = (
            yaml.safe_load((folder / name).read_text()) for name in component["resources"]
        )

        for document in (service, policy):
            kubernetes_validate.validate(document, "1.36", strict=True)
        assert service["metadata"]["name"] == pod["spec"]["subdomain"]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        chosen = {"podSelector": policy["spec"]["podSelector"]}
        assert chosen["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert policy["spec"]["ingress"] == [{"from": [chosen]}]
        assert policy["spec"]["egress"] == [{"to": [chosen]}]
