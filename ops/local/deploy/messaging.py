"""Queues, topics, buses and rules."""

import json

from ops.local.deploy.kind import Creation, Given, Kind, Place, already, named
from ops.local.deploy.reader import Reader
from ops.local.deploy.template import Identity
from ops.local.events.event_bus import DEFAULT_BUS
from ops.local.events.event_pattern import EventPattern
from ops.local.gateway.clients import Clients

_QUEUE_ATTRIBUTES = {
    "DelaySeconds": "DelaySeconds",
    "MaximumMessageSize": "MaximumMessageSize",
    "MessageRetentionPeriod": "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "VisibilityTimeout": "VisibilityTimeout",
    "SqsManagedSseEnabled": "SqsManagedSseEnabled",
    "FifoQueue": "FifoQueue",
    "ContentBasedDeduplication": "ContentBasedDeduplication",
}
_TARGET_MEMBERS = (
    "Id",
    "Arn",
    "Input",
    "RoleArn",
    "RetryPolicy",
    "DeadLetterConfig",
    "SqsParameters",
)


def _queue_identity(place: Place, name: str, _: Given) -> Identity:
    url = f"{place.address}/{place.settings.account_id}/{name}"
    arn = place.arn("sqs", name)
    return Identity(url, {"Arn": arn, "QueueName": name, "QueueUrl": url})


def _queue(properties: Reader, identity: Identity) -> Creation:
    properties.text("QueueName")
    attributes = {
        attribute: properties.text(name)
        for name, attribute in _QUEUE_ATTRIBUTES.items()
        if properties.has(name)
    }
    redrive = properties.raw("RedrivePolicy")
    if redrive:
        attributes["RedrivePolicy"] = json.dumps(redrive)

    def create(clients: Clients) -> None:
        sqs = clients.get("sqs")
        with already("QueueNameExists", "QueueAlreadyExists"):
            sqs.create_queue(QueueName=identity.attributes["QueueName"], Attributes=attributes)
            return
        sqs.set_queue_attributes(QueueUrl=identity.ref, Attributes=attributes)

    return create


def _queue_policy(properties: Reader, _: Identity) -> Creation:
    policy = json.dumps(properties.raw("PolicyDocument"))
    urls = properties.texts("Queues")

    def create(clients: Clients) -> None:
        for url in urls:
            clients.get("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    return create


def _topic_identity(place: Place, name: str, _: Given) -> Identity:
    arn = place.arn("sns", name)
    return Identity(arn, {"TopicArn": arn, "TopicName": name})


def _topic(properties: Reader, identity: Identity) -> Creation:
    properties.text("TopicName")
    attributes = {
        name: properties.text(name) for name in ("DisplayName", "FifoTopic") if properties.has(name)
    }
    subscriptions = [
        (each.required("Protocol"), each.required("Endpoint"))
        for each in properties.children("Subscription")
    ]

    def create(clients: Clients) -> None:
        sns = clients.get("sns")
        sns.create_topic(Name=identity.attributes["TopicName"], Attributes=attributes)
        for protocol, endpoint in subscriptions:
            sns.subscribe(TopicArn=identity.ref, Protocol=protocol, Endpoint=endpoint)

    return create


def _topic_policy(properties: Reader, _: Identity) -> Creation:
    policy = json.dumps(properties.raw("PolicyDocument"))
    arns = properties.texts("Topics")

    def create(clients: Clients) -> None:
        for arn in arns:
            clients.get("sns").set_topic_attributes(
                TopicArn=arn, AttributeName="Policy", AttributeValue=policy
            )

    return create


def _subscription(properties: Reader, _: Identity) -> Creation:
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

    def create(clients: Clients) -> None:
        clients.get("sns").subscribe(
            TopicArn=topic, Protocol=protocol, Endpoint=endpoint, Attributes=attributes
        )

    return create


def _bus(properties: Reader, identity: Identity) -> Creation:
    properties.text("Name")
    description = properties.pick("Description")

    def create(clients: Clients) -> None:
        with already("ResourceAlreadyExistsException"):
            clients.get("events").create_event_bus(Name=identity.ref, **description)

    return create


def _rule_identity(place: Place, name: str, given: Given) -> Identity:
    bus = given("EventBusName").rpartition("event-bus/")[2] or DEFAULT_BUS
    path = name if bus == DEFAULT_BUS else f"{bus}/{name}"
    return Identity(path.replace("/", "|"), {"Arn": place.arn("events", f"rule/{path}")})


def _rule(properties: Reader, identity: Identity) -> Creation:
    properties.text("Name")
    bus = properties.text("EventBusName", DEFAULT_BUS)
    asked = properties.pick("Description", "State", "ScheduleExpression", "RoleArn")
    if properties.has("EventPattern"):
        asked["EventPattern"] = json.dumps(properties.raw("EventPattern"))
        EventPattern(str(asked["EventPattern"]))
    targets = [each.pick(*_TARGET_MEMBERS) for each in properties.children("Targets")]
    name = identity.ref.rpartition("|")[2]

    def create(clients: Clients) -> None:
        events = clients.get("events")
        events.put_rule(Name=name, EventBusName=bus, **asked)
        events.put_targets(Rule=name, EventBusName=bus, Targets=targets)

    return create


KINDS = {
    "AWS::SQS::Queue": Kind(_queue_identity, _queue, "QueueName", longest=80),
    "AWS::SQS::QueuePolicy": Kind(named(), _queue_policy),
    "AWS::SNS::Topic": Kind(_topic_identity, _topic, "TopicName", longest=256),
    "AWS::SNS::TopicPolicy": Kind(named(), _topic_policy),
    "AWS::SNS::Subscription": Kind(named(), _subscription),
    "AWS::Events::EventBus": Kind(named(Arn="events:event-bus/{}"), _bus, "Name", longest=256),
    "AWS::Events::Rule": Kind(_rule_identity, _rule, "Name"),
}
