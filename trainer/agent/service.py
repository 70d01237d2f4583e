"""Wires the agent's parts and sees it through: waits for its turn, works, and takes itself down.

What may go wrong at this level: AWS can't be reached yet when the process starts (the building may
be offline: it waits), another replica leads (it stands by), or the lease is lost (it stands by
again). Whatever a term of office kept in mind is dropped with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

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
from trainer.agent.errors import BorderError, ConfigurationError
from trainer.agent.health import HealthServer, HealthState
from trainer.agent.metrics import AgentMetrics
from trainer.agent.poller import Poller
from trainer.agent.runners.process.runner import ProcessRunner
from trainer.agent.runners.runner import Runner
from trainer.agent.settings import AgentResources, AgentSettings
from trainer.agent.work_queue import WorkQueue

if TYPE_CHECKING:
    from trainer.agent.runners.kubernetes.cluster import Cluster

_LONGEST_PAUSE_S = 60
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a training process gets of the agent's environment, besides ``AWS_*``."""


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
        """Work until told to stop.

        Raises:
            ConfigurationError: the agent was not told what it needs to know.
            RunnerError: the work directory of the process runner can't be used.
        """
        health = self._listen()
        try:
            # What is written in settings and templates is checked before anyone is waited for.
            cluster = self._cluster()
            self.settings.recipe()
            self._look_at_credentials(at_start=True)
            if cluster is None:
                self._serve(None, lambda: False)
            else:
                self._serve_in_turns(cluster)
        finally:
            if health:
                health.close()

    def _listen(self) -> HealthServer | None:
        port = self.settings.health_port
        if port is None:
            return None
        server = HealthServer(self.settings.health_address, port, self.health, self.metrics)
        self.log.info("listening", port=server.port)
        return server

    def _cluster(self) -> "Cluster | None":
        if self.settings.runner != "kubernetes":
            return None
        # Its client takes 0.5 s and 30 MB, which the process runner need not pay.
        from trainer.agent.runners.kubernetes.cluster import find_cluster  # noqa: PLC0415

        return find_cluster(
            self.settings, self.environment, self.stop, lambda: self.metrics.failed("kubernetes"),
            self.log,
        )  # fmt: skip

    def _serve_in_turns(self, cluster: "Cluster") -> None:
        """Work whenever this replica leads."""
        if cluster.lease is None:
            self._serve(cluster, lambda: False)
            return
        lease = cluster.lease
        while lease.acquire(self.stop, self._stand_by):
            self.log.info("leading", lease=lease.name, identity=lease.identity)
            lease.keep(on_lost=self.work_queue.nudge)
            try:
                self._serve(cluster, lease.lost.is_set)
            finally:
                lease.release()

    def _stand_by(self) -> None:
        self.metrics.leads(leading=False)
        self.health.ready = True
        self.health.expect(_LONGEST_PAUSE_S)

    def _serve(self, cluster: "Cluster | None", lost_leadership: Callable[[], bool]) -> None:
        """Work until told to stop, or until this replica no longer leads."""
        self.metrics.leads(leading=True)
        resources = self._resources()
        if resources is None:
            return
        over = Event()
        runner = self._runner(cluster, resources)
        agent = self._agent(resources, runner)
        try:
            self._start_listeners(cluster, resources, agent, over)
            self.log.info("ready", runner=self.settings.runner, queue=resources.queue_url)
            agent.run(lambda: self.stop.is_set() or lost_leadership())
        finally:
            over.set()

    def _agent(self, resources: AgentResources, runner: Runner) -> Controller:
        s3 = self.clients.client("s3")
        store = self.settings.data_store
        data = self.clients.data_client(store) if store.is_separate else s3
        queue = (
            SurveyQueue(self.clients.client("sqs"), resources.queue_url)
            if resources.queue_url
            else None
        )
        publisher = EventPublisher(
            self.clients.client("events"), resources.bus, EventSource.AGENT.value
        )
        return Controller(
            surveys=SurveyStore(Bucket(data, resources.data_bucket), self.log),
            artifacts=ArtifactStore(Bucket(s3, resources.artifact_bucket)),
            bus=RunEventPublisher(publisher),
            queue=queue,
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
            on_resync=self._look_at_credentials,
        )

    def _runner(self, cluster: "Cluster | None", resources: AgentResources) -> Runner:
        if cluster is not None:
            return cluster.runner(self.settings, resources.artifact_bucket, self.log)
        runner = ProcessRunner(
            work_dir=self.settings.work_dir,
            job_template=self.settings.job_template(
                resources.artifact_bucket, self.settings.trainer_image
            ),
            environment=_for_training(self.environment),
            clock=_now,
            log=self.log,
            on_change=self.work_queue.nudge,
            limits=self.settings.limits,
        )
        runner.resume()
        return runner

    def _start_listeners(
        self, cluster: "Cluster | None", resources: AgentResources, agent: Controller, over: Event
    ) -> None:
        """Start what only wakes the agent: the watch on Jobs, and the poll of the queue.

        Daemons: a poll that is under way must not keep the process for 20 s. What it receives after
        the end becomes visible in the queue again.
        """
        if cluster is not None:
            watch = cluster.watch(self.work_queue.nudge, over, self.log)
            Thread(target=watch.run, name="watch", daemon=True).start()
        if agent.queue is not None:
            poller = Poller(
                queue=agent.queue,
                data_bucket=resources.data_bucket,
                sites=resources.sites,
                work_queue=self.work_queue,
                stop=over,
                clock=_now,
                metrics=self.metrics,
                log=self.log,
            )
            Thread(target=poller.run, name="poller", daemon=True).start()

    def _resources(self) -> AgentResources | None:
        """Where everything is, once someone tells; None if told to stop before."""
        parameter = self.settings.stack_parameter
        stack = self._stack(parameter) if parameter else None
        if parameter and stack is None:
            return None
        return self.settings.resources(stack)

    def _stack(self, parameter: str) -> Stack | None:
        for attempt in Retrying(
            retry=retry_if_exception_type(BorderError),
            wait=wait_random_exponential(multiplier=1, max=_LONGEST_PAUSE_S),
            sleep=sleep_using_event(self.stop),
            stop=stop_when_event_set(self.stop),
            before_sleep=self._say_why,
            retry_error_callback=lambda _: None,
        ):
            with attempt:
                return self._read_stack(parameter)
        return None

    def _read_stack(self, parameter: str) -> Stack:
        try:
            answer = self.clients.client("ssm").get_parameter(Name=parameter)
            return Stack.model_validate_json(answer["Parameter"]["Value"])
        except (ClientError, BotoCoreError) as error:
            raise BorderError(f"the SSM parameter {parameter} can't be read: {error}") from error
        except ValidationError as error:
            raise ConfigurationError(f"{parameter} does not describe a stack: {error}") from error

    def _say_why(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.health.expect(_LONGEST_PAUSE_S)
        self.log.warning("the agent can't begin yet, trying again", reason=str(error))

    def _look_at_credentials(self, *, at_start: bool = False) -> None:
        credentials = self.clients.credentials()
        self.metrics.credentials_end(credentials.expires_at)
        # An address of its own is a trial's, or an embedded cloud's.
        if at_start and credentials.static and "AWS_ENDPOINT_URL" not in self.environment:
            self.log.warning(
                "the AWS keys never expire: good for a trial; for longer, use IAM Roles Anywhere "
                "(credential_process) or a web identity"
            )


def _for_training(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith("AWS_")
    }


def _now() -> datetime:
    return datetime.now(UTC)
