"""Lambda functions, their permissions and their asynchronous invocation."""

import hashlib

from ops.local.deploy.property_reader import ApiStructure, PropertyReader
from ops.local.deploy.resource_type import Creation, ResourceType, named, tolerate
from ops.local.deploy.template import ResourceIdentity
from ops.local.gateway.clients import ServiceClients

_CONFIGURATION = (
    "Description",
    "Environment",
    "Handler",
    "Layers",
    "LoggingConfig",
    "Role",
    "Runtime",
)


def _function(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    name = identity.ref
    properties.text("FunctionName")
    code: ApiStructure = properties.child("Code").pick("S3Bucket", "S3Key", "S3ObjectVersion")
    configuration = properties.pick(*_CONFIGURATION)
    for number in ("MemorySize", "Timeout"):
        if properties.has(number):
            configuration[number] = properties.number(number)
    dead_letter = properties.child("DeadLetterConfig").pick("TargetArn")
    if dead_letter:
        configuration["DeadLetterConfig"] = dead_letter
    reserved = properties.number("ReservedConcurrentExecutions")

    def create(clients: ServiceClients) -> None:
        functions = clients.get("lambda")
        with tolerate("ResourceConflictException"):
            functions.create_function(FunctionName=name, Code=code, **configuration)
            if reserved is not None:
                functions.put_function_concurrency(
                    FunctionName=name, ReservedConcurrentExecutions=reserved
                )
            return
        functions.update_function_code(FunctionName=name, **code)
        functions.update_function_configuration(FunctionName=name, **configuration)

    return create


def _event_invoke_config(properties: PropertyReader, _: ResourceIdentity) -> Creation:
    arguments = properties.pick("DestinationConfig", "Qualifier")
    for number in ("MaximumEventAgeInSeconds", "MaximumRetryAttempts"):
        if properties.has(number):
            arguments[number] = properties.number(number)
    name = properties.required("FunctionName")

    def create(clients: ServiceClients) -> None:
        clients.get("lambda").put_function_event_invoke_config(FunctionName=name, **arguments)

    return create


def _permission(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    arguments = properties.pick("Action", "FunctionName", "Principal", "SourceArn", "SourceAccount")
    statement = f"s{hashlib.sha256(identity.ref.encode()).hexdigest()[:16]}"

    def create(clients: ServiceClients) -> None:
        with tolerate("ResourceConflictException"):
            clients.get("lambda").add_permission(StatementId=statement, **arguments)

    return create


RESOURCE_TYPES = {
    "AWS::Lambda::Function": ResourceType(
        named(Arn="lambda:function:{}"), _function, "FunctionName"
    ),
    "AWS::Lambda::EventInvokeConfig": ResourceType(named(), _event_invoke_config),
    "AWS::Lambda::Permission": ResourceType(named(), _permission, max_name_length=128),
}
