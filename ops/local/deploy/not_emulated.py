"""What templates may contain and the embedded cloud knowingly ignores, each with its reason.

A type stands for the whole resource, a type with a property for that property and all below it.
What is neither emulated nor listed here fails the deployment.
"""

import re
from collections.abc import Mapping

NOT_EMULATED: Mapping[str, str] = {
    "AWS::S3::BucketPolicy": (
        "moto ignores the condition of a statement that denies requests without TLS, so it would "
        "refuse every request"
    ),
    "AWS::Lambda::LayerVersion": "functions run in the virtual environment of this process",
    "AWS::CDK::Metadata": "it only counts the CDK's users",
    "AWS::Lambda::Function.Architectures": "functions run on this machine's processor",
    "AWS::Lambda::Function.TracingConfig": "X-Ray is not emulated",
    "AWS::Lambda::Function.KmsKeyArn": "nothing is encrypted at rest",
    "AWS::S3::Bucket.Tags": "nothing is billed or found by tags",
    "AWS::SQS::Queue.Tags": "nothing is billed or found by tags",
    "AWS::SNS::Topic.Tags": "nothing is billed or found by tags",
    "AWS::DynamoDB::Table.Tags": "nothing is billed or found by tags",
    "AWS::Lambda::Function.Tags": "nothing is billed or found by tags",
    "AWS::Events::EventBus.Tags": "nothing is billed or found by tags",
    "AWS::Logs::LogGroup.Tags": "nothing is billed or found by tags",
    "AWS::IAM::Role.Tags": "nothing is billed or found by tags",
    "AWS::SSM::Parameter.Tags": "nothing is billed or found by tags",
    "AWS::CloudWatch::Alarm.Tags": "nothing is billed or found by tags",
}


def is_ignored(type_name: str, path: str = "") -> bool:
    """Whether a resource type, or a property of one by its path, is knowingly ignored."""
    names = re.sub(r"\[\d+\]", "", path).split(".") if path else []
    prefixes = [".".join([type_name, *names[:n]]) for n in range(len(names) + 1)]
    return any(prefix in NOT_EMULATED for prefix in prefixes)
