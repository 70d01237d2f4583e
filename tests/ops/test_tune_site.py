"""`rssi tune-site`: plans and results in a bucket, measured by indexed processes."""

import os
import random
from pathlib import Path

import pytest
import structlog

from aws.s3 import Bucket
from events.manifests import Release, Snapshot, SurveyRef
from ops.errors import OpsError
from ops.experiments.tune_site import SiteTuneInputs, SiteTuneOptions, _runner, search
from tests.agent.agent_world import Clock, MemoryBucket, release_of, survey_ref, training_run
from tests.agent.kubernetes_world import KubernetesWorld, kubeconfig
from tests.agent.runner_contract import eventually
from tests.aws.aws_world import Aws
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.runs import RunState
from trainer.agent.runners.indexed import IndexedStatus, IndexedWork
from trainer.agent.runners.kubernetes.indexed import WORK_ANNOTATION
from trainer.agent.runners.process.indexed import IndexedProcesses
from trainer.agent.settings import AgentSettings
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.outcome import OutcomeKind, RunOutcome
from trainer.training.tuning.job import TuningJob
from trainer.training.tuning.plan import TuningPlan, TuningResult, TuningSettings, TuningTask

# Nothing is to be learnt here: the smallest fits do.
QUICK = Hyperparameters(epochs=1, hidden=(4,))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def rows(count: int = 120) -> bytes:
    """A survey of four places that comes by each of them often."""
    noise = random.Random(0)
    lines = ["location,b1,b2,b3,b4"]
    for row in range(count):
        place = row // 5 % 4
        heard = [-60 - 12 * abs(beacon - place) + noise.randint(-3, 3) for beacon in range(4)]
        lines.append(f"{'ABCD'[place]}01,{','.join(map(str, heard))}")
    return "\n".join(lines).encode()


def release(surveys: tuple[SurveyRef, ...], **settings: str) -> Release:
    made = release_of(training_run(*surveys), Snapshot.of("lab", surveys))
    stored = made.model_dump()
    stored["hyperparameters"] |= settings
    return Release.model_validate(stored)


class Here:
    """Works plans off within this process."""

    def __init__(self, data: Bucket, artifacts: Bucket) -> None:
        self.data, self.artifacts = data, artifacts
        self.started: list[IndexedWork] = []
        self.outcomes: list[RunOutcome] = []

    def start(self, work: IndexedWork) -> None:
        self.started.append(work)
        self.outcomes = [self.work_off(work, index) for index in range(work.completions)]

    def work_off(self, work: IndexedWork, index: int) -> RunOutcome:
        settings = TuningSettings(
            plan=work.environment["RSSI_PLAN"],
            artifact_bucket="artifacts",
            JOB_COMPLETION_INDEX=index,
        )
        job = TuningJob(settings, lambda _: self.data, self.artifacts, _silent())
        return job.run()

    def look(self, name: str) -> IndexedStatus | None:
        if not self.outcomes:
            return None
        bad = [each for each in self.outcomes if each.kind is not OutcomeKind.SUCCEEDED]
        state = RunState.FAILED if bad else RunState.SUCCEEDED
        return IndexedStatus(name=name, state=state, reason=bad[0].reason if bad else None)

    def forget(self, name: str) -> None:
        del name
        self.outcomes = []

    def close(self) -> None:
        pass


class Pretending(Here):
    """Measures nothing: the more often a stay counts, the worse."""

    def work_off(self, work: IndexedWork, index: int) -> RunOutcome:
        body = self.artifacts.get(work.environment["RSSI_PLAN"]).body
        plan = TuningPlan.model_validate_json(body)
        task = plan.tasks[index]
        result = TuningResult(
            settings=task.settings,
            seeds=task.seeds,
            rows=120,
            exact_accuracy=0.5,
            mean_error_m=2.0 - task.settings.visit_damping,
        )
        self.artifacts.put_once(plan.result_key(index), result.model_dump_json().encode())
        return RunOutcome(kind=OutcomeKind.SUCCEEDED)


def _silent():
    def drop(_logger, _method, _event):
        raise structlog.DropEvent

    return structlog.wrap_logger(None, processors=[drop])


class Lab:
    """A site with one survey, in buckets in memory."""

    def __init__(self, *, pretending: bool = False, **settings: str) -> None:
        clock = Clock()
        self.data, self.artifacts = MemoryBucket("data", clock), MemoryBucket("artifacts", clock)
        self.data.put("sites/lab/surveys/a.csv", rows())
        (listed,) = self.data.current("sites/lab/surveys/")
        survey = survey_ref(version=listed.version_id, etag=listed.etag, size=listed.size)
        template = JobTemplate(artifact_bucket="artifacts", image="process")
        self.ground = SiteTuneInputs(release((survey,), **settings), self.artifacts, template)
        self.runner = (Pretending if pretending else Here)(self.data, self.artifacts)

    def search(self, **changes: int):
        wanted = SiteTuneOptions(**{"trials": 4, "seed": 0, "parallelism": 2, **changes})
        return search(
            self.ground, QUICK, self.runner, wanted, lambda *_: None, sleep=lambda _: None
        )

    def plan(self) -> TuningPlan:
        """A plan of one task, as it lies in the bucket."""
        plan = self.ground.plan([TuningTask(settings=QUICK, seeds=(0,))])
        self.artifacts.put(plan.key, plan.model_dump_json().encode())
        return plan

    def plans(self) -> list[TuningPlan]:
        keys = [found.key for found in self.artifacts.objects("") if "plan.json" in found.key]
        return [TuningPlan.model_validate_json(self.artifacts.get(key).body) for key in keys]


def test_a_round_is_one_plan_and_the_comparison_another():
    lab = Lab(pretending=True)

    report = lab.search(trials=2)

    assert [work.completions for work in lab.runner.started] == [2, 2]
    assert len(report.tried) == 2
    assert QUICK in [result.settings for result in report.tried]
    assert report.before.settings == QUICK
    assert report.best.settings == report.tried[0].settings
    assert set(report.before.seeds).isdisjoint(report.tried[0].seeds)


def test_what_is_best_on_fresh_seeds_is_kept():
    report = Lab(pretending=True).search(trials=8)

    assert report.kept == report.best
    assert report.kept.settings.visit_damping > QUICK.visit_damping


def test_everything_is_below_the_folder_that_the_agents_role_may_write_to():
    lab = Lab(pretending=True)

    lab.search()

    folders = {found.key.rsplit("/", 2)[0] for found in lab.artifacts.objects("")}
    assert folders == {"sites/lab/runs"}


def test_the_same_command_again_finds_everything_done():
    lab = Lab(pretending=True)
    first = lab.search(trials=24, rounds=2)
    begun = len(lab.runner.started)

    assert lab.search(trials=24, rounds=2) == first
    assert len(lab.runner.started) == begun


def test_an_interrupted_search_measures_only_what_is_missing():
    lab = Lab(pretending=True)
    first = lab.search()
    plan = next(plan for plan in lab.plans() if len(plan.tasks) == 4)
    lab.artifacts.delete([(plan.result_key(2), None)])
    versions = {found.key: found.version_id for found in lab.artifacts.objects("")}

    assert lab.search() == first
    after = {found.key: found.version_id for found in lab.artifacts.objects("")}
    assert after.keys() - versions.keys() == {plan.result_key(2)}
    assert versions.items() <= after.items()


def test_a_later_round_learns_from_the_earlier_one():
    # Before ten trials have ended, everything is drawn at random.
    lab = Lab(pretending=True)
    lab.search(trials=40, rounds=2)
    drawn = [plan for plan in lab.plans() if len(plan.tasks) == 20]
    dampings = [
        sum(task.settings.visit_damping for task in plan.tasks) / 20
        for work in lab.runner.started[:2]
        for plan in drawn
        if plan.id == work.name
    ]

    assert dampings[1] > dampings[0]


def test_another_seed_searches_elsewhere():
    lab = Lab(pretending=True)
    lab.search()
    before = len(lab.plans())
    lab.search(seed=1)

    assert len(lab.plans()) > before


def test_a_survey_that_is_gone_ends_the_search_with_its_name():
    lab = Lab()
    lab.data.delete([("sites/lab/surveys/a.csv", None)])

    with pytest.raises(OpsError, match=r"failed: .*surveys/a\.csv"):
        lab.search()


def test_a_survey_that_was_written_over_is_not_taken_for_what_was_planned():
    lab = Lab()
    lab.data.put("sites/lab/surveys/a.csv", rows(200))

    with pytest.raises(OpsError, match=r"gone|overwritten"):
        lab.search()


def test_a_site_description_that_changed_ends_the_search():
    lab = Lab(site_sha256="0" * 64)
    lab.data.put("sites/lab/site.json", b"{}")

    with pytest.raises(OpsError, match=r"site\.json was changed"):
        lab.search()


def test_too_few_visits_end_the_search_with_the_reason():
    lab = Lab()
    lab.data.put("sites/lab/surveys/a.csv", rows(15))
    (listed,) = lab.data.current("sites/lab/surveys/")
    survey = survey_ref(version=listed.version_id, etag=listed.etag, size=listed.size)
    lab.ground = SiteTuneInputs(release((survey,)), lab.artifacts, lab.ground.template)

    with pytest.raises(OpsError, match="too few visits"):
        lab.search()


def test_a_number_that_the_plan_does_not_have_is_a_misdescription():
    lab = Lab()
    plan = lab.plan()

    assert lab.runner.work_off(lab.ground.work(plan, 1), 99).kind is OutcomeKind.MISCONFIGURED


def test_a_plan_that_was_changed_after_it_was_named_is_refused():
    lab = Lab()
    plan = lab.plan()
    changed = plan.model_copy(update={"folds": 3})
    lab.artifacts.put(plan.key, changed.model_dump_json().encode())

    outcome = lab.runner.work_off(lab.ground.work(plan, 1), 0)

    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert "was changed" in outcome.reason


def test_a_plan_for_another_version_of_the_trainer_is_refused():
    lab = Lab()
    plan = lab.plan().model_copy(update={"trainer_version": "0"})
    lab.artifacts.put(plan.key, plan.model_dump_json().encode())

    outcome = lab.runner.work_off(lab.ground.work(plan, 1), 0)

    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert "trainer version 0" in outcome.reason


def test_a_failed_search_is_started_again():
    lab = Lab(pretending=True)
    lab.runner.outcomes = [RunOutcome(kind=OutcomeKind.FAILED, reason="its node was lost")]

    assert len(lab.search(trials=2).tried) == 2


def test_a_number_that_is_started_twice_writes_one_result():
    lab = Lab()
    plan = lab.plan()
    lab.runner.work_off(lab.ground.work(plan, 1), 0)
    written = lab.artifacts.objects(plan.result_key(0))

    assert lab.runner.work_off(lab.ground.work(plan, 1), 0).kind is OutcomeKind.SUCCEEDED
    assert [*lab.artifacts.objects(plan.result_key(0))] == [*written]


def test_a_process_of_this_machine_measures_a_task(aws: Aws, tmp_path: Path):
    data, artifacts = aws.bucket("data"), aws.bucket("artifacts")
    data.put("sites/lab/surveys/a.csv", rows(), "text/csv")
    surveys = SurveyStore(data, structlog.get_logger()).listing("lab").surveys
    template = JobTemplate(artifact_bucket=artifacts.name, image="process")
    ground = SiteTuneInputs(release(surveys), artifacts, template)
    plan = ground.plan([TuningTask(settings=QUICK, seeds=(0,))])
    artifacts.put_once(plan.key, plan.model_dump_json().encode())
    runner = IndexedProcesses(tmp_path, {"PATH": os.environ["PATH"], **aws.environment}, _silent())

    runner.start(ground.work(plan, 1))
    eventually(lambda: not runner.look(plan.id).active, 60)
    runner.close()

    assert runner.look(plan.id).state is RunState.SUCCEEDED, runner.look(plan.id)
    assert ground.results(plan)[0].settings == QUICK
    assert ground.results(plan)[0].rows == 120


def test_a_cluster_runs_each_round_as_one_indexed_job(
    kubernetes: KubernetesWorld, monkeypatch, tmp_path: Path
):
    lab = Lab(pretending=True)

    def play(name: str) -> None:
        stored = kubernetes.server.manifest(name)["metadata"]["annotations"][WORK_ANNOTATION]
        work = IndexedWork.model_validate_json(stored)
        for index in range(work.completions):
            lab.runner.work_off(work, index)
            kubernetes.server.finish_index(name, index, 0)

    kubernetes.server.on_job = play
    template = tmp_path / "template.yaml"
    template.write_text(kubernetes.pods.model_dump_json(by_alias=True))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, kubernetes.server)))
    settings = AgentSettings(runner="kubernetes", pod_template=template)

    with _runner(settings) as runner:
        wanted = SiteTuneOptions(trials=5, seed=0, parallelism=3)
        report = search(lab.ground, QUICK, runner, wanted, lambda *_: None, lambda _: None)

    assert report == Lab(pretending=True).search(trials=5, parallelism=3)
    jobs = [kubernetes.server.manifest(job.metadata.name) for job in kubernetes.server.jobs()]
    assert [job["spec"]["completions"] for job in jobs] == [5, 2]
    assert {job["spec"]["completionMode"] for job in jobs} == {"Indexed"}
