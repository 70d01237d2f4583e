"""The role that SageMaker assumes to serve a release.

A missing permission shows only when an endpoint starts, a quarter of an hour into a rollout.
"""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk.constructs import grants
from cdk.constructs.permissions import permit
from cdk.settings import ServingImage


class ExecutionRole(Construct):
    """The execution role of the serving containers: reads releases and their image."""

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
                *grants.run_serving_container(stack, endpoint_prefix),
            ],
        )
