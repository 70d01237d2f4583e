"""Decides what to do about a site, from its surveys, runs and release. Pure: no client, no clock.

A mistake here trains a survey twice or never: a start that is too early splits an upload of several
files, and a run that can't succeed must not be started for ever.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from events import names
from events.manifests import HyperparameterValue, RunSpec, Snapshot, SurveyRef
from trainer.agent.core.runs import DEADLINE_EXCEEDED, Announced, RunState, RunStatus, TrainingRun
from trainer.training.job.outcome import ExitCode

STORE_CLOCK_RESOLUTION = timedelta(seconds=1)
"""S3's ``LastModified`` has whole seconds: an upload may look up to one second too old."""


_FAULTS_OF_DATA = frozenset({ExitCode.BAD_DATA, ExitCode.NOT_ENOUGH_DATA, ExitCode.STALE_SNAPSHOT})
"""Exit codes that no other image or machine can change."""
_DISRUPTIONS = ("Evicted", "NodeLost", "NodeShutdown", "Preempting", "Terminated")
"""The beginning of the kubelet's reason for a pod that its node could not keep."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything besides the data that determines a run."""

    trainer_version: str
    hyperparameters: Mapping[str, HyperparameterValue]
    site_sha256: str | None = None
    """SHA-256 (hex) of the site's description, if it has one."""


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """When runs are started."""

    quiet_period: timedelta
    """How long nothing must have been uploaded before a snapshot is sealed."""
    longest_wait: timedelta
    """After this long a snapshot is sealed although uploads go on."""
    retry_after: timedelta
    """How long after its end a run that failed for a passing reason is started again."""
    max_parallel_runs: int


@dataclass(frozen=True, slots=True)
class DueRun:
    """What should be trained: a snapshot, not sealed yet, and its run."""

    snapshot: Snapshot
    run: TrainingRun

    @property
    def newest_upload(self) -> datetime:
        """When the newest survey was uploaded, by the store's clock."""
        return max(survey.uploaded_at for survey in self.snapshot.surveys)


@dataclass(frozen=True, slots=True)
class Debounce:
    """Since when a site's due run is unchanged, by the agent's clock."""

    run_id: str
    changed_at: datetime
    """When this run was first due."""
    unsettled_since: datetime
    """When the first run since the last start was due."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seal the snapshot and start the run."""

    due_run: DueRun


@dataclass(frozen=True, slots=True)
class Restart:
    """Forget how the run ended and start it again."""

    due_run: DueRun


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Uploads may still be going on: observe again at this moment."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The run ended without a release and is worth another start, at this moment."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class WaitForRun:
    """Observe again when a run has ended: the site's own, or any at the limit of active runs."""


@dataclass(frozen=True, slots=True)
class NoAction:
    """Nothing is missing, or only a change of the data can help; the reason says which."""

    reason: str


Decision = Start | Restart | WaitUntil | RetryAt | WaitForRun | NoAction


def due_run(
    site: str, surveys: Sequence[SurveyRef], quarantined: Collection[str], recipe: Recipe
) -> DueRun | None:
    """What should be trained from a site's surveys; None without a usable one.

    Args:
        site: the site's name.
        surveys: the current version of each survey of the site.
        quarantined: ids of the surveys in quarantine.
        recipe: what else determines the run.
    """
    usable = [survey for survey in surveys if survey.id not in quarantined]
    if not usable:
        return None
    snapshot = Snapshot.of(site, usable)
    spec = RunSpec(
        site=site,
        snapshot=snapshot.digest,
        trainer_version=recipe.trainer_version,
        hyperparameters=dict(recipe.hyperparameters),
        site_sha256=recipe.site_sha256,
    )
    run = TrainingRun(
        spec=spec,
        snapshot_key=names.snapshot_key(site, snapshot.digest),
        surveys=len(usable),
        correlation_id=snapshot.correlation_id,
    )
    return DueRun(snapshot, run)


def debounced(before: Debounce | None, run_id: str, now: datetime) -> Debounce:
    """The debounce state after another observation of the site."""
    if before is None:
        return Debounce(run_id, changed_at=now, unsettled_since=now)
    if before.run_id == run_id:
        return before
    return Debounce(run_id, changed_at=now, unsettled_since=before.unsettled_since)


def debounce_after(debounce: Debounce, decision: Decision, now: datetime) -> Debounce | None:
    """The debounce state after a decision; None once the site is settled.

    While a run is waited for, the longest wait does not begin: otherwise the first survey after a
    long run would split its upload.
    """
    if isinstance(decision, WaitForRun):
        return replace(debounce, unsettled_since=now)
    return debounce if isinstance(decision, WaitUntil) else None


def decide(
    wanted: DueRun,
    debounce: Debounce,
    runs: Sequence[RunStatus],
    policy: SchedulingPolicy,
    now: datetime,
    *,
    released: bool,
    template: str,
) -> Decision:
    """Decide what to do about a site.

    Args:
        wanted: what should be trained.
        debounce: since when that is unchanged.
        runs: every run of all sites, listed before ``released`` was looked up.
        policy: when runs are started.
        now: the time, UTC.
        released: whether the wanted run has a release.
        template: the runner's template now.
    """
    active = [status for status in runs if status.active]
    if released:
        return NoAction("the newest data has a release")
    if any(status.run.spec.site == wanted.run.spec.site for status in active):
        return WaitForRun()
    known = next((status for status in runs if status.run.id == wanted.run.id), None)
    decision = (
        _about_new(wanted, debounce, policy, now)
        if known is None
        else _about_ended(wanted, known, policy, now, template)
    )
    starts = isinstance(decision, Start | Restart)
    return WaitForRun() if starts and len(active) >= policy.max_parallel_runs else decision


def describe(decision: Decision) -> str:
    """A decision as a line of the log."""
    match decision:
        case Start(wanted) | Restart(wanted):
            return f"started {wanted.run.id} with {wanted.run.surveys} surveys"
        case WaitUntil():
            return "waiting until uploads have ended"
        case RetryAt():
            return "waiting to start the failed run again"
        case WaitForRun():
            return "waiting for a run to end"
        case NoAction(reason):
            return f"nothing to do: {reason}"


def _about_new(
    wanted: DueRun, debounce: Debounce, policy: SchedulingPolicy, now: datetime
) -> Decision:
    settled_at = _settled_at(wanted, debounce, policy)
    return Start(wanted) if settled_at <= now else WaitUntil(settled_at)


def _about_ended(
    wanted: DueRun, known: RunStatus, policy: SchedulingPolicy, now: datetime, template: str
) -> Decision:
    """A run that ended without a release: only some ends are worth another start."""
    changed = known.template != template and known.exit_code not in _FAULTS_OF_DATA
    if known.ended_at is None or not (changed or _may_end_otherwise(known)):
        return NoAction("the run failed, and would fail again until something changes")
    if known.announced < Announced.END:
        return WaitForRun()
    again_at = known.ended_at if changed else known.ended_at + policy.retry_after
    return Restart(wanted) if again_at <= now else RetryAt(again_at)


def _may_end_otherwise(known: RunStatus) -> bool:
    """Whether the run may end otherwise although nothing has changed in the site or the template.

    A run that succeeded although its release is missing may: the release may have been deleted. So
    may one whose pod never ran until the deadline (no image, no room), or was evicted from its node
    at every attempt.
    """
    never_ran = (known.reason or "").startswith(f"{DEADLINE_EXCEEDED}: ")
    disrupted = (known.reason or "").startswith(_DISRUPTIONS)
    succeeded = known.state is RunState.SUCCEEDED
    return known.exit_code == ExitCode.TRY_AGAIN or succeeded or never_ran or disrupted


def _settled_at(wanted: DueRun, debounce: Debounce, policy: SchedulingPolicy) -> datetime:
    """When uploads count as finished.

    The store's clock spares a restarted agent the wait for uploads that are old by any clock. It
    never makes the wait longer than the agent's own clock would.
    """
    last_change = min(debounce.changed_at, wanted.newest_upload + STORE_CLOCK_RESOLUTION)
    return min(last_change + policy.quiet_period, debounce.unsettled_since + policy.longest_wait)
