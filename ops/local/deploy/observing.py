"""Log groups, alarms and dashboards. Alarms keep the state they are given: moto computes none."""

import json

from ops.local.deploy.kind import Creation, Given, Kind, Place, already, named
from ops.local.deploy.reader import Reader
from ops.local.deploy.template import Identity
from ops.local.gateway.clients import Clients

_ALARM = (
    "ActionsEnabled",
    "AlarmActions",
    "AlarmDescription",
    "ComparisonOperator",
    "DatapointsToAlarm",
    "Dimensions",
    "EvaluateLowSampleCountPercentile",
    "EvaluationPeriods",
    "ExtendedStatistic",
    "InsufficientDataActions",
    "MetricName",
    "Metrics",
    "Namespace",
    "OKActions",
    "Period",
    "Statistic",
    "Threshold",
    "TreatMissingData",
    "Unit",
)


def _log_group_identity(place: Place, name: str, _: Given) -> Identity:
    return Identity(name, {"Arn": place.arn("logs", f"log-group:{name}:*")})


def _log_group(properties: Reader, identity: Identity) -> Creation:
    properties.text("LogGroupName")
    days = properties.number("RetentionInDays")

    def create(clients: Clients) -> None:
        logs = clients.get("logs")
        with already("ResourceAlreadyExistsException"):
            logs.create_log_group(logGroupName=identity.ref)
        if days:
            logs.put_retention_policy(logGroupName=identity.ref, retentionInDays=days)

    return create


def _resource_policy(properties: Reader, identity: Identity) -> Creation:
    properties.text("PolicyName")
    document = properties.required("PolicyDocument")

    def create(clients: Clients) -> None:
        clients.get("logs").put_resource_policy(policyName=identity.ref, policyDocument=document)

    return create


def _alarm(properties: Reader, identity: Identity) -> Creation:
    properties.text("AlarmName")
    asked = properties.pick(*_ALARM)

    def create(clients: Clients) -> None:
        clients.get("cloudwatch").put_metric_alarm(AlarmName=identity.ref, **asked)

    return create


def _dashboard(properties: Reader, identity: Identity) -> Creation:
    properties.text("DashboardName")
    raw = properties.raw("DashboardBody")
    body = raw if isinstance(raw, str) else json.dumps(raw)

    def create(clients: Clients) -> None:
        clients.get("cloudwatch").put_dashboard(DashboardName=identity.ref, DashboardBody=body)

    return create


KINDS = {
    "AWS::Logs::LogGroup": Kind(_log_group_identity, _log_group, "LogGroupName", longest=512),
    "AWS::Logs::ResourcePolicy": Kind(named(), _resource_policy, "PolicyName", longest=128),
    "AWS::CloudWatch::Alarm": Kind(
        named(Arn="cloudwatch:alarm:{}"), _alarm, "AlarmName", longest=255
    ),
    "AWS::CloudWatch::Dashboard": Kind(named(), _dashboard, "DashboardName", longest=255),
}
