"""The permissions that the identities are composed of, each a named set of IAM actions.

Scoped by name wherever AWS allows it; each wildcard has a reason.
"""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from cdk.constructs.permissions import IamPermission
from cdk.constructs.storage import ATTEMPT_KEYS, CHAMPION_KEYS, RELEASE_KEYS
from events.outbound import EventSource
from functions.core.candidates.site_policy import policy_parameter

_BY_SITE = "Sites and their objects come and go without a deployment; the folder is fixed."
_BY_DIGEST = "Models and configurations are named by their content's digest, not known before."
_BY_ENDPOINT = "One endpoint per site, and sites come and go; the stage's prefix is fixed."


def write_log(group: logs.ILogGroup) -> tuple[IamPermission, ...]:
    """To write to one log group, which exists already."""
    return (
        IamPermission(
            sid="WriteLog",
            actions=("logs:CreateLogStream", "logs:PutLogEvents"),
            resources=(group.log_group_arn,),
        ),
    )


def read_objects(
    sid: str, bucket: s3.IBucket, keys: tuple[str, ...], folders: tuple[str, ...] = ()
) -> tuple[IamPermission, ...]:
    """To read objects, any version, and to list them, or only those in `folders`.

    Without permission to list the whole bucket, S3 answers 403 and not 404 for a missing object: a
    GET or HEAD has no prefix for a condition to match. Whoever has `folders` only must list to tell
    a missing object from a forbidden one.
    """
    return (
        IamPermission(
            sid=f"Read{sid}",
            actions=("s3:GetObject", "s3:GetObjectVersion"),
            resources=tuple(bucket.arn_for_objects(key) for key in keys),
            wildcard_reason=_BY_SITE,
        ),
        IamPermission(
            sid=f"List{sid}",
            actions=("s3:ListBucket", "s3:ListBucketVersions"),
            resources=(bucket.bucket_arn,),
            conditions={"StringLike": {"s3:prefix": [f"{folder}*" for folder in folders]}}
            if folders
            else {},
        ),
    )


def write_objects(sid: str, bucket: s3.IBucket, keys: tuple[str, ...]) -> tuple[IamPermission, ...]:
    """To write objects, but not to delete any."""
    return (
        IamPermission(
            sid=f"Write{sid}",
            actions=("s3:PutObject", "s3:AbortMultipartUpload"),
            resources=tuple(bucket.arn_for_objects(key) for key in keys),
            wildcard_reason=_BY_SITE,
        ),
    )


def read_releases(artifacts: s3.IBucket) -> tuple[IamPermission, ...]:
    """To read releases."""
    return read_objects("Releases", artifacts, (RELEASE_KEYS,))


def delete_attempts(artifacts: s3.IBucket) -> tuple[IamPermission, ...]:
    """To delete the files of attempts for good; manifests have other keys."""
    return (
        IamPermission(
            sid="DeleteAttempts",
            actions=("s3:DeleteObject", "s3:DeleteObjectVersion"),
            resources=(artifacts.arn_for_objects(ATTEMPT_KEYS),),
            wildcard_reason=_BY_SITE,
        ),
    )


def write_champion(artifacts: s3.IBucket) -> tuple[IamPermission, ...]:
    """To write the pointers to the champions; a conditional write needs to read them as well."""
    return (
        IamPermission(
            sid="WriteChampion",
            actions=("s3:GetObject", "s3:PutObject"),
            resources=(artifacts.arn_for_objects(CHAMPION_KEYS),),
            wildcard_reason=_BY_SITE,
        ),
    )


def read_and_write_ledger(table: dynamodb.ITable) -> tuple[IamPermission, ...]:
    """To read and to write the ledger; a transaction is permitted by the actions in it."""
    return (
        IamPermission(
            sid="ReadAndWriteLedger",
            actions=("dynamodb:GetItem", "dynamodb:PutItem"),
            resources=(table.table_arn,),
        ),
    )


def list_ledger(table: dynamodb.ITable) -> tuple[IamPermission, ...]:
    """To list what the ledger holds of a site, and the sites."""
    return (
        IamPermission(sid="ListLedger", actions=("dynamodb:Query",), resources=(table.table_arn,)),
    )


def put_events(bus: events.IEventBus, source: EventSource) -> tuple[IamPermission, ...]:
    """To put events on the bus, with one source only."""
    return (
        IamPermission(
            sid="PutEvents",
            actions=("events:PutEvents",),
            resources=(bus.event_bus_arn,),
            conditions={"StringEquals": {"events:source": source.value}},
        ),
    )


def make_models(stack: Stack, execution_role: iam.IRole) -> tuple[IamPermission, ...]:
    """To make SageMaker models that run under the execution role, and under no other."""
    return (
        IamPermission(
            sid="MakeModels",
            actions=("sagemaker:CreateModel", "sagemaker:DescribeModel"),
            resources=(_sagemaker_arn(stack, "model", "*"),),
            wildcard_reason=_BY_DIGEST,
        ),
        IamPermission(
            sid="PassExecutionRole",
            actions=("iam:PassRole",),
            resources=(execution_role.role_arn,),
            conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
    )


def roll_endpoints(stack: Stack, prefix: str) -> tuple[IamPermission, ...]:
    """To create, move and remove the stage's endpoints, and to configure them."""
    return (
        IamPermission(
            sid="Configure",
            actions=("sagemaker:CreateEndpointConfig", "sagemaker:DescribeEndpointConfig"),
            resources=(
                _sagemaker_arn(stack, "endpoint-config", "*"),
                _sagemaker_arn(stack, "model", "*"),
            ),
            wildcard_reason=_BY_DIGEST,
        ),
        IamPermission(
            sid="RollEndpoints",
            actions=(
                "sagemaker:CreateEndpoint",
                "sagemaker:DeleteEndpoint",
                "sagemaker:DescribeEndpoint",
                "sagemaker:UpdateEndpoint",
            ),
            resources=(
                _sagemaker_arn(stack, "endpoint", f"{prefix}-*"),
                _sagemaker_arn(stack, "endpoint-config", "*"),
            ),
            wildcard_reason=f"{_BY_ENDPOINT} {_BY_DIGEST}",
        ),
    )


def look_at_endpoints(stack: Stack, prefix: str) -> tuple[IamPermission, ...]:
    """To see whether the stage's endpoints, and what they were made from, are still there."""
    return (
        IamPermission(
            sid="LookAtEndpoints",
            actions=(
                "sagemaker:DescribeEndpoint",
                "sagemaker:DescribeEndpointConfig",
                "sagemaker:DescribeModel",
            ),
            resources=(
                _sagemaker_arn(stack, "endpoint", f"{prefix}-*"),
                _sagemaker_arn(stack, "endpoint-config", "*"),
                _sagemaker_arn(stack, "model", "*"),
            ),
            wildcard_reason=f"{_BY_ENDPOINT} {_BY_DIGEST}",
        ),
    )


def use_endpoints(stack: Stack, prefix: str, *actions: str) -> tuple[IamPermission, ...]:
    """To do `actions`, such as `InvokeEndpoint`, with the stage's endpoints."""
    return (
        IamPermission(
            sid="UseEndpoints",
            actions=tuple(f"sagemaker:{action}" for action in actions),
            resources=(_sagemaker_arn(stack, "endpoint", f"{prefix}-*"),),
            wildcard_reason=_BY_ENDPOINT,
        ),
    )


def consume_queue(queue: sqs.IQueue) -> tuple[IamPermission, ...]:
    """To receive messages, extend their visibility timeout, and delete them."""
    return (
        IamPermission(
            sid="ConsumeQueue",
            actions=(
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ),
            resources=(queue.queue_arn,),
        ),
    )


def send_dead_letters(dead_letters: sqs.IQueue) -> tuple[IamPermission, ...]:
    """To send messages that can't be read to a dead-letter queue."""
    return (
        IamPermission(
            sid="SendDeadLetters",
            actions=("sqs:GetQueueUrl", "sqs:SendMessage"),
            resources=(dead_letters.queue_arn,),
        ),
    )


def read_parameter(stack: Stack, name: str) -> tuple[IamPermission, ...]:
    """To read one parameter."""
    arn = stack.format_arn(
        service="ssm", resource="parameter", resource_name=name.removeprefix("/")
    )
    return (IamPermission(sid="FindStack", actions=("ssm:GetParameter",), resources=(arn,)),)


def read_site_policies(stack: Stack, stage: str) -> tuple[IamPermission, ...]:
    """To read the policies of all sites, declared or not: a missing one is not a forbidden one."""
    name = policy_parameter(stage).removeprefix("/")
    return (
        IamPermission(
            sid="ReadSitePolicies",
            actions=("ssm:GetParameters",),
            resources=tuple(
                stack.format_arn(service="ssm", resource="parameter", resource_name=resource)
                for resource in (name, f"{name}/*")
            ),
            wildcard_reason=_BY_SITE,
        ),
    )


def run_serving_container(stack: Stack, endpoint_prefix: str) -> tuple[IamPermission, ...]:
    """What SageMaker needs of a model's role besides its image and data: logs and metrics.

    Source: "CreateModel API: execution role permissions" in SageMaker's developer guide.
    """
    log_groups = stack.format_arn(
        service="logs",
        resource="log-group",
        resource_name=f"/aws/sagemaker/Endpoints/{endpoint_prefix}-*",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    return (
        IamPermission(
            sid="WriteEndpointLogs",
            actions=(
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:DescribeLogStreams",
                "logs:PutLogEvents",
            ),
            resources=(log_groups,),
            wildcard_reason=_BY_ENDPOINT,
        ),
        IamPermission(
            sid="PutEndpointMetrics",
            actions=("cloudwatch:PutMetricData",),
            resources=("*",),
            conditions={
                "StringEquals": {
                    "cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]
                }
            },
            wildcard_reason="PutMetricData has no resources; the condition names the namespaces.",
        ),
    )


def pull_image(
    stack: Stack, account: str, region: str, repository: str
) -> tuple[IamPermission, ...]:
    """To pull one repository's images from ECR."""
    return (
        IamPermission(
            sid="PullImage",
            actions=(
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ),
            resources=(
                stack.format_arn(
                    service="ecr",
                    account=account,
                    region=region,
                    resource="repository",
                    resource_name=repository,
                ),
            ),
        ),
        IamPermission(
            sid="LogInToRegistry",
            actions=("ecr:GetAuthorizationToken",),
            resources=("*",),
            wildcard_reason="GetAuthorizationToken has no resources; it opens no repository.",
        ),
    )


def _sagemaker_arn(stack: Stack, resource: str, name: str) -> str:
    return stack.format_arn(service="sagemaker", resource=resource, resource_name=name)
