"""One Lambda of the release: its role, its log, its dead letters and the code that it runs.

EventBridge invokes it asynchronously: an event whose three attempts fail, or that can't be
delivered, goes to the function's own dead-letter queue. Without that queue it would be lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Annotations, Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk import layer
from cdk.constructs import grants
from cdk.constructs.messaging import DELIVERY_ATTEMPTS, DELIVERY_MAX_AGE_H, dead_letter_queue
from cdk.constructs.permissions import IamPermission, permit
from cdk.constructs.retention import log_retention, removal_policy
from cdk.nag import acknowledge
from cdk.settings import StageSettings

DEAD_LETTER_VARIABLE = "RSSI_DEAD_LETTER_QUEUE_URL"
_MEMORY_MB = 512
TIMEOUT_S = 60
_RETRIES = 2


@dataclass(frozen=True)
class FunctionSpecification:
    """One step of the release, as one Lambda.

    Attributes:
        name: Its module in `functions`, which has a `handler`.
        description: What it does, as the list of functions shows it.
        environment: The variables of its settings model, but for the dead-letter queue's.
        permissions: What it may do.
        timeout_s: How long one invocation may take.
    """

    name: str
    description: str
    environment: Mapping[str, str]
    permissions: Sequence[IamPermission]
    timeout_s: int = TIMEOUT_S


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
                "POWERTOOLS_SERVICE_NAME": specification.name,
                "POWERTOOLS_METRICS_NAMESPACE": "rssi-mlops",
                "POWERTOOLS_LOG_LEVEL": "INFO",
                DEAD_LETTER_VARIABLE: self._dead_letters.queue_url,
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


def dependencies_layer(scope: Construct) -> lambda_.LayerVersion:
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
