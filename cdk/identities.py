"""Who else acts on the stack: SageMaker when it serves, and the on-prem agent.

A permission too few shows only when an endpoint starts, a quarter of an hour into a rollout.
"""

from aws_cdk import Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk import grants
from cdk.permissions import permit
from cdk.settings import ServingImage
from cdk.storage import CHAMPION_KEYS
from events.outbound import Source

_SITES = "sites/*"
_TRAINER_WRITES = tuple(
    f"{_SITES}/{folder}/*" for folder in ("quarantine", "releases", "runs", "snapshots")
)


class ExecutionRole(Construct):
    """What SageMaker is when it starts a serving container: it reads a release and its image."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        artifacts: s3.IBucket,
        image: ServingImage,
        endpoint_prefix: str,
    ) -> None:
        """Create the role for endpoints whose names start with `endpoint_prefix`."""
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        deployed_to = {"account": stack.account, "region": stack.region}
        self.image_uri = image.uri.format(**deployed_to)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"),
            description="SageMaker, serving a release",
        )
        permit(
            self.role,
            [
                *grants.read_releases(artifacts),
                *grants.pull_image(
                    stack,
                    account=image.account.format(**deployed_to),
                    region=image.region.format(**deployed_to),
                    repository=image.repository,
                ),
                *grants.serve(stack, endpoint_prefix),
            ],
        )


class AgentPolicy(Construct):
    """What the on-prem agent and its Jobs may do; it waits for an identity to be attached to."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        data: s3.IBucket,
        artifacts: s3.IBucket,
        surveys: sqs.IQueue,
        dead_letters: sqs.IQueue,
        bus: events.IEventBus,
    ) -> None:
        """Create the managed policy."""
        super().__init__(scope, construct_id)
        self.policy = iam.ManagedPolicy(
            self, "Policy", description="The on-prem agent: surveys in, releases out"
        )
        permit(
            self.policy,
            [
                *grants.work_off(surveys),
                *grants.set_aside(dead_letters),
                *grants.read_objects("Surveys", data, (_SITES,)),
                *grants.read_objects("Artifacts", artifacts, (*_TRAINER_WRITES, CHAMPION_KEYS)),
                *grants.write_objects("Artifacts", artifacts, _TRAINER_WRITES),
                *grants.speak(bus, Source.AGENT),
            ],
        )
