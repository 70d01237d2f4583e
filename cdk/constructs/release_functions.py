"""The Lambdas of the release: what starts each, its environment, and what it may do.

Each function's settings model in `functions.settings` says which variables it gets.
"""

import math
from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from cdk.constructs import grants
from cdk.constructs.identities import ExecutionRole
from cdk.constructs.lambda_function import (
    DEAD_LETTER_VARIABLE,
    TIMEOUT_S,
    FunctionSpecification,
    ReleaseFunction,
    dependencies_layer,
)
from cdk.constructs.ledger import LedgerTable
from cdk.constructs.messaging import (
    Messaging,
    object_created,
    of_kind,
)
from cdk.constructs.permissions import IamPermission
from cdk.constructs.sources import function_sources
from cdk.constructs.storage import RELEASE_MANIFEST_KEYS, Storage
from cdk.settings import StageSettings
from events.outbound import (
    DeploymentFailed,
    DeploymentStalled,
    DeploymentSucceeded,
    EventSource,
    ModelCreated,
    ReleaseFound,
    RollbackRequested,
    RolledBack,
    RolloutStarted,
    SiteResumed,
    SmokeTestFailed,
)
from events.requests import ApprovalRequested, RejectionRequested, ResumeRequested
from functions.core.smoke import SmokeBudget
from functions.settings import SETTINGS_OF_FUNCTION

_LONGEST_TIMEOUT_S = 900
"""Lambda's own limit."""
_RECONCILE_EVERY = Duration.minutes(5)
_CLEAN_UP_AT = events.Schedule.cron(hour="2", minute="17")
"""UTC; away from the full hour, when everyone's nightly work begins."""


class ReleaseFunctions(Construct):
    """The steps of a release, reconcile and clean-up, with the rules that start them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: StageSettings,
        storage: Storage,
        messaging: Messaging,
        ledger: LedgerTable,
        execution: ExecutionRole,
    ) -> None:
        """Create the functions, each with a role, a log and a dead-letter queue of its own."""
        super().__init__(scope, construct_id)
        self._settings = settings
        self._storage = storage
        self._messaging = messaging
        self._ledger = ledger
        self._execution = execution
        sources = function_sources(self, "Sources")
        self._code = lambda_.Code.from_bucket(sources.bucket, sources.s3_object_key)
        self._dependencies = dependencies_layer(self)
        self._variables = self._values_of_variables()
        self._create_model()
        self._decide()
        self._roll_endpoint()
        self._smoke_test()
        self._roll_back()
        self._reconcile()
        self._clean_up()

    def _create_model(self) -> None:
        function = self._function(
            name="create_model",
            description="Makes a SageMaker model of a release that passes the gates",
            permissions=(*self._model_permissions, *self._policy_permissions),
        )
        function.start_on(
            "ReleaseUploaded", object_created(self._storage.artifacts, RELEASE_MANIFEST_KEYS)
        )
        function.start_on("ReleaseFound", of_kind(ReleaseFound), self._messaging.bus)

    def _decide(self) -> None:
        self._function(
            name="decide",
            description="Does what people decide: approve, reject, resume",
            permissions=(*self._model_permissions, *self._policy_permissions),
        ).start_on(
            "Decided",
            of_kind(ApprovalRequested, RejectionRequested, ResumeRequested),
            self._messaging.bus,
        )

    def _roll_endpoint(self) -> None:
        function = self._function(
            name="roll_endpoint",
            description="Moves a site's endpoint to the deployment that holds its slot",
            permissions=grants.roll_endpoints(Stack.of(self), self._settings.endpoint_prefix),
        )
        function.start_on(
            "ModelCreatedOrSlotFree",
            of_kind(
                ModelCreated,
                DeploymentSucceeded,
                DeploymentFailed,
                RolledBack,
                DeploymentStalled,
                SiteResumed,
            ),
            self._messaging.bus,
        )
        function.start_on("EndpointFree", endpoint_changed(self._settings.endpoint_prefix))

    def _smoke_test(self) -> None:
        function = self._function(
            name="smoke_test",
            description="Tests whether an endpoint that changed serves the right answers",
            permissions=(
                *grants.read_releases(self._storage.artifacts),
                *grants.write_champion(self._storage.artifacts),
                *self._use_endpoints("DescribeEndpoint", "InvokeEndpoint"),
            ),
            timeout_s=_smoke_test_timeout_s(self._settings.smoke_latency_ms),
        )
        function.start_on("EndpointChanged", endpoint_changed(self._settings.endpoint_prefix))
        # A rollout that changes nothing causes no event of SageMaker's.
        function.start_on(
            "RolloutStarted", of_kind(RolloutStarted, DeploymentStalled), self._messaging.bus
        )

    def _roll_back(self) -> None:
        self._function(
            name="roll_back",
            description="Puts an earlier release back",
            permissions=(
                *self._model_permissions,
                *self._use_endpoints("DeleteEndpoint"),
                *grants.look_at_endpoints(Stack.of(self), self._settings.endpoint_prefix),
            ),
        ).start_on(
            "RollbackNeeded",
            of_kind(SmokeTestFailed, RollbackRequested, DeploymentStalled),
            self._messaging.bus,
        )

    def _reconcile(self) -> None:
        self._function(
            name="reconcile",
            description="Finds what lost events did not bring about",
            permissions=(
                *grants.read_releases(self._storage.artifacts),
                *grants.write_champion(self._storage.artifacts),
                *grants.list_ledger(self._ledger.table),
                *grants.look_at_endpoints(Stack.of(self), self._settings.endpoint_prefix),
            ),
        ).start_at(events.Schedule.rate(_RECONCILE_EVERY))

    def _clean_up(self) -> None:
        # A function that deletes gets no access to the ledger or the bus.
        specification = FunctionSpecification(
            name="clean_up",
            description="Deletes the files of attempts that did not claim their run's release",
            environment=self._environment("clean_up"),
            permissions=(
                *grants.read_releases(self._storage.artifacts),
                *grants.delete_attempts(self._storage.artifacts),
            ),
            timeout_s=_LONGEST_TIMEOUT_S,
        )
        self._lambda(specification).start_at(_CLEAN_UP_AT)

    @property
    def _model_permissions(self) -> Sequence[IamPermission]:
        return (
            *grants.read_releases(self._storage.artifacts),
            *grants.make_models(Stack.of(self), self._execution.role),
        )

    @property
    def _policy_permissions(self) -> Sequence[IamPermission]:
        return grants.read_site_policies(Stack.of(self), self._settings.stage)

    def _use_endpoints(self, *actions: str) -> Sequence[IamPermission]:
        return grants.use_endpoints(Stack.of(self), self._settings.endpoint_prefix, *actions)

    def _function(
        self,
        *,
        name: str,
        description: str,
        permissions: Sequence[IamPermission],
        timeout_s: int = TIMEOUT_S,
    ) -> ReleaseFunction:
        specification = FunctionSpecification(
            name=name,
            description=description,
            environment=self._environment(name),
            permissions=(
                *grants.read_and_write_ledger(self._ledger.table),
                *grants.put_events(self._messaging.bus, EventSource.RELEASE),
                *permissions,
            ),
            timeout_s=timeout_s,
        )
        return self._lambda(specification)

    def _lambda(self, specification: FunctionSpecification) -> ReleaseFunction:
        return ReleaseFunction(
            self,
            specification.name.title().replace("_", ""),
            specification=specification,
            settings=self._settings,
            code=self._code,
            dependencies=self._dependencies,
        )

    def _environment(self, name: str) -> Mapping[str, str]:
        variables = SETTINGS_OF_FUNCTION[name].variables()
        return {name: self._variables[name] for name in variables if name != DEAD_LETTER_VARIABLE}

    def _values_of_variables(self) -> Mapping[str, str]:
        settings = self._settings
        return {
            "RSSI_ARTIFACT_BUCKET": self._storage.artifacts.bucket_name,
            "RSSI_STAGE": settings.stage,
            "RSSI_BUS": self._messaging.bus.event_bus_name,
            "RSSI_LEDGER_TABLE": self._ledger.table.table_name,
            "RSSI_ENDPOINT_PREFIX": settings.endpoint_prefix,
            "RSSI_SERVING_IMAGE": self._execution.image_uri,
            "RSSI_EXECUTION_ROLE_ARN": self._execution.role.role_arn,
            "RSSI_INSTANCE_TYPE": settings.instance_type,
            "RSSI_INSTANCE_COUNT": str(settings.instance_count),
            "RSSI_TERMINATION_WAIT_S": str(settings.termination_wait_s),
            "RSSI_SMOKE_LATENCY_MS": str(settings.smoke_latency_ms),
            "RSSI_DEAD_ATTEMPTS_DAYS": str(settings.dead_attempts_days),
            "RSSI_FAILED_ATTEMPTS_DAYS": str(settings.failed_attempts_days),
        }


def _smoke_test_timeout_s(latency_bound_ms: float) -> int:
    """Enough for the budget of the requests twice: a cut-off test would be no verdict."""
    return max(TIMEOUT_S, math.ceil(2 * SmokeBudget.of(latency_bound_ms).total_s))


def endpoint_changed(prefix: str) -> events.EventPattern:
    """SageMaker's event for a new status of an endpoint whose name starts with `prefix-`."""
    return events.EventPattern(
        source=["aws.sagemaker"],
        detail_type=["SageMaker Endpoint State Change"],
        detail={"EndpointName": events.Match.prefix(f"{prefix}-")},
    )
