"""SQS queues, SNS topics, and EventBridge's buses and rules."""

import json

from ops.local.deploy.property_reader import ApiStructure, PropertyReader
from ops.local.deploy.resource_type import (
    Creation,
    DeploymentLocation,
    PropertyText,
    ResourceType,
    named,
    tolerate,
)
from ops.local.deploy.template import ResourceIdentity
from ops.local.events.api import DEFAULT_BUS
from ops.local.events.event_pattern import EventPattern
from ops.local.gateway.clients import ServiceClients

_QUEUE_ATTRIBUTES = (
    "DelaySeconds",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "VisibilityTimeout",
    "SqsManagedSseEnabled",
    "FifoQueue",
    "ContentBasedDeduplication",
)
_TARGET_MEMBERS = (
    "Id",
    "Arn",
    "Input",
    "RoleArn",
    "RetryPolicy",
    "DeadLetterConfig",
    "SqsParameters",
)


def _queue_identity(location: DeploymentLocation, name: str, _: PropertyText) -> ResourceIdentity:
    url = f"{location.address}/{location.settings.account_id}/{name}"
    arn = location.arn("sqs", name)
    return ResourceIdentity(url, {"Arn": arn, "QueueName": name, "QueueUrl": url})


def _queue(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("QueueName")
    attributes: ApiStructure = {
        name: properties.text(name) for name in _QUEUE_ATTRIBUTES if properties.has(name)
    }
    redrive = properties.raw("RedrivePolicy")
    if redrive:
        attributes["RedrivePolicy"] = json.dumps(redrive)

    def create(clients: ServiceClients) -> None:
        sqs = clients.get("sqs")
        with tolerate("QueueNameExists", "QueueAlreadyExists"):
            sqs.create_queue(QueueName=identity.attributes["QueueName"], Attributes=attributes)
            return
        sqs.set_queue_attributes(QueueUrl=identity.ref, Attributes=attributes)

    return create


def _queue_policy(properties: PropertyReader, _: ResourceIdentity) -> Creation:
    policy = json.dumps(properties.raw("PolicyDocument"))
    urls = properties.texts("Queues")

    def create(clients: ServiceClients) -> None:
        for url in urls:
            clients.get("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    return create


def _topic_identity(location: DeploymentLocation, name: str, _: PropertyText) -> ResourceIdentity:
    arn = location.arn("sns", name)
    return ResourceIdentity(arn, {"TopicArn": arn, "TopicName": name})


def _topic(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("TopicName")
    attributes = {
        name: properties.text(name) for name in ("DisplayName", "FifoTopic") if properties.has(name)
    }
    subscriptions = [
        (each.required("Protocol"), each.required("Endpoint"))
        for each in properties.children("Subscription")
    ]

    def create(clients: ServiceClients) -> None:
        sns = clients.get("sns")
        sns.create_topic(Name=identity.attributes["TopicName"], Attributes=attributes)
        for protocol, endpoint in subscriptions:
            sns.subscribe(TopicArn=identity.ref, Protocol=protocol, Endpoint=endpoint)

    return create


def _topic_policy(properties: PropertyReader, _: ResourceIdentity) -> Creation:
    policy = json.dumps(properties.raw("PolicyDocument"))
    arns = properties.texts("Topics")

    def create(clients: ServiceClients) -> None:
        for arn in arns:
            clients.get("sns").set_topic_attributes(
                TopicArn=arn, AttributeName="Policy", AttributeValue=policy
            )

    return create


def _subscription(properties: PropertyReader, _: ResourceIdentity) -> Creation:
    topic = properties.required("TopicArn")
    protocol, endpoint = properties.required("Protocol"), properties.required("Endpoint")
    attributes = {
        name: json.dumps(properties.raw(name))
        for name in ("FilterPolicy", "RedrivePolicy")
        if properties.has(name)
    }
    for name in ("FilterPolicyScope", "RawMessageDelivery"):
        if properties.has(name):
            attributes[name] = properties.text(name)

    def create(clients: ServiceClients) -> None:
        clients.get("sns").subscribe(
            TopicArn=topic, Protocol=protocol, Endpoint=endpoint, Attributes=attributes
        )

    return create


def _bus(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("Name")
    description = properties.pick("Description")

    def create(clients: ServiceClients) -> None:
        with tolerate("ResourceAlreadyExistsException"):
            clients.get("events").create_event_bus(Name=identity.ref, **description)

    return create


def _rule_identity(
    location: DeploymentLocation, name: str, text_of: PropertyText
) -> ResourceIdentity:
    bus = text_of("EventBusName").rpartition("event-bus/")[2] or DEFAULT_BUS
    path = name if bus == DEFAULT_BUS else f"{bus}/{name}"
    return ResourceIdentity(path.replace("/", "|"), {"Arn": location.arn("events", f"rule/{path}")})


def _rule(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("Name")
    bus = properties.text("EventBusName", DEFAULT_BUS)
    arguments = properties.pick("Description", "State", "ScheduleExpression", "RoleArn")
    if properties.has("EventPattern"):
        arguments["EventPattern"] = json.dumps(properties.raw("EventPattern"))
        EventPattern(str(arguments["EventPattern"]))
    targets: ApiStructure = [each.pick(*_TARGET_MEMBERS) for each in properties.children("Targets")]
    name = identity.ref.rpartition("|")[2]

    def create(clients: ServiceClients) -> None:
        events = clients.get("events")
        events.put_rule(Name=name, EventBusName=bus, **arguments)
        events.put_targets(Rule=name, EventBusName=bus, Targets=targets)

    return create


RESOURCE_TYPES = {
    "AWS::SQS::Queue": ResourceType(_queue_identity, _queue, "QueueName", max_name_length=80),
    "AWS::SQS::QueuePolicy": ResourceType(named(), _queue_policy),
    "AWS::SNS::Topic": ResourceType(_topic_identity, _topic, "TopicName", max_name_length=256),
    "AWS::SNS::TopicPolicy": ResourceType(named(), _topic_policy),
    "AWS::SNS::Subscription": ResourceType(named(), _subscription),
    "AWS::Events::EventBus": ResourceType(
        named(Arn="events:event-bus/{}"), _bus, "Name", max_name_length=256
    ),
    "AWS::Events::Rule": ResourceType(_rule_identity, _rule, "Name"),
}
