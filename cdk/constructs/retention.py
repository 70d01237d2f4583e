"""How long things are kept, in the CDK's terms."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs

from cdk.settings import LogRetentionDays, Removal, StageSettings

_RETENTIONS: dict[LogRetentionDays, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


def removal_policy(settings: StageSettings) -> RemovalPolicy:
    """What becomes of data and logs with the stack.

    Destroying does not empty a bucket: one that holds objects fails the deletion, on purpose.
    """
    return RemovalPolicy.RETAIN if settings.removal is Removal.RETAIN else RemovalPolicy.DESTROY


def log_retention(settings: StageSettings) -> logs.RetentionDays:
    """How long log groups keep their events."""
    return _RETENTIONS[settings.log_retention_days]
