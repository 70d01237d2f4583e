"""Searches for hyperparameters on a site's own surveys, in its cluster or in processes here.

A round is one plan in the artifact bucket and one Indexed Job that works it off; the comparison on
fresh seeds is one more. What is drawn next follows from the seed and the results alone, so the same
command resumes an interrupted search: it finds its plans and results there. Surveys and the site's
description are pinned by the release that the search starts from.
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
from ops.account.agent import RunnerOptions, agent_settings
from ops.account.stack_client import StackClient
from ops.errors import OpsError, UsageError
from ops.experiments.inputs import read_settings
from ops.experiments.tune import (
    TuningReport,
    check_writable,
    compare_on_fresh_seeds,
    write_settings,
)
from ops.experiments.tune_search import open_study
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.runs import RunState
from trainer.agent.errors import AgentError
from trainer.agent.runners.factory import RunnerContext
from trainer.agent.runners.indexed import IndexedRunner, IndexedWork
from trainer.agent.runners.process.indexed import IndexedProcesses
from trainer.agent.settings import AgentSettings
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.tuning.plan import TUNING_MODULE, TuningPlan, TuningResult, TuningTask

POLL_S = 1.0
_MAX_POLLS = 60
"""A cluster deletes a Job's pods before the Job."""
_PASSED_ON = frozenset({"PATH", "HOME", "TMPDIR"})


@dataclass(frozen=True, slots=True)
class SiteTuneOptions:
    """How to search."""

    trials: int
    seed: int
    parallelism: int
    """Processes at once, at most."""
    rounds: int = 1
    """Plans that the trials are divided into; each after the first learns from those before."""
    settings_file: Path | None = None
    """The settings to begin with; those of the newest release if None."""


@dataclass(frozen=True, slots=True)
class SiteTuneInputs:
    """The release that a search starts from, and where its plans and results are stored."""

    release: Release
    artifacts: Bucket
    template: JobTemplate
    """What every process at this site gets."""

    def plan(self, tasks: Sequence[TuningTask]) -> TuningPlan:
        """A plan on the release's surveys."""
        return TuningPlan(
            snapshot=self.release.snapshot,
            site_sha256=self.release.site_sha256,
            tasks=tuple(tasks),
        )

    def work(self, plan: TuningPlan, parallelism: int) -> IndexedWork:
        """The indexed work that measures a plan's tasks."""
        variables = {
            "RSSI_PLAN": plan.key,
            "RSSI_ARTIFACT_BUCKET": self.artifacts.name,
            "RSSI_DATA_ENDPOINT_URL": self.template.data_endpoint_url,
            "RSSI_DATA_PROFILE": self.template.data_profile,
            "RSSI_DATA_CA_BUNDLE": self.template.data_ca_bundle,
        }
        return IndexedWork(
            name=plan.id,
            site=self.release.site,
            module=TUNING_MODULE,
            environment={name: value for name, value in variables.items() if value is not None},
            completions=len(plan.tasks),
            parallelism=parallelism,
        )

    def results(self, plan: TuningPlan) -> dict[int, TuningResult]:
        """What is measured already, by the task's index."""
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
        """Called with a plan's progress, and the reason if it is delayed."""


def search(
    inputs: SiteTuneInputs,
    first: Hyperparameters,
    runner: IndexedRunner,
    options: SiteTuneOptions,
    on_progress: _OnProgress,
    sleep: Callable[[float], object] = time.sleep,
) -> TuningReport:
    """Run all rounds, and the comparison on fresh seeds.

    Raises:
        OpsError: a plan could not be measured.
    """

    def measure(tasks: Sequence[TuningTask]) -> list[TuningResult]:
        return _run_plan(
            inputs, inputs.plan(tasks), runner, options.parallelism, on_progress, sleep
        )

    with open_study(first, question=inputs.release.run_id, seed=options.seed, file=None) as study:
        for number in range(options.rounds):
            share = options.trials * (number + 1) // options.rounds - study.ended
            trials = [study.ask() for _ in range(share)]
            results = measure(
                [TuningTask(settings=each.settings, seeds=(options.seed,)) for each in trials]
            )
            for each, result in zip(trials, results, strict=True):
                study.tell(each, result)
        return compare_on_fresh_seeds(study, first, measure)


def _run_plan(
    inputs: SiteTuneInputs,
    plan: TuningPlan,
    runner: IndexedRunner,
    parallelism: int,
    on_progress: _OnProgress,
    sleep: Callable[[float], object],
) -> list[TuningResult]:
    """Start the plan's work unless it is done, and wait for its results."""
    inputs.artifacts.put_once(plan.key, plan.model_dump_json().encode())
    results = inputs.results(plan)
    if len(results) < len(plan.tasks):
        _remove_ended(plan, runner, sleep)
        runner.start(inputs.work(plan, parallelism))
        _wait(plan, runner, on_progress, sleep)
        results = inputs.results(plan)
    missing = sorted(set(range(len(plan.tasks))) - set(results))
    if missing:
        raise OpsError(
            f"{plan.id} succeeded, but the bucket has no result of {missing}: repeat the command."
        )
    return [results[index] for index in range(len(plan.tasks))]


def _remove_ended(
    plan: TuningPlan, runner: IndexedRunner, sleep: Callable[[float], object]
) -> None:
    """Remove earlier work that failed, or whose results were deleted."""
    for _ in range(_MAX_POLLS):
        status = runner.look(plan.id)
        if status is None or status.active:
            return
        runner.forget(plan.id)
        sleep(POLL_S)


def _wait(
    plan: TuningPlan,
    runner: IndexedRunner,
    on_progress: _OnProgress,
    sleep: Callable[[float], object],
) -> None:
    while True:
        status = runner.look(plan.id)
        if status is None:
            raise OpsError(
                f"{plan.id} was deleted while this command waited for it: repeat the command."
            )
        if status.state is RunState.FAILED:
            tail = "".join(f"\n  {line}" for line in status.log_tail)
            raise OpsError(f"{plan.id} failed: {status.reason}{tail}")
        on_progress(status.succeeded, len(plan.tasks), status.reason)
        if status.state is RunState.SUCCEEDED:
            return
        sleep(POLL_S)


def tune_on_site(
    stack_client: StackClient,
    site: str,
    output: Path,
    options: SiteTuneOptions,
    runner_options: RunnerOptions,
) -> TuningReport:
    """Search on the surveys of a site's newest release, and write the best settings to a file.

    Raises:
        OpsError: there is no release, or the search failed.
    """
    check_writable(output)
    if options.rounds > options.trials:
        raise UsageError(f"{options.trials} trials can't be divided into {options.rounds} rounds.")
    release = _newest_release(stack_client, site)
    first = read_settings(options.settings_file) or _settings_of_release(release)
    settings = agent_settings(runner_options.environment)
    artifacts = Bucket(stack_client.aws.s3, stack_client.stack.artifact_bucket)
    template = settings.job_template(artifacts.name, settings.trainer_image)
    inputs = SiteTuneInputs(release, artifacts, template)
    try:
        with (
            _runner(settings) as runner,
            Progress(console=Console(stderr=True), transient=True) as progress,
        ):
            report = search(inputs, first, runner, options, _shown(progress))
    except (AgentError, StoreError) as error:
        raise OpsError(f"{error}") from error
    write_settings(report, output)
    return report


def _shown(progress: Progress) -> _OnProgress:
    task = progress.add_task("measuring settings", total=None)

    def update(done: int, of: int, reason: str | None) -> None:
        doing = f"measuring {of} settings" + (f" ({reason})" if reason else "")
        progress.update(task, completed=done, total=of, description=doing)

    return update


def _newest_release(stack_client: StackClient, site: str) -> Release:
    rows = stack_client.releases(site)
    if not rows:
        raise OpsError(
            f"No release has arrived at {site} yet, so it is unknown which surveys can be used: "
            f"`rssi drop --site {site}` some, and search after the first training."
        )
    return stack_client.artifacts.release(rows[-1].record.run_id)


def _settings_of_release(release: Release) -> Hyperparameters:
    try:
        return Hyperparameters.model_validate(release.hyperparameters)
    except ValidationError as error:
        raise UsageError(
            f"{release.run_id} was trained with settings that this version does not know; name "
            f"others with --settings: {error}"
        ) from error


@contextmanager
def _runner(settings: AgentSettings) -> Iterator[IndexedRunner]:
    log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    if settings.runner == "process":
        with tempfile.TemporaryDirectory(prefix="rssi-tune-") as folder:
            processes = IndexedProcesses(Path(folder), _process_environment(), log, settings.limits)
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


def _process_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name in _PASSED_ON
    }
