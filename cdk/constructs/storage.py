"""The two buckets: surveys, and the releases made from them.

No lifecycle rule expires old versions: it would break the trace from a prediction to its data. The
Lambda clean_up deletes the files of attempts that did not become a release.
"""

from typing import cast

from aws_cdk import Duration
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk.constructs.retention import removal_policy
from cdk.nag import acknowledge
from cdk.settings import StageSettings

RELEASE_KEYS = "sites/*/releases/*"
RELEASE_MANIFEST_KEYS = f"{RELEASE_KEYS}/release.json"
ATTEMPT_KEYS = f"{RELEASE_KEYS}/attempts/*"
CHAMPION_KEYS = "sites/*/champion.json"
_ABANDONED_AFTER_DAYS = 7


class Storage(Construct):
    """The data bucket and the artifact bucket; both send events of new objects to EventBridge."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: StageSettings) -> None:
        """Create both buckets."""
        super().__init__(scope, construct_id)
        self.data = _bucket(self, "Data", settings)
        self.artifacts = _bucket(self, "Artifacts", settings)


def _bucket(scope: Construct, construct_id: str, settings: StageSettings) -> s3.Bucket:
    bucket = s3.Bucket(
        scope,
        construct_id,
        versioned=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        encryption=s3.BucketEncryption.S3_MANAGED,
        lifecycle_rules=[
            s3.LifecycleRule(
                id="abandoned-uploads",
                abort_incomplete_multipart_upload_after=Duration.days(_ABANDONED_AFTER_DAYS),
            )
        ],
        removal_policy=removal_policy(settings),
    )
    _notify_event_bridge(bucket)
    acknowledge(
        bucket,
        "AwsSolutions-S1",
        "Who read what is recorded by CloudTrail data events, set up once per account; server "
        "access logs would need a third bucket, with no versions and best-effort delivery.",
    )
    return bucket


def _notify_event_bridge(bucket: s3.Bucket) -> None:
    # The L2's enable_event_bridge_notification() would add a custom resource and its Lambda.
    resource = cast("s3.CfnBucket", bucket.node.default_child)
    resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
        event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
            event_bridge_enabled=True
        )
    )
