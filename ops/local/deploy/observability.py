"""Log groups, alarms and dashboards."""

import json

from ops.local.deploy.property_reader import PropertyReader
from ops.local.deploy.resource_type import (
    Creation,
    DeploymentLocation,
    PropertyText,
    ResourceType,
    named,
    tolerate,
)
from ops.local.deploy.template import ResourceIdentity
from ops.local.gateway.clients import ServiceClients

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


def _log_group_identity(
    location: DeploymentLocation, name: str, _: PropertyText
) -> ResourceIdentity:
    return ResourceIdentity(name, {"Arn": location.arn("logs", f"log-group:{name}:*")})


def _log_group(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("LogGroupName")
    days = properties.number("RetentionInDays")

    def create(clients: ServiceClients) -> None:
        logs = clients.get("logs")
        with tolerate("ResourceAlreadyExistsException"):
            logs.create_log_group(logGroupName=identity.ref)
        if days:
            logs.put_retention_policy(logGroupName=identity.ref, retentionInDays=days)

    return create


def _resource_policy(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("PolicyName")
    document = properties.required("PolicyDocument")

    def create(clients: ServiceClients) -> None:
        clients.get("logs").put_resource_policy(policyName=identity.ref, policyDocument=document)

    return create


def _alarm(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("AlarmName")
    arguments = properties.pick(*_ALARM)

    def create(clients: ServiceClients) -> None:
        clients.get("cloudwatch").put_metric_alarm(AlarmName=identity.ref, **arguments)

    return create


def _dashboard(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("DashboardName")
    raw = properties.raw("DashboardBody")
    body = raw if isinstance(raw, str) else json.dumps(raw)

    def create(clients: ServiceClients) -> None:
        clients.get("cloudwatch").put_dashboard(DashboardName=identity.ref, DashboardBody=body)

    return create


RESOURCE_TYPES = {
    "AWS::Logs::LogGroup": ResourceType(
        _log_group_identity, _log_group, "LogGroupName", max_name_length=512
    ),
    "AWS::Logs::ResourcePolicy": ResourceType(
        named(), _resource_policy, "PolicyName", max_name_length=128
    ),
    "AWS::CloudWatch::Alarm": ResourceType(
        named(Arn="cloudwatch:alarm:{}"), _alarm, "AlarmName", max_name_length=255
    ),
    "AWS::CloudWatch::Dashboard": ResourceType(
        named(), _dashboard, "DashboardName", max_name_length=255
    ),
}
