"""The table that remembers releases, deployments and what is live.

It has no TTL: a rollback may choose any release that was ever live.
"""

from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from cdk.constructs.retention import removal_policy
from cdk.settings import Removal, StageSettings


class LedgerTable(Construct):
    """One on-demand table with keys `pk` and `sk`, recoverable to any second of 35 days."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: StageSettings) -> None:
        """Create the table; one that is to be retained can't be deleted by hand either."""
        super().__init__(scope, construct_id)
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            deletion_protection=settings.removal is Removal.RETAIN,
            removal_policy=removal_policy(settings),
        )
