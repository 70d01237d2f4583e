"""`rssi tune --site`: the same search on a site's own surveys, in its cluster or in processes here.

A round is one plan in the artifact bucket and one Indexed Job that works it off; the comparison on
fresh seeds is one more. What is drawn next follows from the seed and the results alone, so a search
that was interrupted, and is begun again with the same words, finds its plans and results there.
What may go wrong: surveys or a site description that changed since the release that it starts from.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

import structlog
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from aws.s3 import Bucket, ObjectMissingError, StoreError
from events.manifests import Release
from ops.account.stack_client import StackClient
from ops.errors import OpsError, UsageError
from ops.experiments.train import settings_of
from ops.experiments.tune import TuningReport, check_writable, compare_on_fresh_seeds, finish
from ops.experiments.tune_search import open_study
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.runs import RunState
from trainer.agent.errors import AgentError
from trainer.agent.runners.factory import RunnerContext
from trainer.agent.runners.indexed import IndexedRunner, IndexedWork
from trainer.agent.runners.process.indexed import IndexedProcesses
from trainer.agent.settings import AgentSettings
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.settings import SITE_SHA256
from trainer.training.tuning.plan import TUNING_MODULE, TuningPlan, TuningResult, TuningTask

POLL_S = 1.0
_MOST_LOOKS = 60
"""A cluster deletes a Job's pods before the Job."""
_FOR_PROCESSES = frozenset({"PATH", "HOME", "TMPDIR"})


@dataclass(frozen=True, slots=True)
class SiteTuneOptions:
    """What is searched, and how."""

    trials: int
    seed: int
    parallelism: int
    """Processes at once, at most."""
    rounds: int = 1
    """Plans that the trials are divided into; each after the first learns from those before."""


@dataclass(frozen=True, slots=True)
class SiteTuneInputs:
    """The release that a search starts from, and where its plans and results lie."""

    release: Release
    artifacts: Bucket
    told: JobTemplate
    """What every process at this site is told."""

    def plan(self, tasks: Sequence[TuningTask]) -> TuningPlan:
        """A plan on the release's surveys."""
        pinned = self.release.hyperparameters.get(SITE_SHA256)
        return TuningPlan(
            snapshot=self.release.snapshot,
            site_sha256=None if pinned is None else str(pinned),
            tasks=tuple(tasks),
        )

    def work(self, plan: TuningPlan, parallelism: int) -> IndexedWork:
        """What works a plan off."""
        told = {
            "RSSI_PLAN": plan.key,
            "RSSI_ARTIFACT_BUCKET": self.artifacts.name,
            "RSSI_DATA_ENDPOINT_URL": self.told.data_endpoint_url,
            "RSSI_DATA_PROFILE": self.told.data_profile,
            "RSSI_DATA_CA_BUNDLE": self.told.data_ca_bundle,
        }
        return IndexedWork(
            name=plan.id,
            site=self.release.site,
            module=TUNING_MODULE,
            environment={name: value for name, value in told.items() if value is not None},
            completions=len(plan.tasks),
            parallelism=parallelism,
        )

    def results(self, plan: TuningPlan) -> dict[int, TuningResult]:
        """What is measured already, by its number."""
        found = {}
        for index in range(len(plan.tasks)):
            try:
                body = self.artifacts.get(plan.result_key(index)).body
            except ObjectMissingError:
                continue
            found[index] = TuningResult.model_validate_json(body)
        return found


class _OnProgress(Protocol):
    def __call__(self, done: int, of: int, reason: str | None) -> None:
        """Hear how far a plan is, and what keeps it."""


def search(
    ground: SiteTuneInputs,
    first: Hyperparameters,
    runner: IndexedRunner,
    wanted: SiteTuneOptions,
    told: _OnProgress,
    sleep: Callable[[float], object] = time.sleep,
) -> TuningReport:
    """Work off as many rounds as are wanted, and the comparison on fresh seeds.

    Raises:
        OpsError: a plan could not be worked off.
    """

    def measure(tasks: Sequence[TuningTask]) -> list[TuningResult]:
        return _work_off(ground, ground.plan(tasks), runner, wanted.parallelism, told, sleep)

    with open_study(first, question=ground.release.run_id, seed=wanted.seed, file=None) as study:
        for place in range(wanted.rounds):
            share = wanted.trials * (place + 1) // wanted.rounds - study.ended
            asked = [study.ask() for _ in range(share)]
            results = measure(
                [TuningTask(settings=each.settings, seeds=(wanted.seed,)) for each in asked]
            )
            for each, result in zip(asked, results, strict=True):
                study.tell(each, result)
        return compare_on_fresh_seeds(study, first, measure)


def _work_off(
    ground: SiteTuneInputs,
    plan: TuningPlan,
    runner: IndexedRunner,
    parallelism: int,
    told: _OnProgress,
    sleep: Callable[[float], object],
) -> list[TuningResult]:
    """Start the plan's work unless it is done, and wait for its results."""
    ground.artifacts.put_once(plan.key, plan.model_dump_json().encode())
    results = ground.results(plan)
    if len(results) < len(plan.tasks):
        _forget_ended(plan, runner, sleep)
        runner.start(ground.work(plan, parallelism))
        _wait(plan, runner, told, sleep)
        results = ground.results(plan)
    missing = sorted(set(range(len(plan.tasks))) - set(results))
    if missing:
        raise OpsError(
            f"{plan.id} says that it is done, and the bucket has no result of {missing}: repeat "
            "the command."
        )
    return [results[index] for index in range(len(plan.tasks))]


def _forget_ended(
    plan: TuningPlan, runner: IndexedRunner, sleep: Callable[[float], object]
) -> None:
    """Make way if the work failed when it was asked for before, or its results were deleted."""
    for _ in range(_MOST_LOOKS):
        status = runner.look(plan.id)
        if status is None or status.active:
            return
        runner.forget(plan.id)
        sleep(POLL_S)


def _wait(
    plan: TuningPlan,
    runner: IndexedRunner,
    told: _OnProgress,
    sleep: Callable[[float], object],
) -> None:
    while True:
        status = runner.look(plan.id)
        if status is None:
            raise OpsError(f"{plan.id} was deleted while it was waited for: repeat the command.")
        if status.state is RunState.FAILED:
            tail = "".join(f"\n  {line}" for line in status.log_tail)
            raise OpsError(f"{plan.id} failed: {status.reason}{tail}")
        told(status.succeeded, len(plan.tasks), status.reason)
        if status.state is RunState.SUCCEEDED:
            return
        sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """Where the processes of a search run."""

    runner: str | None = None
    """``process`` or ``kubernetes``; None as the environment says, as for the agent."""
    pod_template: Path | None = None
    namespace: str | None = None


def tune_site(
    console: Console,
    stack_client: StackClient,
    site: str,
    start: Path | None,
    output: Path,
    wanted: SiteTuneOptions,
    place: RunnerOptions,
    *,
    as_json: bool,
) -> None:
    """Search on the surveys of a site's newest release.

    Raises:
        OpsError: there is no release, or the search could not be done.
    """
    check_writable(output)
    if wanted.rounds > wanted.trials:
        raise UsageError(f"{wanted.trials} trials can't be divided into {wanted.rounds} rounds.")
    release = _newest_release(stack_client, site)
    first = settings_of(start) or _settings_of_release(release)
    settings = _agent_settings(place)
    artifacts = Bucket(stack_client.client("s3"), stack_client.stack.artifact_bucket)
    told = settings.job_template(artifacts.name, settings.trainer_image)
    ground = SiteTuneInputs(release, artifacts, told)
    try:
        with (
            _runner(settings) as runner,
            Progress(console=Console(stderr=True), transient=True) as progress,
        ):
            report = search(ground, first, runner, wanted, _shown(progress))
    except (AgentError, StoreError) as error:
        raise OpsError(f"{error}") from error
    finish(console, report, output, as_json=as_json)


def _shown(progress: Progress) -> _OnProgress:
    task = progress.add_task("measuring settings", total=None)

    def tell(done: int, of: int, reason: str | None) -> None:
        what = f"measuring {of} settings" + (f" ({reason})" if reason else "")
        progress.update(task, completed=done, total=of, description=what)

    return tell


def _newest_release(stack_client: StackClient, site: str) -> Release:
    rows = stack_client.releases(site)
    if not rows:
        raise OpsError(
            f"No release has arrived at {site} yet, so nothing says which surveys are good: "
            f"`rssi drop --site {site}` some, and search after the first training."
        )
    return stack_client.artifacts.release(rows[-1].record.run_id)


def _settings_of_release(release: Release) -> Hyperparameters:
    told = {name: value for name, value in release.hyperparameters.items() if name != SITE_SHA256}
    try:
        return Hyperparameters.model_validate(told)
    except ValidationError as error:
        raise UsageError(
            f"{release.run_id} was trained with settings that this version does not know; name "
            f"others with --settings: {error}"
        ) from error


def _agent_settings(place: RunnerOptions) -> AgentSettings:
    """What the agent at this place is told, with what the command says otherwise."""
    chosen = {
        "RUNNER": place.runner,
        "POD_TEMPLATE": place.pod_template,
        "NAMESPACE": place.namespace,
    }
    os.environ.update({f"RSSI_{name}": str(value) for name, value in chosen.items() if value})
    try:
        return AgentSettings()
    except ValidationError as error:
        raise UsageError(f"The agent's settings can't be used: {error}") from error


@contextmanager
def _runner(settings: AgentSettings) -> Iterator[IndexedRunner]:
    log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    if settings.runner == "process":
        with tempfile.TemporaryDirectory(prefix="rssi-tune-") as folder:
            processes = IndexedProcesses(Path(folder), _for_processes(), log, settings.limits)
            try:
                yield processes
            finally:
                processes.close()
        return
    # Its client takes half a second.
    from trainer.agent.runners.kubernetes.cluster import open_backend  # noqa: PLC0415
    from trainer.agent.runners.kubernetes.indexed import IndexedJobs  # noqa: PLC0415

    cluster = open_backend(RunnerContext(settings, os.environ, Event(), log))
    yield IndexedJobs(cluster.api, cluster.pods, settings.job_limits, cluster.aws, log)


def _for_processes() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name in _FOR_PROCESSES
    }
