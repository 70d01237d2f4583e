"""The event bus with its log and notifications, and the agents' queues of surveys.

EventBridge drops events that a target refuses for good, so each queue has a dead-letter queue, both
for undeliverable events and for messages that the agent gives up on.
"""

from collections.abc import Sequence

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk.constructs.retention import log_retention, removal_policy
from cdk.settings import StageSettings
from events.base import Contract
from events.outbound import (
    DeploymentFailed,
    DeploymentSucceeded,
    EndpointDrifted,
    ReleaseRejected,
    RollbackRefused,
    RolledBack,
    SmokeTestFailed,
    SurveyQuarantined,
    TrainingFailed,
)

OUR_SOURCES = "rssi-mlops"
# EventBridge's own default and maximum of retries; the age is what ends them.
DELIVERY_ATTEMPTS = 185
DELIVERY_MAX_AGE_H = 6
_KEPT_DAYS = 14
_IN_HAND_S = 300
_LONG_POLL_S = 20
_RECEIVES = 5
NOTIFIED = (
    SurveyQuarantined,
    TrainingFailed,
    ReleaseRejected,
    RollbackRefused,
    DeploymentSucceeded,
    SmokeTestFailed,
    DeploymentFailed,
    RolledBack,
    EndpointDrifted,
)


class Messaging(Construct):
    """The bus, the event log and the notification topic."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: StageSettings,
    ) -> None:
        """Create all three, with the rules that feed them."""
        super().__init__(scope, construct_id)
        self.bus = events.EventBus(self, "Bus", event_bus_name=settings.bus_name)
        self.event_log = self._event_log(settings)
        self.topic = self._topic(settings.notification_emails)

    def _event_log(self, settings: StageSettings) -> logs.LogGroup:
        log = logs.LogGroup(
            self,
            "EventLog",
            log_group_name=f"/aws/events/{settings.name}",
            retention=log_retention(settings),
            removal_policy=removal_policy(settings),
        )
        self._let_event_bridge_write(log, f"{settings.name}-events")
        # The L2 target would add a custom resource for the resource policy above.
        events.CfnRule(
            self,
            "Everything",
            description="All of our events, kept as a log",
            event_bus_name=self.bus.event_bus_name,
            event_pattern={"source": events.Match.prefix(OUR_SOURCES)},
            targets=[events.CfnRule.TargetProperty(id="EventLog", arn=_arn_for_rules(log))],
        )
        return log

    def _let_event_bridge_write(self, log: logs.LogGroup, policy_name: str) -> None:
        # EventBridge does not honour conditions in a log group's policy; the group is ours alone.
        logs.CfnResourcePolicy(
            self,
            "EventLogPolicy",
            policy_name=policy_name,
            policy_document=Stack.of(self).to_json_string(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "EventBridgeWrites",
                            "Effect": "Allow",
                            "Principal": {
                                "Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]
                            },
                            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                            "Resource": log.log_group_arn,
                        }
                    ],
                }
            ),
        )

    def _topic(self, emails: Sequence[str]) -> sns.Topic:
        # No encryption at rest: EventBridge can't publish under SNS's own key, and the content
        # (ids and reasons) leaves by e-mail anyway.
        topic = sns.Topic(self, "Notifications", enforce_ssl=True)
        for email in emails:
            topic.add_subscription(subscriptions.EmailSubscription(email))
        events.Rule(
            self,
            "Notable",
            description="Events for people",
            event_bus=self.bus,
            event_pattern=of_kind(*NOTIFIED),
            targets=[targets.SnsTopic(topic)],
        )
        return topic


class SurveysQueue:
    """One agent's queue of uploads, its dead letters, and the rule that feeds it."""

    def __init__(self, scope: Construct, *, data: s3.IBucket, sites: Sequence[str] = ()) -> None:
        """Create all three in `scope`, for uploads to `sites`, or to any site."""
        self.dead_letters = dead_letter_queue(scope, "SurveysDeadLetters")
        self.queue = sqs.Queue(
            scope,
            "Surveys",
            visibility_timeout=Duration.seconds(_IN_HAND_S),
            receive_message_wait_time=Duration.seconds(_LONG_POLL_S),
            retention_period=Duration.days(_KEPT_DAYS),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=_RECEIVES
            ),
        )
        events.Rule(
            scope,
            "SurveyUploaded",
            description="A survey was uploaded",
            event_pattern=object_created(
                data, *(f"sites/{site}/surveys/*" for site in sites or ("*",))
            ),
            targets=[
                targets.SqsQueue(
                    self.queue,
                    dead_letter_queue=self.dead_letters,
                    retry_attempts=DELIVERY_ATTEMPTS,
                    max_event_age=Duration.hours(DELIVERY_MAX_AGE_H),
                )
            ],
        )


def object_created(bucket: s3.IBucket, *keys: str) -> events.EventPattern:
    """S3's event for a new object of the bucket whose key matches one of the wildcards `keys`."""
    return events.EventPattern(
        source=["aws.s3"],
        detail_type=["Object Created"],
        detail={
            "bucket": {"name": [bucket.bucket_name]},
            "object": {"key": events.Match.any_of(*map(events.Match.wildcard, keys))},
        },
    )


def of_kind(*kinds: type[Contract]) -> events.EventPattern:
    """Events of these kinds from any source: whoever may put events may request a rollback."""
    return events.EventPattern(detail_type=[kind.__name__ for kind in kinds])


def dead_letter_queue(scope: Construct, construct_id: str) -> sqs.Queue:
    """A queue for what could not be handled; people read it, for up to 14 days."""
    return sqs.Queue(
        scope,
        construct_id,
        retention_period=Duration.days(_KEPT_DAYS),
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
    )


def _arn_for_rules(log: logs.LogGroup) -> str:
    """The log group's ARN without `:*`, which a rule's target must not have."""
    return Stack.of(log).format_arn(
        service="logs",
        resource="log-group",
        resource_name=log.log_group_name,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
