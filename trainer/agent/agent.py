"""The agent's loop: look at what is there, do what is missing, say what happened, wait.

Level-triggered: a message or the end of a run only says which site to look at next, and a look at
every site now and then finds what no message told. So no message, however late, lost or repeated,
changes more than the moment. What may go wrong: a site whose looks fail, which is tried again with
a growing pause and must not hold up the others.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Event as Flag

from structlog.typing import FilteringBoundLogger

from events.manifests import Quarantine, SurveyRef
from trainer.agent import tell
from trainer.agent.borders.artifacts import Artifacts
from trainer.agent.borders.bus import Bus
from trainer.agent.borders.queue import Message, Queue
from trainer.agent.borders.surveys import Surveys
from trainer.agent.errors import AgentError, BorderError, RunnerError
from trainer.agent.mailbox import Mailbox
from trainer.agent.reconcile import (
    Candidate,
    Decision,
    Nothing,
    Notice,
    Pace,
    Recipe,
    RetryAt,
    Start,
    StartAgain,
    WaitForRun,
    WaitUntil,
    candidate,
    decide,
    notice,
    remember,
)
from trainer.agent.runners import Announced, Runner, RunState, RunStatus
from trainer.s3 import StoreError
from trainer.training.settings import SITE_DESCRIPTION

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_JITTER = 0.1
_HIDDEN_BEYOND_WAIT_S = 60
_MOST_HIDDEN_S = 12 * 3600
"""SQS hides a message for 12 h at most."""


@dataclass(slots=True)
class _Attention:
    """What the loop keeps in mind about a site; all of it can be lost without harm."""

    due: datetime | None = None
    notice: Notice | None = None
    waits_for_run: bool = False
    failures: int = 0
    arrived: list[Message] = field(default_factory=list)
    held: list[Message] = field(default_factory=list)
    said: str = ""


@dataclass(slots=True)
class Agent:
    """Keeps every site trained on what has been uploaded for it."""

    surveys: Surveys
    artifacts: Artifacts
    bus: Bus
    queue: Queue | None
    runner: Runner
    recipe: Recipe
    pace: Pace
    resync: timedelta
    only_sites: Collection[str]
    """The only sites to look after; empty for all that are in the data bucket."""
    mailbox: Mailbox
    clock: Callable[[], datetime]
    """Tells the time in UTC."""
    log: FilteringBoundLogger
    chance: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    """A random number in 0 to 1, so that many agents do not act in step."""
    _sites: defaultdict[str, _Attention] = field(
        default_factory=lambda: defaultdict(_Attention), init=False
    )
    _resync_due: datetime | None = field(default=None, init=False)
    _resync_failures: int = field(default=0, init=False)
    _report_due: datetime | None = field(default=None, init=False)
    _report_failures: int = field(default=0, init=False)

    def run(self, stop: Flag) -> None:
        """Work until told to stop, then let the runner go."""
        try:
            timeout_s = 0.0
            while not stop.is_set():
                self.step(timeout_s)
                timeout_s = self.idle_s()
        finally:
            self.runner.close()

    def step(self, timeout_s: float) -> None:
        """Wait at most ``timeout_s`` for something to happen, then do all that is due."""
        for letter in self.mailbox.take(timeout_s):
            attention = self._sites[letter.site]
            attention.arrived.append(letter.message)
            attention.due = self.clock()
        self._look_around()
        self._report()
        for site in self._due_sites():
            self._attend(site)

    def idle_s(self) -> float:
        """Seconds until something is due although nothing happens."""
        dues = (attention.due for attention in self._sites.values())
        moments = [due for due in (*dues, self._resync_due, self._report_due) if due]
        soonest = min(moments, default=self.clock() + self.resync)
        return max((soonest - self.clock()).total_seconds(), 0.0)

    def _look_around(self) -> None:
        """Now and then, have every site looked at: whatever the queue did not tell."""
        now = self.clock()
        if self._resync_due and self._resync_due > now:
            return
        try:
            sites = tuple(self.only_sites) or self.surveys.sites()
        except StoreError as error:
            self._resync_failures += 1
            self._resync_due = now + self._pause(self._resync_failures)
            self.log.warning("sites can't be listed, trying again", reason=str(error))
            return
        self._resync_failures = 0
        self._resync_due = now + self.resync * (1 + _JITTER * (2 * self.chance() - 1))
        for site in sites:
            self._sites[site].due = now

    def _report(self) -> None:
        """Tell the bus what it has not heard yet about any run."""
        now = self.clock()
        if self._report_due and self._report_due > now:
            return
        try:
            told = [self._could_announce(status) for status in self.runner.runs()]
        except RunnerError as error:
            told = [False]
            self.log.warning("runs can't be listed, trying again", reason=str(error))
        self._report_failures = 0 if all(told) else self._report_failures + 1
        self._report_due = None if all(told) else now + self._pause(self._report_failures)

    def _could_announce(self, status: RunStatus) -> bool:
        """Announce a run; one that can't be told about must not silence the others."""
        try:
            self._announce(status)
        except (AgentError, StoreError) as error:
            self._log_of(status).warning("a run can't be reported, trying again", reason=str(error))
            return False
        return True

    def _announce(self, status: RunStatus) -> None:
        if status.announced < Announced.START:
            self.bus.publish((tell.started(status),))
            self.runner.mark_announced(status.run.id, Announced.START)
        if status.active or status.announced >= Announced.END:
            return
        release = self.artifacts.release(status.run.id)
        found = () if status.state is RunState.SUCCEEDED else self._quarantine_of(status)
        self.bus.publish(tell.ended(status, release, found))
        self.runner.mark_announced(status.run.id, Announced.END)
        self._log_of(status).info("run reported", exit_code=status.exit_code, state=status.state)
        self._wake_waiting(status.run.spec.site)

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

    def _due_sites(self) -> list[str]:
        now = self.clock()
        return [
            site
            for site, attention in self._sites.items()
            if attention.due and attention.due <= now
        ]

    def _attend(self, site: str) -> None:
        attention = self._sites[site]
        try:
            self._look(site, attention)
        except (AgentError, StoreError) as error:
            attention.failures += 1
            attention.due = self.clock() + self._pause(attention.failures)
            self.log.warning(
                "a site can't be looked at, trying again", site=site, reason=str(error)
            )
            return
        attention.failures = 0

    def _look(self, site: str, attention: _Attention) -> None:
        """Compare what should have been trained with what has been, and act on it."""
        now = self.clock()
        # Before the release is looked for: a run that ends in between has its release by then.
        runs = self.runner.runs()
        decision: Decision = Nothing("no survey to train")
        wanted = self._candidate(site)
        if wanted is None:
            attention.notice = None
        else:
            noticed = notice(attention.notice, wanted.run.id, now)
            released = self.artifacts.is_released(wanted.run.id)
            decision = decide(wanted, noticed, runs, self.pace, now, released=released)
            attention.notice = remember(noticed, decision, now)
        self._act(decision)
        self._say(site, attention, decision)
        attention.due = decision.moment if isinstance(decision, WaitUntil | RetryAt) else None
        attention.waits_for_run = isinstance(decision, WaitForRun)
        if isinstance(decision, WaitUntil):
            self._hold_messages(attention)
        else:
            self._delete_messages(attention)

    def _candidate(self, site: str) -> Candidate | None:
        surveys = self.surveys.current(site)
        quarantined = self.artifacts.quarantined(site)
        misfits = [survey for survey in surveys if not survey.key.lower().endswith(".csv")]
        for survey in misfits:
            if survey.id not in quarantined:
                self._set_aside(site, survey)
        kept_out = quarantined.union(survey.id for survey in misfits)
        return candidate(site, surveys, kept_out, self._recipe_of(site))

    def _set_aside(self, site: str, survey: SurveyRef) -> None:
        quarantine = Quarantine(
            site=site,
            survey=survey,
            reason="its name does not end in .csv, and surveys are CSV files; upload it as CSV",
        )
        if self.artifacts.set_aside(quarantine):
            self.log.warning("survey quarantined", survey=survey.key, reason=quarantine.reason)
            self.bus.publish((tell.quarantine_event(quarantine, survey.id),))

    def _recipe_of(self, site: str) -> Recipe:
        """The recipe with the site's description pinned, if there is one."""
        described = self.surveys.description_digest(site)
        if described is None:
            return self.recipe
        pinned = {**self.recipe.hyperparameters, SITE_DESCRIPTION: described}
        return replace(self.recipe, hyperparameters=pinned)

    def _act(self, decision: Decision) -> None:
        if not isinstance(decision, Start | StartAgain):
            return
        wanted = decision.candidate
        self.artifacts.seal(wanted.snapshot)
        if isinstance(decision, StartAgain):
            self.runner.forget(wanted.run.id)
        self.runner.start(wanted.run)
        # The loop reports before it looks; this start should not wait for the next round.
        self.mailbox.nudge()

    def _say(self, site: str, attention: _Attention, decision: Decision) -> None:
        match decision:
            case Start(wanted) | StartAgain(wanted):
                said = f"started {wanted.run.id} with {wanted.run.surveys} surveys"
            case WaitUntil():
                said = "waiting until uploads have ended"
            case RetryAt():
                said = "waiting to start the failed run again"
            case WaitForRun():
                said = "waiting for a run to end"
            case Nothing(because):
                said = f"nothing to do: {because}"
        if said != attention.said:
            attention.said = said
            self.log.info(said, site=site)

    def _hold_messages(self, attention: _Attention) -> None:
        """Keep messages until what they asked for is durable, and hidden until then."""
        seconds = math.ceil(self.pace.longest_wait.total_seconds()) + _HIDDEN_BEYOND_WAIT_S
        for message in attention.arrived:
            if self.queue:
                self.queue.keep_hidden(message, min(seconds, _MOST_HIDDEN_S))
        attention.held += attention.arrived
        attention.arrived = []

    def _delete_messages(self, attention: _Attention) -> None:
        """What the messages asked for is durable: as a run, or as nothing left to do."""
        done = [*attention.held, *attention.arrived]
        attention.held, attention.arrived = [], []
        for message in done:
            try:
                if self.queue:
                    self.queue.delete(message)
            except BorderError as error:
                self.log.warning("a message will come again", reason=str(error))

    def _pause(self, failures: int) -> timedelta:
        longest = min(_PAUSE_S * 2 ** min(failures - 1, 10), _LONGEST_PAUSE_S)
        return timedelta(seconds=longest * (0.5 + self.chance() / 2))

    def _log_of(self, status: RunStatus) -> FilteringBoundLogger:
        return self.log.bind(run_id=status.run.id, correlation_id=status.run.correlation_id)
