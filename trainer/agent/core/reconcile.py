"""What to do about a site, decided from what is there. Pure: no clients, no clock.

Here a survey could be trained twice or never: too early a start cuts an upload of several files in
two, and a run that can't succeed must not be started for ever.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from events import names
from events.manifests import HyperparameterValue, RunSpec, Snapshot, SurveyRef
from trainer.agent.core.runs import DEADLINE_EXCEEDED, Announced, RunState, RunStatus, TrainingRun
from trainer.training.job.outcome import ExitCode

STORE_CLOCK_RESOLUTION = timedelta(seconds=1)
"""S3's ``LastModified`` has whole seconds: a younger upload may look up to one second older."""


_FAULTS_OF_DATA = frozenset({ExitCode.BAD_DATA, ExitCode.NOT_ENOUGH_DATA, ExitCode.STALE_SNAPSHOT})
"""No other image or machine can change these."""
_NODES_FAULT = ("Evicted", "NodeLost", "NodeShutdown", "Preempting", "Terminated")
"""How the reason of a pod begins that its node could not keep, in the kubelet's words."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What, besides the data, decides what is trained."""

    trainer_version: str
    hyperparameters: Mapping[str, HyperparameterValue]


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """How patient the agent is."""

    quiet_period: timedelta
    """How long nothing must have been uploaded before a snapshot is sealed."""
    longest_wait: timedelta
    """After this long a snapshot is sealed although uploads go on."""
    retry_after: timedelta
    """When a run that failed through no fault of its data is started once more."""
    max_parallel_runs: int


@dataclass(frozen=True, slots=True)
class DueRun:
    """What should be trained now: a snapshot, not sealed yet, and the run that it would be."""

    snapshot: Snapshot
    run: TrainingRun

    @property
    def newest_upload(self) -> datetime:
        """When the newest survey was uploaded, by the store's clock."""
        return max(survey.uploaded_at for survey in self.snapshot.surveys)


@dataclass(frozen=True, slots=True)
class Debounce:
    """Since when the agent has seen what it sees, by its own clock."""

    run_id: str
    changed_at: datetime
    """When this very run was first seen."""
    unsettled_since: datetime
    """When the first of the candidates was seen that have come since the last start."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seal the snapshot and start the run."""

    due_run: DueRun


@dataclass(frozen=True, slots=True)
class Restart:
    """That moment has come: forget how the run ended and start it anew."""

    due_run: DueRun


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Uploads may still be going on: look again at this moment."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The run ended without a release and is worth another start, at this moment."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class WaitForRun:
    """Look again when a run has ended: the site's own, or any when all places are taken."""


@dataclass(frozen=True, slots=True)
class NoAction:
    """All is as it should be, or only a change of the data can help; the text says which."""

    because: str


Decision = Start | Restart | WaitUntil | RetryAt | WaitForRun | NoAction


def due_run(
    site: str, surveys: Sequence[SurveyRef], quarantined: Collection[str], recipe: Recipe
) -> DueRun | None:
    """What should be trained, given the surveys that are there; None without a usable one.

    Args:
        site: the site's name.
        surveys: the current version of each survey of the site.
        quarantined: ids of the surveys that are set aside.
        recipe: what else decides.
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
    )
    run = TrainingRun(
        spec=spec,
        snapshot_key=names.snapshot_key(site, snapshot.digest),
        surveys=len(usable),
        correlation_id=snapshot.correlation_id,
    )
    return DueRun(snapshot, run)


def debounced(before: Debounce | None, run_id: str, now: datetime) -> Debounce:
    """Carry on what is remembered about a due run of a site after another look at it."""
    if before is None:
        return Debounce(run_id, changed_at=now, unsettled_since=now)
    if before.run_id == run_id:
        return before
    return Debounce(run_id, changed_at=now, unsettled_since=before.unsettled_since)


def debounce_after(debounce: Debounce, decision: Decision, now: datetime) -> Debounce | None:
    """What to keep of a notice after a decision; None once the site is settled.

    While a run is waited for, the longest wait has not begun: else the first survey after a long
    run would cut its upload in two.
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
        debounce: since when it has been seen.
        runs: every run that the runner knows, of all sites, as seen before ``released`` was.
        policy: how patient to be.
        now: the time, UTC.
        released: whether the wanted run has a release.
        template: what runs are started with now, besides their data.
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
    if known.ended_at is None or not (changed or _temporary(known)):
        return NoAction("the run failed, and would fail again until something changes")
    if known.announced < Announced.END:
        return WaitForRun()
    again_at = known.ended_at if changed else known.ended_at + policy.retry_after
    return Restart(wanted) if again_at <= now else RetryAt(again_at)


def _temporary(known: RunStatus) -> bool:
    """Whether the run may end otherwise although nothing of ours has changed.

    One that says it succeeded while its release is missing may: the release may have been deleted.
    So may one whose pod never ran until the deadline (its image could not be had, there was no
    room), or was put off its node at every attempt.
    """
    never_ran = (known.reason or "").startswith(f"{DEADLINE_EXCEEDED}: ")
    put_off = (known.reason or "").startswith(_NODES_FAULT)
    succeeded = known.state is RunState.SUCCEEDED
    return known.exit_code == ExitCode.TRY_AGAIN or succeeded or never_ran or put_off


def _settled_at(wanted: DueRun, debounce: Debounce, policy: SchedulingPolicy) -> datetime:
    """When uploads count as finished.

    The store's clock helps an agent that was away: what is old by any clock need not be waited
    for. It never makes the wait longer than the agent's own clock would.
    """
    last_change = min(debounce.changed_at, wanted.newest_upload + STORE_CLOCK_RESOLUTION)
    return min(last_change + policy.quiet_period, debounce.unsettled_since + policy.longest_wait)
