"""The agent's control loop: observe, do what is missing, report, wait.

Level-triggered: a message or the end of a run only says which site to observe next, and a resync of
all sites finds what no message announced. So a late, lost or repeated message changes only the
time. A site that can't be observed is tried again with a growing pause and does not hold up others.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from structlog.typing import FilteringBoundLogger

from aws.s3 import StoreError
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.adapters.survey_queue import SurveyQueue
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.core.backoff import backoff_s, jittered
from trainer.agent.core.observed import ObservedState
from trainer.agent.core.reconcile import (
    Decision,
    NoAction,
    Recipe,
    Restart,
    SchedulingPolicy,
    Start,
    WaitForRun,
    WaitUntil,
    debounce_after,
    debounced,
    decide,
    describe,
)
from trainer.agent.core.runs import RunState, RunStatus
from trainer.agent.core.schedule import SiteSchedule, due_sites
from trainer.agent.errors import AgentError, RunnerError
from trainer.agent.health import HealthState
from trainer.agent.held_messages import HeldMessages
from trainer.agent.metrics import AgentMetrics
from trainer.agent.observer import Observer
from trainer.agent.run_reporter import RunReporter
from trainer.agent.runners.runner import Runner
from trainer.agent.work_queue import WorkQueue

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_SETTLED_FOR = timedelta(hours=1)
"""After this long a site whose listing is unchanged is observed in full all the same."""
_OBSERVED_AT_ONCE = 8


@dataclass(slots=True)
class Controller:
    """Keeps every site trained on the surveys that were uploaded for it."""

    surveys: SurveyStore
    artifacts: ArtifactStore
    bus: RunEventPublisher
    queue: SurveyQueue | None
    runner: Runner
    recipe: Recipe
    policy: SchedulingPolicy
    resync: timedelta
    only_sites: Collection[str]
    """The only sites to care for; empty for all that are in the data bucket."""
    work_queue: WorkQueue
    clock: Callable[[], datetime]
    """Returns the time in UTC."""
    log: FilteringBoundLogger
    metrics: AgentMetrics
    health: HealthState
    on_resync: Callable[[], None] = lambda: None
    """Called at every resync."""
    random_share: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    """Returns a random number in 0 to 1, so that many agents do not act in step."""
    observer: Observer = field(init=False)
    _messages: HeldMessages = field(init=False)
    _reporter: RunReporter = field(init=False)
    _sites: defaultdict[str, SiteSchedule] = field(
        default_factory=lambda: defaultdict(SiteSchedule), init=False
    )
    _logged: dict[str, str] = field(default_factory=dict, init=False)
    """The last decision that was logged for each site."""
    _resync_due: datetime | None = field(default=None, init=False)
    _resync_failures: int = field(default=0, init=False)
    _report_due: datetime | None = field(default=None, init=False)
    _report_failures: int = field(default=0, init=False)
    _failed_since_resync: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Put together what shares the controller's parts."""
        self.observer = Observer(self.surveys, self.artifacts, self.recipe)
        self._messages = HeldMessages(self.queue, self.metrics, self.log)
        self._reporter = RunReporter(
            self.bus, self.artifacts, self.runner, self.metrics, self.log, self._wake_waiting
        )

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Work until it has to stop, then close the runner."""
        try:
            timeout_s = 0.0
            while not is_stopping():
                self.health.expect_heartbeat(timeout_s)
                self.step(timeout_s)
                timeout_s = self.idle_s()
        finally:
            self.runner.close()

    def step(self, timeout_s: float) -> None:
        """Wait at most ``timeout_s`` for work, then do everything that is due."""
        for item in self.work_queue.take(timeout_s):
            self._messages.add(item.site, item.message)
            self._sites[item.site].due = self.clock()
        resynced = self._resync_if_due()
        runs = self._list_and_report_runs()
        self._reconcile(due_sites(self._sites, self.clock()), runs)
        self._messages.keep_hidden(self.clock())
        if resynced and not self._failed_since_resync:
            self.metrics.reconciled(self.clock())
            self.health.ready = True

    def idle_s(self) -> float:
        """Seconds until something is due although nothing happens."""
        sites = (schedule.due for schedule in self._sites.values())
        moments = (*sites, *self._messages.due(), self._resync_due, self._report_due)
        soonest = min(filter(None, moments), default=self.clock() + self.resync)
        return max((soonest - self.clock()).total_seconds(), 0.0)

    def _resync_if_due(self) -> bool:
        """Now and then, make every site due; True if that has just happened."""
        now = self.clock()
        if self._resync_due and self._resync_due > now:
            return False
        try:
            sites = tuple(self.only_sites) or self.surveys.sites()
        except StoreError as error:
            self._resync_failures += 1
            self._resync_due = now + self._pause(self._resync_failures)
            self.metrics.failed_with(error)
            self.log.warning("sites can't be listed, trying again", reason=str(error))
            return False
        self._resync_failures = 0
        self._failed_since_resync = False
        self._resync_due = now + jittered(self.resync, self.random_share())
        self.metrics.found(len(sites))
        self.on_resync()
        for site in sites:
            self._sites[site].due = now
        return True

    def _list_and_report_runs(self) -> list[RunStatus] | None:
        """List the runs and report what is not reported yet; None if they can't be listed."""
        now = self.clock()
        try:
            runs = self.runner.runs()
        except RunnerError as error:
            self._report_again_later(now)
            self.metrics.failed_with(error)
            self.log.warning("runs can't be listed, trying again", reason=str(error))
            return None
        self.metrics.seen(runs)
        if self._report_due is None or self._report_due <= now:
            self._report_due = None
            if self._reporter.report(runs):
                self._report_failures = 0
            else:
                self._report_again_later(now)
        return [*runs]

    def _report_again_later(self, now: datetime) -> None:
        self._report_failures += 1
        self._report_due = now + self._pause(self._report_failures)
        self._failed_since_resync = True

    def _wake_waiting(self, site: str) -> None:
        """A run of ``site`` has ended: it and all sites that waited for a free place are due."""
        waiting = [name for name, schedule in self._sites.items() if schedule.waits_for_run]
        for name in (site, *waiting):
            if name in self.only_sites or not self.only_sites:
                self._sites[name].wake(self.clock())

    def _reconcile(self, sites: list[str], runs: list[RunStatus] | None) -> None:
        """Observe sites, several at once, and act on them one after the other."""
        for site, state in self._observe(sites):
            schedule = self._sites[site]
            try:
                if isinstance(state, StoreError):
                    raise state
                self._reconcile_site(site, schedule, state, runs)
                schedule.failures = 0
            except (AgentError, StoreError) as error:
                schedule.failures += 1
                schedule.due = self.clock() + self._pause(schedule.failures)
                self._failed_since_resync = True
                self.metrics.failed_with(error)
                self.log.warning(
                    "a site can't be looked at, trying again", site=site, reason=str(error)
                )

    def _observe(self, sites: list[str]) -> Iterator[tuple[str, ObservedState | StoreError]]:
        if len(sites) <= 1:
            yield from ((site, self._observe_site(site)) for site in sites)
            return
        with ThreadPoolExecutor(_OBSERVED_AT_ONCE, thread_name_prefix="observe") as pool:
            yield from zip(sites, pool.map(self._observe_site, sites), strict=True)

    def _observe_site(self, site: str) -> ObservedState | StoreError:
        try:
            return self.observer.observe(site, self._sites[site].settled_listing(self.clock()))
        except StoreError as error:
            return error

    def _reconcile_site(
        self,
        site: str,
        schedule: SiteSchedule,
        state: ObservedState,
        runs: list[RunStatus] | None,
    ) -> None:
        """Compare what should have been trained with what has been, and act on it.

        Args:
            site: the site.
            schedule: what is remembered about it.
            state: what was observed.
            runs: all runs, listed before any release is looked for: one that ends in between has
                its release by then. A run that is started here is added.
        """
        if state.settled:
            schedule.due = None
            self._messages.delete(site)
            return
        if runs is None:
            raise RunnerError("the runs are not known at the moment")
        for survey in state.misfits:
            self._reporter.quarantine(site, survey)
        now = self.clock()
        decision = self._decide(schedule, state, runs, now)
        self._act(site, decision, runs)
        self._log_once(site, describe(decision))
        settled_for = jittered(_SETTLED_FOR, self.random_share())
        schedule.follow(decision, state.listing, now, settled_for)
        if isinstance(decision, WaitUntil | WaitForRun):
            self._messages.hold(site, self.clock())
        else:
            self._messages.delete(site)

    def _decide(
        self, schedule: SiteSchedule, state: ObservedState, runs: list[RunStatus], now: datetime
    ) -> Decision:
        if state.wanted is None:
            schedule.debounce = None
            return NoAction("no survey to train")
        debounce = debounced(schedule.debounce, state.wanted.run.id, now)
        decision = decide(
            state.wanted,
            debounce,
            runs,
            self.policy,
            now,
            released=state.released,
            template=self.runner.template,
        )
        schedule.debounce = debounce_after(debounce, decision, now)
        return decision

    def _act(self, site: str, decision: Decision, runs: list[RunStatus]) -> None:
        if not isinstance(decision, Start | Restart):
            return
        wanted = decision.due_run
        self.artifacts.seal(wanted.snapshot)
        if isinstance(decision, Restart):
            self.runner.forget(wanted.run.id)
        self.runner.start(wanted.run)
        self._sites[site].last_start = self.clock()
        runs[:] = [status for status in runs if status.run.id != wanted.run.id]
        runs.append(RunStatus(run=wanted.run, state=RunState.PENDING))
        # The loop reports before it observes; this start should not wait for the resync.
        self.work_queue.wake()

    def _log_once(self, site: str, decision: str) -> None:
        if self._logged.get(site) != decision:
            self._logged[site] = decision
            self.log.info(decision, site=site)

    def _pause(self, failures: int) -> timedelta:
        pause_s = backoff_s(failures, _FIRST_PAUSE_S, _LONGEST_PAUSE_S, self.random_share())
        return timedelta(seconds=pause_s)
