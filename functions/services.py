"""The adapters of a release step, each made on first use.

Importing boto3 takes longer than most invocations, so it waits for the first client.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

from aws.event_publisher import EventPublisher
from aws.s3 import Bucket
from events.base import Contract
from events.names import InvalidNameError, site_of_endpoint
from events.outbound import EventSource
from functions.adapters.announcement_publisher import AnnouncementPublisher
from functions.adapters.artifacts import Artifacts
from functions.adapters.attempts import Attempts
from functions.adapters.champions import Champions
from functions.adapters.dead_letters import DeadLetters
from functions.adapters.ledger import Ledger
from functions.adapters.sagemaker import SageMakerControlPlane
from functions.adapters.site_policies import SitePolicies
from functions.adapters.smoke_client import PARALLEL, SmokeClient
from functions.core.champions import due_pointer
from functions.core.deployments import (
    Announcement,
    Candidate,
    SiteState,
    StateChange,
)
from functions.core.errors import ContentionError
from functions.core.smoke import SmokeBudget
from functions.core.specification import ModelSpecification
from functions.core.transitions import (
    published,
)
from functions.settings import (
    BucketSettings,
    CreateModelSettings,
    EndpointSettings,
    FunctionSettings,
    LedgerSettings,
    ModelSettings,
    SmokeTestSettings,
)

Settings_co = TypeVar("Settings_co", bound=FunctionSettings, covariant=True)

LEFT_BEHIND = timedelta(seconds=1)
"""An event that has been in the outbox for so long counts as left behind by a step that died.
Publishing takes a tenth of that; after a slower step the event is only published twice."""
POINTER_ATTEMPTS = 5


def boto3_client(service: str, **config: Any) -> Any:
    """A client for the Lambda's own region and role; ``config`` is botocore's."""
    import boto3  # noqa: PLC0415  # see the top of this file
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(service, config=Config(**config))  # type: ignore[call-overload]  # any service


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services(Generic[Settings_co]):
    """The adapters of one function, and the operations that several steps share."""

    settings: Settings_co
    client: Callable[..., Any] = boto3_client
    now: Callable[[], datetime] = utc_now

    @cached_property
    def ledger(self: "Services[LedgerSettings]") -> Ledger:
        """The state of sites, releases and deployments."""
        return Ledger(self.client("dynamodb"), self.settings.ledger_table)

    @cached_property
    def bus(self: "Services[LedgerSettings]") -> AnnouncementPublisher:
        """Publishes events."""
        publisher = EventPublisher(
            self.client("events"), self.settings.bus, EventSource.RELEASE.value
        )
        return AnnouncementPublisher(publisher)

    @cached_property
    def _bucket(self: "Services[BucketSettings]") -> Bucket:
        return Bucket(self.client("s3"), self.settings.artifact_bucket)

    @cached_property
    def artifacts(self: "Services[BucketSettings]") -> Artifacts:
        """The releases in their bucket."""
        return Artifacts(self._bucket)

    @cached_property
    def champions(self: "Services[BucketSettings]") -> Champions:
        """The pointers to the champions, for the trainer."""
        return Champions(self._bucket)

    @cached_property
    def policies(self: "Services[CreateModelSettings]") -> SitePolicies:
        """What the sites demand of candidates."""
        return SitePolicies(self.client("ssm"), self.settings.stage, self.now)

    @cached_property
    def attempts(self: "Services[BucketSettings]") -> Attempts:
        """The files of attempts, in the same bucket."""
        return Attempts(self._bucket)

    @cached_property
    def sagemaker(self) -> SageMakerControlPlane:
        """Models, endpoint configurations, endpoints."""
        return SageMakerControlPlane(self.client("sagemaker"))

    @cached_property
    def smoke_client(self: "Services[SmokeTestSettings]") -> SmokeClient:
        """Sends the requests of smoke tests, with a client of its own that never retries."""
        budget = SmokeBudget.of(self.settings.smoke_latency_ms)
        client = self.client(
            "sagemaker-runtime",
            connect_timeout=budget.request_s,
            read_timeout=budget.request_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=PARALLEL,
        )
        return SmokeClient(client, budget)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Events that can't be handled."""
        return DeadLetters(self.client("sqs"), self.settings.dead_letter_queue_url)

    def commit(self: "Services[LedgerSettings]", site: str, transition: StateChange) -> SiteState:
        """Change a site's state and publish what that announces.

        The events are stored with the state, and removed once they are published. Events that a
        step that died left in the outbox are published as well.
        """
        now = self.now()
        state = self.ledger.change(site, transition, now)
        due = tuple(
            entry
            for entry in state.outbox
            if entry.written_at == now or now - entry.written_at >= LEFT_BEHIND
        )
        if not due:
            return state
        self.bus.put(due)
        return self.ledger.change(site, partial(published, announcements=due), now)

    def publish_champion(self: "Services[BucketSettings]", state: SiteState) -> bool:
        """Update ``champion.json`` to a state of the ledger; True if it had to be changed.

        If a step dies before this, reconcile does it.

        Raises:
            ContentionError: others wrote it each time.
        """
        for _ in range(POINTER_ATTEMPTS):
            stored = self.champions.read(state.site)
            due = due_pointer(state, stored.champion)
            if due is None:
                return False
            if self.champions.write(due, replacing=stored):
                return True
        raise ContentionError(
            f"the pointer to the champion of {state.site} changed {POINTER_ATTEMPTS} times under "
            "this step; the ledger is right, and reconcile will bring the pointer up to it"
        )

    def announce(self: "Services[LedgerSettings]", event: Contract) -> None:
        """Publish an event that belongs to no change of a site's state."""
        self.bus.put([Announcement.of(event, self.now())])

    def site_of(self: "Services[EndpointSettings]", endpoint: str) -> str | None:
        """The site that an endpoint serves; None if the endpoint is not one of this stack."""
        try:
            return site_of_endpoint(self.settings.endpoint_prefix, endpoint)
        except InvalidNameError:
            return None

    def ensure_model(
        self: "Services[ModelSettings]", run_id: str, digest: str, model_key: str
    ) -> Candidate:
        """Make a release a model in SageMaker, unless it is one."""
        specification = ModelSpecification(
            release=run_id,
            image=self.settings.serving_image,
            model_data_url=f"s3://{self.settings.artifact_bucket}/{model_key}",
            execution_role_arn=self.settings.execution_role_arn,
        )
        self.sagemaker.ensure_model(specification)
        return Candidate(release=run_id, digest=digest, model_name=specification.name)
