"""The agent's loop: look at what is there, do what is missing, say what happened, wait.

Level-triggered: a message or the end of a run only says which site to look at next, and a look at
every site now and then finds what no message told. So no message, however late, lost or repeated,
changes more than the moment. What may go wrong: a site whose looks fail, which is tried again with
a growing pause and must not hold up the others.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from structlog.typing import FilteringBoundLogger

from aws.s3 import StoreError
from events.manifests import Quarantine, SurveyRef
from events.outbound import Event
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.adapters.survey_queue import QueueMessage, SurveyQueue
from trainer.agent.adapters.survey_store import Listing, SurveyStore
from trainer.agent.core import run_events
from trainer.agent.core.reconcile import (
    Debounce,
    Decision,
    NoAction,
    Recipe,
    Restart,
    RetryAt,
    SchedulingPolicy,
    Start,
    WaitForRun,
    WaitUntil,
    debounce_after,
    debounced,
    decide,
)
from trainer.agent.core.runs import Announced, RunState, RunStatus
from trainer.agent.errors import AgentError, BorderError, RunnerError
from trainer.agent.health import HealthState
from trainer.agent.metrics import AgentMetrics
from trainer.agent.observer import ObservedState, Observer
from trainer.agent.runners.runner import Runner
from trainer.agent.work_queue import WorkQueue

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_JITTER = 0.1
_HIDE_FOR = timedelta(minutes=15)
_HIDE_AGAIN_BEFORE = timedelta(minutes=5)
_HOLD_AT_MOST = timedelta(hours=11)
"""SQS ends a message's stay in our hands after 12 h, and counts it against the message."""
_SETTLED_FOR = timedelta(hours=1)
"""After this long a site whose listing is unchanged is looked at in full all the same."""
_LOOKS_AT_ONCE = 8


@dataclass(slots=True)
class _Held:
    """A message that is kept until what it asked for is durable."""

    message: QueueMessage
    since: datetime
    hidden_until: datetime


@dataclass(slots=True)
class _Attention:
    """What the loop keeps in mind about a site; all of it can be lost without harm."""

    due: datetime | None = None
    debounce: Debounce | None = None
    waits_for_run: bool = False
    failures: int = 0
    arrived: list[QueueMessage] = field(default_factory=list)
    held: list[_Held] = field(default_factory=list)
    said: str = ""
    settled: Listing | None = None
    """What was listed when there was nothing left to do about it."""
    settled_until: datetime | None = None
    last_start: datetime | None = None


@dataclass(slots=True)
class Controller:
    """Keeps every site trained on what has been uploaded for it."""

    surveys: SurveyStore
    artifacts: ArtifactStore
    bus: RunEventPublisher
    queue: SurveyQueue | None
    runner: Runner
    recipe: Recipe
    policy: SchedulingPolicy
    resync: timedelta
    only_sites: Collection[str]
    """The only sites to look after; empty for all that are in the data bucket."""
    work_queue: WorkQueue
    clock: Callable[[], datetime]
    """Tells the time in UTC."""
    log: FilteringBoundLogger
    metrics: AgentMetrics
    health: HealthState
    on_resync: Callable[[], None] = lambda: None
    """Called whenever all sites are looked at."""
    random_share: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    """A random number in 0 to 1, so that many agents do not act in step."""
    _sites: defaultdict[str, _Attention] = field(
        default_factory=lambda: defaultdict(_Attention), init=False
    )
    _resync_due: datetime | None = field(default=None, init=False)
    _resync_failures: int = field(default=0, init=False)
    _report_due: datetime | None = field(default=None, init=False)
    _report_failures: int = field(default=0, init=False)
    _trouble_since_resync: bool = field(default=False, init=False)

    @property
    def observer(self) -> Observer:
        """What looks at sites for it."""
        return Observer(self.surveys, self.artifacts, self.recipe)

    def run(self, over: Callable[[], bool]) -> None:
        """Work until it is over, then let the runner go."""
        try:
            timeout_s = 0.0
            while not over():
                self.health.expect(timeout_s)
                self.step(timeout_s)
                timeout_s = self.idle_s()
        finally:
            self.runner.close()

    def step(self, timeout_s: float) -> None:
        """Wait at most ``timeout_s`` for something to happen, then do all that is due."""
        for item in self.work_queue.take(timeout_s):
            attention = self._sites[item.site]
            attention.arrived.append(item.message)
            attention.due = self.clock()
        resynced = self._look_around()
        runs = self._report()
        self._attend(self._due_sites(), runs)
        self._keep_hidden()
        if resynced:
            self._sum_up()

    def idle_s(self) -> float:
        """Seconds until something is due although nothing happens."""
        dues = (attention.due for attention in self._sites.values())
        hidings = (
            held.hidden_until - _HIDE_AGAIN_BEFORE
            for attention in self._sites.values()
            for held in attention.held
        )
        moments = [due for due in (*dues, *hidings, self._resync_due, self._report_due) if due]
        soonest = min(moments, default=self.clock() + self.resync)
        return max((soonest - self.clock()).total_seconds(), 0.0)

    def _look_around(self) -> bool:
        """Now and then, have every site looked at: whatever the queue did not tell."""
        now = self.clock()
        if self._resync_due and self._resync_due > now:
            return False
        try:
            sites = tuple(self.only_sites) or self.surveys.sites()
        except StoreError as error:
            self._resync_failures += 1
            self._resync_due = now + self._pause(self._resync_failures)
            self.metrics.failed("store")
            self.log.warning("sites can't be listed, trying again", reason=str(error))
            return False
        self._resync_failures = 0
        self._trouble_since_resync = False
        self._resync_due = now + self.resync * (1 + _JITTER * (2 * self.random_share() - 1))
        self.metrics.found(len(sites))
        self.on_resync()
        for site in sites:
            self._sites[site].due = now
        return True

    def _sum_up(self) -> None:
        """After a look at every site: whether all of it went well."""
        if not self._trouble_since_resync:
            self.metrics.reconciled(self.clock())
            self.health.ready = True

    def _report(self) -> list[RunStatus] | None:
        """List the runs, and tell the bus what it has not heard yet; None if they can't be."""
        now = self.clock()
        try:
            runs = self.runner.runs()
        except RunnerError as error:
            self._report_again_later(now)
            self.metrics.failed("runner")
            self.log.warning("runs can't be listed, trying again", reason=str(error))
            return None
        self.metrics.seen(runs)
        if self._report_due is None or self._report_due <= now:
            told = [self._could_announce(status) for status in runs]
            self._report_due = None
            if all(told):
                self._report_failures = 0
            else:
                self._report_again_later(now)
        return [*runs]

    def _report_again_later(self, now: datetime) -> None:
        self._report_failures += 1
        self._report_due = now + self._pause(self._report_failures)
        self._trouble_since_resync = True

    def _could_announce(self, status: RunStatus) -> bool:
        """Announce a run; one that can't be told about must not silence the others."""
        try:
            self._announce(status)
        except (AgentError, StoreError) as error:
            self._count(error)
            self._log_of(status).warning("a run can't be reported, trying again", reason=str(error))
            return False
        return True

    def _announce(self, status: RunStatus) -> None:
        if status.announced < Announced.START:
            self._publish((run_events.started(status),))
            self.runner.mark_announced(status.run.id, Announced.START)
        if status.active or status.announced >= Announced.END:
            return
        release = self.artifacts.release(status.run.id)
        found = () if status.state is RunState.SUCCEEDED else self._quarantine_of(status)
        self._publish(run_events.ended(status, release, found))
        self.runner.mark_announced(status.run.id, Announced.END)
        self._log_of(status).info("run reported", exit_code=status.exit_code, state=status.state)
        self._wake_waiting(status.run.spec.site)

    def _publish(self, events: tuple[Event, ...]) -> None:
        self.bus.publish(events)
        for event in events:
            self.metrics.published(type(event).__name__)

    def _quarantine_of(self, status: RunStatus) -> tuple[Quarantine, ...]:
        site = status.run.spec.site
        ids = sorted(self.artifacts.quarantined(site))
        found = (self.artifacts.quarantine(site, survey_id) for survey_id in ids)
        return tuple(quarantine for quarantine in found if quarantine)

    def _wake_waiting(self, site: str) -> None:
        waiting = [name for name, attention in self._sites.items() if attention.waits_for_run]
        for name in (site, *waiting):
            if name in self.only_sites or not self.only_sites:
                self._sites[name].due = self.clock()
                self._sites[name].settled = None

    def _due_sites(self) -> list[str]:
        """Sites to look at now: the one whose last run began longest ago comes first."""
        now = self.clock()
        due = [
            (attention.last_start is not None, attention.last_start or now, attention.due, site)
            for site, attention in self._sites.items()
            if attention.due and attention.due <= now
        ]
        return [site for *_, site in sorted(due)]

    def _attend(self, sites: list[str], runs: list[RunStatus] | None) -> None:
        """Look at sites, several at once, and act on them one after the other."""
        for site, view in self._views(sites):
            attention = self._sites[site]
            try:
                if isinstance(view, StoreError):
                    raise view
                self._treat(site, attention, view, runs)
            except (AgentError, StoreError) as error:
                self._fail(site, attention, error)
                continue
            attention.failures = 0

    def _fail(self, site: str, attention: _Attention, error: AgentError | StoreError) -> None:
        attention.failures += 1
        attention.due = self.clock() + self._pause(attention.failures)
        self._trouble_since_resync = True
        self._count(error)
        self.log.warning("a site can't be looked at, trying again", site=site, reason=str(error))

    def _views(self, sites: list[str]) -> Iterator[tuple[str, ObservedState | StoreError]]:
        if len(sites) <= 1:
            yield from ((site, self._view(site)) for site in sites)
            return
        with ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="look") as pool:
            yield from zip(sites, pool.map(self._view, sites), strict=True)

    def _view(self, site: str) -> ObservedState | StoreError:
        attention = self._sites[site]
        fresh = attention.settled_until and self.clock() < attention.settled_until
        try:
            return self.observer.look(site, attention.settled if fresh else None)
        except StoreError as error:
            return error

    def _treat(
        self, site: str, attention: _Attention, view: ObservedState, runs: list[RunStatus] | None
    ) -> None:
        """Compare what should have been trained with what has been, and act on it.

        Args:
            site: the site.
            attention: what is kept in mind about it.
            view: what it has.
            runs: all runs, listed before any release is looked for: one that ends in between has
                its release by then. What is started here is added.
        """
        if view.settled:
            attention.due = None
            self._delete_messages(attention)
            return
        if runs is None:
            raise RunnerError("the runs are not known at the moment")
        for survey in view.misfits:
            self._set_aside(site, survey)
        now = self.clock()
        decision = self._decide(attention, view, runs, now)
        self._act(site, decision, runs)
        self._say(site, attention, decision)
        settled = isinstance(decision, NoAction)
        attention.settled = view.seen if settled else None
        attention.settled_until = now + _SETTLED_FOR * (1 + _JITTER * (2 * self.random_share() - 1))
        attention.due = decision.moment if isinstance(decision, WaitUntil | RetryAt) else None
        attention.waits_for_run = isinstance(decision, WaitForRun)
        if isinstance(decision, WaitUntil | WaitForRun):
            self._hold_messages(attention)
        else:
            self._delete_messages(attention)

    def _decide(
        self, attention: _Attention, view: ObservedState, runs: list[RunStatus], now: datetime
    ) -> Decision:
        if view.wanted is None:
            attention.debounce = None
            return NoAction("no survey to train")
        debounce = debounced(attention.debounce, view.wanted.run.id, now)
        decision = decide(
            view.wanted,
            debounce,
            runs,
            self.policy,
            now,
            released=view.released,
            template=self.runner.template,
        )
        attention.debounce = debounce_after(debounce, decision, now)
        return decision

    def _set_aside(self, site: str, survey: SurveyRef) -> None:
        quarantine = Quarantine(
            site=site,
            survey=survey,
            reason="its name does not end in .csv, and surveys are CSV files; upload it as CSV",
        )
        # Told first: killed in between, the agent tells it again rather than never.
        self._publish((run_events.quarantine_event(quarantine, survey.id),))
        self.artifacts.set_aside(quarantine)
        self.log.warning("survey quarantined", survey=survey.key, reason=quarantine.reason)

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
        # The loop reports before it looks; this start should not wait for the next round.
        self.work_queue.nudge()

    def _say(self, site: str, attention: _Attention, decision: Decision) -> None:
        match decision:
            case Start(wanted) | Restart(wanted):
                said = f"started {wanted.run.id} with {wanted.run.surveys} surveys"
            case WaitUntil():
                said = "waiting until uploads have ended"
            case RetryAt():
                said = "waiting to start the failed run again"
            case WaitForRun():
                said = "waiting for a run to end"
            case NoAction(because):
                said = f"nothing to do: {because}"
        if said != attention.said:
            attention.said = said
            self.log.info(said, site=site)

    def _hold_messages(self, attention: _Attention) -> None:
        """Keep messages until what they asked for is durable, and hidden until then."""
        now = self.clock()
        # Hidden as of long ago: the next round of `_keep_hidden` sees to all that is due.
        attention.held += [_Held(message, now, now) for message in attention.arrived]
        attention.arrived = []

    def _keep_hidden(self) -> None:
        """Hide held messages again before they come into sight; let go of those held too long."""
        now = self.clock()
        to_hide, to_delete = list[_Held](), list[QueueMessage]()
        for attention in self._sites.values():
            for held in tuple(attention.held):
                if held.hidden_until - _HIDE_AGAIN_BEFORE > now:
                    continue
                if now - held.since >= _HOLD_AT_MOST:
                    # The listing carries on what it asked for.
                    attention.held.remove(held)
                    to_delete.append(held.message)
                else:
                    to_hide.append(held)
        self._delete(to_delete)
        self._hide(to_hide, now)

    def _hide(self, held: list[_Held], now: datetime) -> None:
        for one in held:
            one.hidden_until = now + _HIDE_FOR
        try:
            if self.queue and held:
                messages = [one.message for one in held]
                self.queue.keep_hidden(messages, math.ceil(_HIDE_FOR.total_seconds()))
        except BorderError as error:
            self.metrics.failed("queue")
            self.log.warning("messages may come twice", reason=str(error))

    def _delete_messages(self, attention: _Attention) -> None:
        """What the messages asked for is durable: as a run, or as nothing left to do."""
        done = [*(held.message for held in attention.held), *attention.arrived]
        attention.held, attention.arrived = [], []
        self._delete(done)

    def _delete(self, messages: list[QueueMessage]) -> None:
        try:
            if self.queue and messages:
                self.queue.delete(*messages)
        except BorderError as error:
            self.metrics.failed("queue")
            self.log.warning("messages will come again", reason=str(error))

    def _count(self, error: AgentError | StoreError) -> None:
        match error:
            case StoreError():
                self.metrics.failed("store")
            case RunnerError():
                self.metrics.failed("runner")
            case _:
                self.metrics.failed("bus")

    def _pause(self, failures: int) -> timedelta:
        longest = min(_PAUSE_S * 2 ** min(failures - 1, 10), _LONGEST_PAUSE_S)
        return timedelta(seconds=longest * (0.5 + self.random_share() / 2))

    def _log_of(self, status: RunStatus) -> FilteringBoundLogger:
        return self.log.bind(run_id=status.run.id, correlation_id=status.run.correlation_id)
