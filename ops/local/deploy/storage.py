"""S3 buckets, DynamoDB tables and SSM parameters."""

from ops.local.deploy.property_reader import ApiArguments, ApiStructure, PropertyReader
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


def _bucket_identity(_: DeploymentLocation, name: str, __: PropertyText) -> ResourceIdentity:
    domain = f"{name}.s3.amazonaws.com"
    return ResourceIdentity(name, {"Arn": f"arn:aws:s3:::{name}", "DomainName": domain})


def _bucket(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    name = identity.ref
    properties.text("BucketName")
    versioning: ApiStructure = properties.child("VersioningConfiguration").pick("Status")
    encryption: ApiStructure = [
        {"ApplyServerSideEncryptionByDefault": rule.raw("ServerSideEncryptionByDefault")}
        for rule in properties.child("BucketEncryption").children(
            "ServerSideEncryptionConfiguration"
        )
    ]
    access: ApiStructure = properties.child("PublicAccessBlockConfiguration").pick(
        "BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"
    )
    ownership: ApiStructure = properties.child("OwnershipControls").pick("Rules")
    notification = properties.child("NotificationConfiguration").child("EventBridgeConfiguration")
    to_event_bridge = notification.flag("EventBridgeEnabled")
    rules: ApiStructure = [
        _lifecycle_rule(rule)
        for rule in properties.child("LifecycleConfiguration").children("Rules")
    ]

    def create(clients: ServiceClients) -> None:
        s3 = clients.get("s3")
        with tolerate("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            s3.create_bucket(Bucket=name)
        if versioning:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)
        if encryption:
            s3.put_bucket_encryption(
                Bucket=name, ServerSideEncryptionConfiguration={"Rules": encryption}
            )
        if access:
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=access)
        if ownership:
            s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=ownership)
        if rules:
            s3.put_bucket_lifecycle_configuration(
                Bucket=name, LifecycleConfiguration={"Rules": rules}
            )
        if to_event_bridge:
            s3.put_bucket_notification_configuration(
                Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}}
            )

    return create


def _lifecycle_rule(rule: PropertyReader) -> ApiArguments:
    """A lifecycle rule in the form of the API; moto stores it and expires nothing."""
    converted: ApiArguments = {
        "Status": rule.text("Status"),
        "Filter": {"Prefix": rule.text("Prefix")},
    }
    if rule.has("Id"):
        converted["ID"] = rule.text("Id")
    expiration: ApiArguments = {}
    if rule.has("ExpirationInDays"):
        expiration["Days"] = rule.number("ExpirationInDays")
    if rule.has("ExpiredObjectDeleteMarker"):
        expiration["ExpiredObjectDeleteMarker"] = rule.flag("ExpiredObjectDeleteMarker")
    if expiration:
        converted["Expiration"] = expiration
    transitions = [
        {"StorageClass": each.text("StorageClass"), "Days": each.number("TransitionInDays")}
        for each in rule.children("Transitions")
    ]
    if transitions:
        converted["Transitions"] = transitions
    return converted | rule.pick("AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration")


def _table(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    name = identity.ref
    definition = properties.pick(
        "AttributeDefinitions",
        "KeySchema",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "LocalSecondaryIndexes",
        "ProvisionedThroughput",
        "DeletionProtectionEnabled",
    )
    properties.text("TableName")
    stream = properties.child("StreamSpecification").text("StreamViewType")
    encrypted = properties.child("SSESpecification").flag("SSEEnabled")
    recovery = properties.child("PointInTimeRecoverySpecification").flag(
        "PointInTimeRecoveryEnabled"
    )
    time_to_live: ApiStructure = properties.child("TimeToLiveSpecification").pick(
        "AttributeName", "Enabled"
    )
    if stream:
        definition["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream}
    if encrypted:
        definition["SSESpecification"] = {"Enabled": True}

    def create(clients: ServiceClients) -> None:
        dynamodb = clients.get("dynamodb")
        with tolerate("ResourceInUseException"):
            dynamodb.create_table(TableName=name, **definition)
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": recovery},
        )
        if time_to_live:
            with tolerate("ValidationException"):  # "TimeToLive is already enabled"
                dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=time_to_live)

    return create


def _parameter(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("Name")
    arguments = properties.pick(
        "Type", "Value", "Description", "Tier", "AllowedPattern", "DataType"
    )

    def create(clients: ServiceClients) -> None:
        clients.get("ssm").put_parameter(Name=identity.ref, Overwrite=True, **arguments)

    return create


RESOURCE_TYPES = {
    "AWS::S3::Bucket": ResourceType(
        _bucket_identity, _bucket, "BucketName", max_name_length=63, lowercase=True
    ),
    "AWS::DynamoDB::Table": ResourceType(
        named(Arn="dynamodb:table/{}"), _table, "TableName", max_name_length=255
    ),
    "AWS::SSM::Parameter": ResourceType(named(), _parameter, "Name", max_name_length=255),
}
