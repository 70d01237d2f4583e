"""Wires the agent's parts and runs them: waits for its turn, works, and shuts down.

At this level AWS may be out of reach when the process starts (it waits), another replica may lead
(it stands by), or the lease may be lost (it stands by again). What the controller remembered is
dropped whenever this replica stops leading.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from aws.clients import Clients
from aws.event_publisher import EventPublisher
from aws.s3 import Bucket
from events.outbound import EventSource
from events.stack import Stack
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.adapters.survey_queue import SurveyQueue
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.controller import Controller
from trainer.agent.errors import AwsUnavailableError, ConfigurationError
from trainer.agent.health import HealthServer, HealthState
from trainer.agent.metrics import AgentMetrics
from trainer.agent.poller import Poller
from trainer.agent.retrying import LONGEST_PAUSE_S, retrying
from trainer.agent.runners.factory import RunnerContext, open_backend
from trainer.agent.runners.runner import LeaderElection, Runner, RunnerBackend
from trainer.agent.settings import AgentResources, AgentSettings
from trainer.agent.work_queue import WorkQueue


@dataclass(slots=True)
class AgentService:
    """The agent as a process."""

    settings: AgentSettings
    environment: Mapping[str, str]
    stop: Event
    work_queue: WorkQueue
    log: FilteringBoundLogger
    clients: Clients = field(default_factory=Clients)
    metrics: AgentMetrics = field(default_factory=AgentMetrics)
    health: HealthState = field(default_factory=HealthState)

    def run(self) -> None:
        """Work until stopped.

        Raises:
            ConfigurationError: a setting is missing or can't be used.
            RunnerError: the work directory of the process runner can't be used.
        """
        server = self._start_health_server()
        try:
            # Settings and templates are checked before anything is waited for.
            backend = self._open_backend()
            self.settings.recipe()
            self._check_credentials(at_start=True)
            if backend.election is None:
                self._serve(backend, lambda: False)
            else:
                self._serve_while_leading(backend, backend.election)
        finally:
            if server:
                server.close()

    def _start_health_server(self) -> HealthServer | None:
        port = self.settings.health_port
        if port is None:
            return None
        server = HealthServer(self.settings.health_address, port, self.health, self.metrics)
        self.log.info("listening", port=server.port)
        return server

    def _open_backend(self) -> RunnerBackend:
        context = RunnerContext(
            settings=self.settings,
            environment=self.environment,
            stop=self.stop,
            log=self.log,
            on_change=self.work_queue.wake,
            on_failure=lambda: self.metrics.failed("kubernetes"),
        )
        return open_backend(context)

    def _serve_while_leading(self, backend: RunnerBackend, election: LeaderElection) -> None:
        """Work whenever this replica leads."""
        while election.acquire(self.stop, self._stand_by):
            self.log.info("leading", lease=election.name, identity=election.identity)
            election.keep(on_lost=self.work_queue.wake)
            try:
                self._serve(backend, election.lost.is_set)
            finally:
                election.release()

    def _stand_by(self) -> None:
        self.metrics.leads(leading=False)
        self.health.ready = True
        self.health.expect_heartbeat(LONGEST_PAUSE_S)

    def _serve(self, backend: RunnerBackend, lost_leadership: Callable[[], bool]) -> None:
        """Work until stopped, or until this replica no longer leads."""
        self.metrics.leads(leading=True)
        resources = self._find_resources()
        if resources is None:
            return
        stopped = Event()
        controller = self._controller(resources, backend.make_runner(resources.artifact_bucket))
        try:
            self._start_listeners(backend, resources, controller.queue, stopped)
            self.log.info("ready", runner=self.settings.runner, queue=resources.queue_url)
            controller.run(lambda: self.stop.is_set() or lost_leadership())
        finally:
            stopped.set()

    def _controller(self, resources: AgentResources, runner: Runner) -> Controller:
        s3 = self.clients.client("s3")
        store = self.settings.data_store
        data = self.clients.data_client(store) if store.is_separate else s3
        url = resources.queue_url
        publisher = EventPublisher(
            self.clients.client("events"), resources.bus, EventSource.AGENT.value
        )
        return Controller(
            surveys=SurveyStore(Bucket(data, resources.data_bucket), self.log),
            artifacts=ArtifactStore(Bucket(s3, resources.artifact_bucket)),
            bus=RunEventPublisher(publisher),
            queue=SurveyQueue(self.clients.client("sqs"), url) if url else None,
            runner=runner,
            recipe=self.settings.recipe(),
            policy=self.settings.policy,
            resync=timedelta(seconds=self.settings.resync_s),
            only_sites=resources.sites,
            work_queue=self.work_queue,
            clock=_now,
            log=self.log,
            metrics=self.metrics,
            health=self.health,
            on_resync=self._check_credentials,
        )

    def _start_listeners(
        self,
        backend: RunnerBackend,
        resources: AgentResources,
        queue: SurveyQueue | None,
        stopped: Event,
    ) -> None:
        """Start what only wakes the controller: the watch on runs, and the poll of the queue.

        In daemon threads: a poll that is under way must not keep the process for 20 s. What it
        receives after the end becomes visible in the queue again.
        """
        watcher = backend.watcher(stopped)
        if watcher is not None:
            Thread(target=watcher, name="watch", daemon=True).start()
        if queue is not None:
            poller = Poller(
                queue=queue,
                data_bucket=resources.data_bucket,
                sites=resources.sites,
                work_queue=self.work_queue,
                stop=stopped,
                clock=_now,
                metrics=self.metrics,
                log=self.log,
            )
            Thread(target=poller.run, name="poller", daemon=True).start()

    def _find_resources(self) -> AgentResources | None:
        """The stack's names, as soon as they can be read; None if stopped before."""
        parameter = self.settings.stack_parameter
        if parameter is None:
            return self.settings.resources(None)
        for attempt in retrying(self.stop, self._on_failure):
            with attempt:
                return self.settings.resources(self._read_stack(parameter))
        return None

    def _read_stack(self, parameter: str) -> Stack:
        try:
            answer = self.clients.client("ssm").get_parameter(Name=parameter)
            return Stack.model_validate_json(answer["Parameter"]["Value"])
        except (ClientError, BotoCoreError) as error:
            raise AwsUnavailableError(
                f"the SSM parameter {parameter} can't be read: {error}"
            ) from error
        except ValidationError as error:
            raise ConfigurationError(f"{parameter} does not describe a stack: {error}") from error

    def _on_failure(self, reason: str) -> None:
        self.health.expect_heartbeat(LONGEST_PAUSE_S)
        self.log.warning("the agent can't begin yet, trying again", reason=reason)

    def _check_credentials(self, *, at_start: bool = False) -> None:
        credentials = self.clients.credentials()
        self.metrics.credentials_end(credentials.expires_at)
        # An endpoint of its own means a trial, or an embedded cloud.
        if at_start and credentials.static and "AWS_ENDPOINT_URL" not in self.environment:
            self.log.warning(
                "the AWS keys never expire: good for a trial; for longer, use IAM Roles Anywhere "
                "(credential_process) or a web identity"
            )


def _now() -> datetime:
    return datetime.now(UTC)
