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
from aws.s3 import Bucket
from events.stack import Stack
from trainer.agent.adapters.bus import Bus
from trainer.agent.adapters.queue import Queue
from trainer.agent.adapters.releases import Artifacts
from trainer.agent.adapters.surveys import Surveys
from trainer.agent.controller import Agent
from trainer.agent.errors import BorderError, ConfigurationError
from trainer.agent.health import HealthServer, Vitals
from trainer.agent.metrics import Metrics
from trainer.agent.poller import Poller
from trainer.agent.runners import Runner
from trainer.agent.runners.process import ProcessRunner
from trainer.agent.settings import AgentSettings, Places
from trainer.agent.work_queue import Mailbox

if TYPE_CHECKING:
    from trainer.agent.runners.kubernetes.cluster import Cluster

_LONGEST_PAUSE_S = 60
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a training process gets of the agent's environment, besides ``AWS_*``."""


@dataclass(slots=True)
class Service:
    """The agent as a process."""

    settings: AgentSettings
    environment: Mapping[str, str]
    stop: Event
    mailbox: Mailbox
    log: FilteringBoundLogger
    clients: Clients = field(default_factory=Clients)
    metrics: Metrics = field(default_factory=Metrics)
    vitals: Vitals = field(default_factory=Vitals)

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
        server = HealthServer(self.settings.health_address, port, self.vitals, self.metrics)
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
            lease.keep(on_lost=self.mailbox.nudge)
            try:
                self._serve(cluster, lease.lost.is_set)
            finally:
                lease.release()

    def _stand_by(self) -> None:
        self.metrics.leads(leading=False)
        self.vitals.ready = True
        self.vitals.expect(_LONGEST_PAUSE_S)

    def _serve(self, cluster: "Cluster | None", deposed: Callable[[], bool]) -> None:
        """Work until told to stop, or until this replica no longer leads."""
        self.metrics.leads(leading=True)
        places = self._places()
        if places is None:
            return
        over = Event()
        runner = self._runner(cluster, places)
        agent = self._agent(places, runner)
        try:
            self._start_listeners(cluster, places, agent, over)
            self.log.info("ready", runner=self.settings.runner, queue=places.queue_url)
            agent.run(lambda: self.stop.is_set() or deposed())
        finally:
            over.set()

    def _agent(self, places: Places, runner: Runner) -> Agent:
        s3 = self.clients.client("s3")
        store = self.settings.data_store
        data = self.clients.data_client(store) if store.is_its_own else s3
        queue = Queue(self.clients.client("sqs"), places.queue_url) if places.queue_url else None
        return Agent(
            surveys=Surveys(Bucket(data, places.data_bucket), self.log),
            artifacts=Artifacts(Bucket(s3, places.artifact_bucket)),
            bus=Bus(self.clients.client("events"), places.bus),
            queue=queue,
            runner=runner,
            recipe=self.settings.recipe(),
            pace=self.settings.pace,
            resync=timedelta(seconds=self.settings.resync_s),
            only_sites=places.sites,
            mailbox=self.mailbox,
            clock=_now,
            log=self.log,
            metrics=self.metrics,
            vitals=self.vitals,
            on_resync=self._look_at_credentials,
        )

    def _runner(self, cluster: "Cluster | None", places: Places) -> Runner:
        if cluster is not None:
            return cluster.runner(self.settings, places.artifact_bucket, self.log)
        runner = ProcessRunner(
            work_dir=self.settings.work_dir,
            told=self.settings.told(places.artifact_bucket, self.settings.trainer_image),
            environment=_for_training(self.environment),
            clock=_now,
            log=self.log,
            on_change=self.mailbox.nudge,
            limits=self.settings.limits,
        )
        runner.resume()
        return runner

    def _start_listeners(
        self, cluster: "Cluster | None", places: Places, agent: Agent, over: Event
    ) -> None:
        """Start what only wakes the agent: the watch on Jobs, and the poll of the queue.

        Daemons: a poll that is under way must not keep the process for 20 s. What it receives after
        the end becomes visible in the queue again.
        """
        if cluster is not None:
            watch = cluster.watch(self.mailbox.nudge, over, self.log)
            Thread(target=watch.run, name="watch", daemon=True).start()
        if agent.queue is not None:
            poller = Poller(
                queue=agent.queue,
                data_bucket=places.data_bucket,
                sites=places.sites,
                mailbox=self.mailbox,
                stop=over,
                clock=_now,
                metrics=self.metrics,
                log=self.log,
            )
            Thread(target=poller.run, name="poller", daemon=True).start()

    def _places(self) -> Places | None:
        """Where everything is, once someone tells; None if told to stop before."""
        parameter = self.settings.stack_parameter
        stack = self._stack(parameter) if parameter else None
        if parameter and stack is None:
            return None
        return self.settings.places(stack)

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
        self.vitals.expect(_LONGEST_PAUSE_S)
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
