"""Lambda functions and what belongs to them."""

import hashlib

from ops.local.deploy.kind import Creation, Kind, already, named
from ops.local.deploy.reader import Reader
from ops.local.deploy.template import Identity
from ops.local.gateway.clients import Clients

_CONFIGURATION = (
    "Description",
    "Environment",
    "Handler",
    "Layers",
    "LoggingConfig",
    "Role",
    "Runtime",
)


def _function(properties: Reader, identity: Identity) -> Creation:
    name = identity.ref
    properties.text("FunctionName")
    code = properties.child("Code").pick("S3Bucket", "S3Key", "S3ObjectVersion")
    configuration = properties.pick(*_CONFIGURATION)
    for number in ("MemorySize", "Timeout"):
        if properties.has(number):
            configuration[number] = properties.number(number)
    dead_letter = properties.child("DeadLetterConfig").pick("TargetArn")
    if dead_letter:
        configuration["DeadLetterConfig"] = dead_letter
    reserved = properties.number("ReservedConcurrentExecutions")

    def create(clients: Clients) -> None:
        functions = clients.get("lambda")
        with already("ResourceConflictException"):
            functions.create_function(FunctionName=name, Code=code, **configuration)
            if reserved is not None:
                functions.put_function_concurrency(
                    FunctionName=name, ReservedConcurrentExecutions=reserved
                )
            return
        functions.update_function_code(FunctionName=name, **code)
        functions.update_function_configuration(FunctionName=name, **configuration)

    return create


def _event_invoke_config(properties: Reader, _: Identity) -> Creation:
    asked = properties.pick("DestinationConfig", "Qualifier")
    for number in ("MaximumEventAgeInSeconds", "MaximumRetryAttempts"):
        if properties.has(number):
            asked[number] = properties.number(number)
    name = properties.required("FunctionName")

    def create(clients: Clients) -> None:
        clients.get("lambda").put_function_event_invoke_config(FunctionName=name, **asked)

    return create


def _permission(properties: Reader, identity: Identity) -> Creation:
    asked = properties.pick("Action", "FunctionName", "Principal", "SourceArn", "SourceAccount")
    statement = f"s{hashlib.sha256(identity.ref.encode()).hexdigest()[:16]}"

    def create(clients: Clients) -> None:
        with already("ResourceConflictException"):
            clients.get("lambda").add_permission(StatementId=statement, **asked)

    return create


KINDS = {
    "AWS::Lambda::Function": Kind(named(Arn="lambda:function:{}"), _function, "FunctionName"),
    "AWS::Lambda::EventInvokeConfig": Kind(named(), _event_invoke_config),
    "AWS::Lambda::Permission": Kind(named(), _permission, longest=128),
}
