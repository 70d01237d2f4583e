"""Reports on the bus what became of runs and surveys, each event before it is marked as reported.

An agent that dies in between reports the same again, rather than never.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from aws.s3 import StoreError
from events import names
from events.manifests import Quarantine, SurveyRef
from events.outbound import Event
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.core import run_events
from trainer.agent.core.runs import Announced, RunState, RunStatus
from trainer.agent.errors import AgentError
from trainer.agent.metrics import AgentMetrics
from trainer.agent.runners.runner import Runner


@dataclass(frozen=True, slots=True)
class RunReporter:
    """Publishes the events of runs, and of surveys that are no CSV files."""

    bus: RunEventPublisher
    artifacts: ArtifactStore
    runner: Runner
    metrics: AgentMetrics
    log: FilteringBoundLogger
    on_ended: Callable[[str], None]
    """Called with the site of each run whose end was reported."""

    def report(self, runs: Sequence[RunStatus]) -> bool:
        """Report what is not reported yet; False if some of it has to be tried again."""
        # Not stopped at the first failure: a run that can't be reported must not hold up others.
        reported = [self._could_report(status) for status in runs]
        return all(reported)

    def quarantine(self, site: str, survey: SurveyRef) -> None:
        """Put a survey that is in no known format into quarantine, and report it.

        Raises:
            aws.s3.StoreError: the store gave no useful answer.
            AgentError: the bus did not take the event.
        """
        quarantine = Quarantine(
            site=site,
            survey=survey,
            reason=(
                f"its name ends in none of {', '.join(names.SURVEY_SUFFIXES)}; upload it in one of "
                "these formats, under such a name"
            ),
        )
        self._publish((run_events.quarantine_event(quarantine, survey.id),))
        self.artifacts.put_in_quarantine(quarantine)
        self.log.warning("survey quarantined", survey=survey.key, reason=quarantine.reason)

    def _could_report(self, status: RunStatus) -> bool:
        log = self.log.bind(run_id=status.run.id, correlation_id=status.run.correlation_id)
        try:
            self._report(status, log)
        except (AgentError, StoreError) as error:
            self.metrics.failed_with(error)
            log.warning("a run can't be reported, trying again", reason=str(error))
            return False
        return True

    def _report(self, status: RunStatus, log: FilteringBoundLogger) -> None:
        if status.announced < Announced.START:
            self._publish((run_events.started(status),))
            self.runner.mark_announced(status.run.id, Announced.START)
        if status.active or status.announced >= Announced.END:
            return
        release = self.artifacts.release(status.run.id)
        quarantined = () if status.state is RunState.SUCCEEDED else self._quarantine_of(status)
        self._publish(run_events.ended(status, release, quarantined))
        self.runner.mark_announced(status.run.id, Announced.END)
        log.info("run reported", exit_code=status.exit_code, state=status.state)
        self.on_ended(status.run.spec.site)

    def _publish(self, events: tuple[Event, ...]) -> None:
        self.bus.publish(events)
        for event in events:
            self.metrics.published(type(event).__name__)

    def _quarantine_of(self, status: RunStatus) -> tuple[Quarantine, ...]:
        site = status.run.spec.site
        ids = sorted(self.artifacts.quarantined(site))
        found = (self.artifacts.quarantine(site, survey_id) for survey_id in ids)
        return tuple(quarantine for quarantine in found if quarantine)
