"""The Lambdas of the release: what starts each, what it is told, and what it may do.

EventBridge invokes them asynchronously: what fails three times, or can't be delivered at all,
ends in the function's own dead-letter queue; without one it would be gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Annotations, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk import layer
from cdk.constructs import grants
from cdk.constructs.identities import ExecutionRole
from cdk.constructs.ledger import LedgerTable
from cdk.constructs.messaging import (
    DELIVERY_ATTEMPTS,
    DELIVERY_MAX_AGE_H,
    Messaging,
    dead_letter_queue,
    object_created,
    of_kind,
)
from cdk.constructs.permissions import IamPermission, permit
from cdk.constructs.retention import log_retention, removal_policy
from cdk.constructs.sources import function_sources
from cdk.constructs.storage import RELEASE_MANIFEST_KEYS, Storage
from cdk.nag import acknowledge
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
    SmokeTestFailed,
)

_MEMORY_MB = 512
_TIMEOUT_S = 60
_LONGEST_TIMEOUT_S = 900
"""Lambda's own limit."""
_RETRIES = 2
_RECONCILE_EVERY = Duration.minutes(5)
_CLEAN_UP_AT = events.Schedule.cron(hour="2", minute="17")
"""UTC; away from the full hour, when everyone's nightly work begins."""


@dataclass(frozen=True)
class FunctionSpecification:
    """One step of the release, as one Lambda.

    Attributes:
        name: Its module in `functions`, which has a `handler`.
        description: What it does, for who reads the list of functions.
        environment: What it is told.
        permissions: What it may do.
        timeout_s: How long one invocation may take.
    """

    name: str
    description: str
    environment: Mapping[str, str]
    permissions: Sequence[IamPermission]
    timeout_s: int = _TIMEOUT_S


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
        self._dependencies = _dependencies(self)
        self._create_model()
        self._roll_endpoint()
        self._smoke_test()
        self._roll_back()
        self._reconcile()
        self._clean_up()

    def _create_model(self) -> None:
        function = self._function(
            name="create_model",
            description="Makes a SageMaker model of a release that passes the gate",
            environment=self._model_environment,
            permissions=self._model_permissions,
        )
        function.start_on(
            "ReleaseUploaded", object_created(self._storage.artifacts, RELEASE_MANIFEST_KEYS)
        )
        function.start_on("ReleaseFound", of_kind(ReleaseFound), self._messaging.bus)

    def _roll_endpoint(self) -> None:
        function = self._function(
            name="roll_endpoint",
            description="Moves a site's endpoint to the model whose turn it is",
            environment={
                "RSSI_INSTANCE_TYPE": self._settings.instance_type,
                "RSSI_INSTANCE_COUNT": str(self._settings.instance_count),
                "RSSI_TERMINATION_WAIT_S": str(self._settings.termination_wait_s),
            },
            permissions=grants.roll_endpoints(Stack.of(self), self._settings.endpoint_prefix),
        )
        function.start_on(
            "ModelCreatedOrSlotFree",
            of_kind(
                ModelCreated, DeploymentSucceeded, DeploymentFailed, RolledBack, DeploymentStalled
            ),
            self._messaging.bus,
        )
        function.start_on("EndpointFree", endpoint_changed(self._settings.endpoint_prefix))

    def _smoke_test(self) -> None:
        function = self._function(
            name="smoke_test",
            description="Asks an endpoint that changed whether it answers rightly",
            environment={"RSSI_SMOKE_LATENCY_MS": str(self._settings.smoke_latency_ms)},
            permissions=(
                *grants.read_releases(self._storage.artifacts),
                *grants.write_champion(self._storage.artifacts),
                *self._use_endpoints("DescribeEndpoint", "InvokeEndpoint"),
            ),
        )
        function.start_on("EndpointChanged", endpoint_changed(self._settings.endpoint_prefix))
        # A rollout that had nothing to change causes no event of SageMaker's.
        function.start_on(
            "RolloutStarted", of_kind(RolloutStarted, DeploymentStalled), self._messaging.bus
        )

    def _roll_back(self) -> None:
        self._function(
            name="roll_back",
            description="Puts an earlier release back",
            environment=self._model_environment,
            permissions=(
                *self._model_permissions,
                *self._use_endpoints("DeleteEndpoint"),
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
            environment={},
            permissions=(
                *grants.read_releases(self._storage.artifacts),
                *grants.write_champion(self._storage.artifacts),
                *grants.list_ledger(self._ledger.table),
            ),
        ).start_at(events.Schedule.rate(_RECONCILE_EVERY))

    def _clean_up(self) -> None:
        # Neither the ledger nor the bus is any business of what deletes.
        specification = FunctionSpecification(
            name="clean_up",
            description="Deletes what attempts left that did not get their run's release",
            environment={
                **self._common_environment("clean_up"),
                "RSSI_DEAD_ATTEMPTS_DAYS": str(self._settings.dead_attempts_days),
                "RSSI_FAILED_ATTEMPTS_DAYS": str(self._settings.failed_attempts_days),
            },
            permissions=(
                *grants.read_releases(self._storage.artifacts),
                *grants.delete_attempts(self._storage.artifacts),
            ),
            timeout_s=_LONGEST_TIMEOUT_S,
        )
        self._lambda(specification).start_at(_CLEAN_UP_AT)

    @property
    def _model_environment(self) -> Mapping[str, str]:
        return {
            "RSSI_SERVING_IMAGE": self._execution.image_uri,
            "RSSI_EXECUTION_ROLE_ARN": self._execution.role.role_arn,
        }

    @property
    def _model_permissions(self) -> Sequence[IamPermission]:
        return (
            *grants.read_releases(self._storage.artifacts),
            *grants.make_models(Stack.of(self), self._execution.role),
        )

    def _use_endpoints(self, *actions: str) -> Sequence[IamPermission]:
        return grants.use_endpoints(Stack.of(self), self._settings.endpoint_prefix, *actions)

    def _function(
        self,
        *,
        name: str,
        description: str,
        environment: Mapping[str, str],
        permissions: Sequence[IamPermission],
    ) -> "ReleaseFunction":
        specification = FunctionSpecification(
            name=name,
            description=description,
            environment={**self._common_environment(name), **environment},
            permissions=(
                *grants.read_and_write_ledger(self._ledger.table),
                *grants.put_events(self._messaging.bus, EventSource.RELEASE),
                *permissions,
            ),
        )
        return self._lambda(specification)

    def _lambda(self, specification: FunctionSpecification) -> "ReleaseFunction":
        return ReleaseFunction(
            self,
            specification.name.title().replace("_", ""),
            specification=specification,
            settings=self._settings,
            code=self._code,
            dependencies=self._dependencies,
        )

    def _common_environment(self, name: str) -> Mapping[str, str]:
        return {
            "RSSI_STAGE": self._settings.stage,
            "RSSI_ARTIFACT_BUCKET": self._storage.artifacts.bucket_name,
            "RSSI_BUS": self._messaging.bus.event_bus_name,
            "RSSI_LEDGER_TABLE": self._ledger.table.table_name,
            "RSSI_ENDPOINT_PREFIX": self._settings.endpoint_prefix,
            "POWERTOOLS_SERVICE_NAME": name,
            "POWERTOOLS_METRICS_NAMESPACE": "rssi-mlops",
            "POWERTOOLS_LOG_LEVEL": "INFO",
        }


class ReleaseFunction(Construct):
    """One Lambda with its role, its log and its dead letters."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        specification: FunctionSpecification,
        settings: StageSettings,
        code: lambda_.Code,
        dependencies: lambda_.ILayerVersion,
    ) -> None:
        """Create the function; nothing starts it yet."""
        super().__init__(scope, construct_id)
        function_name = f"{settings.name}-{specification.name.replace('_', '-')}"
        log = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{function_name}",
            retention=log_retention(settings),
            removal_policy=removal_policy(settings),
        )
        self._dead_letters = dead_letter_queue(self, "DeadLetters")
        acknowledge(
            self._dead_letters,
            "AwsSolutions-SQS3",
            "It is itself the dead-letter queue, of a function and its rule.",
        )
        self._function = lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            description=specification.description,
            runtime=lambda_.Runtime.PYTHON_3_11,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"functions.{specification.name}.handler",
            code=code,
            layers=[dependencies],
            memory_size=_MEMORY_MB,
            timeout=Duration.seconds(specification.timeout_s),
            environment={
                **specification.environment,
                "RSSI_DEAD_LETTER_QUEUE_URL": self._dead_letters.queue_url,
            },
            role=self._role(specification, log),
            log_group=log,
            retry_attempts=_RETRIES,
            max_event_age=Duration.hours(DELIVERY_MAX_AGE_H),
            on_failure=destinations.SqsDestination(self._dead_letters),
        )
        acknowledge(
            self._function,
            "AwsSolutions-L1",
            "One Python for the whole tree: the last MXNet runs on 3.11, and the contract in "
            "events/ is shared with the trainer.",
        )

    def start_on(
        self,
        rule_id: str,
        pattern: events.EventPattern,
        bus: events.IEventBus | None = None,
    ) -> None:
        """Have a rule start the function: on `bus`, or on the account's default one."""
        events.Rule(
            self, rule_id, event_bus=bus, event_pattern=pattern, targets=[self._as_target()]
        )

    def start_at(self, schedule: events.Schedule) -> None:
        """Have a schedule start the function."""
        events.Rule(self, "Schedule", schedule=schedule, targets=[self._as_target()])

    def _as_target(self) -> targets.LambdaFunction:
        return targets.LambdaFunction(
            self._function,
            dead_letter_queue=self._dead_letters,
            retry_attempts=DELIVERY_ATTEMPTS,
            max_event_age=Duration.hours(DELIVERY_MAX_AGE_H),
        )

    def _role(self, specification: FunctionSpecification, log: logs.ILogGroup) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"The Lambda {specification.name}",
        )
        permit(role, (*grants.write_log(log), *specification.permissions))
        return role


def endpoint_changed(prefix: str) -> events.EventPattern:
    """SageMaker's event for a new status of an endpoint whose name starts with `prefix-`."""
    return events.EventPattern(
        source=["aws.sagemaker"],
        detail_type=["SageMaker Endpoint State Change"],
        detail={"EndpointName": events.Match.prefix(f"{prefix}-")},
    )


def _dependencies(scope: Construct) -> lambda_.LayerVersion:
    built = layer.is_built(layer.BUILT)
    version = lambda_.LayerVersion(
        scope,
        "Dependencies",
        description="What requirements/lambda.txt locks",
        code=lambda_.Code.from_asset(
            str(layer.BUILT if built else layer.PLACEHOLDER), asset_hash=layer.layer_digest()
        ),
        compatible_runtimes=[lambda_.Runtime.PYTHON_3_11],
        compatible_architectures=[lambda_.Architecture.ARM_64],
    )
    if not built:
        Annotations.of(version).add_error(
            "The Lambdas' dependencies are not built, or from another lock: run `make layer` first."
        )
    return version
