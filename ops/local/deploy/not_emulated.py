"""What templates may ask for and the embedded cloud knowingly leaves out, each with its reason.

A type alone leaves out the whole resource; with a property, that and all below it.
Whatever is neither emulated nor here makes the deployment fail.
"""

import re
from collections.abc import Mapping

NOT_EMULATED: Mapping[str, str] = {
    "AWS::S3::BucketPolicy": (
        "moto enforces a denial of requests without TLS without looking at its condition, so every "
        "request here, which is plain HTTP on loopback, would be refused"
    ),
    "AWS::Lambda::LayerVersion": "functions run in this project's own virtual environment",
    "AWS::CDK::Metadata": "it only counts CDK's users",
    "AWS::Lambda::Function.Architectures": "functions run on this machine's processor",
    "AWS::Lambda::Function.TracingConfig": "there is no X-Ray here",
    "AWS::Lambda::Function.KmsKeyArn": "nothing is encrypted at rest here",
    "AWS::S3::Bucket.Tags": "nothing here is billed or found by tags",
    "AWS::SQS::Queue.Tags": "nothing here is billed or found by tags",
    "AWS::SNS::Topic.Tags": "nothing here is billed or found by tags",
    "AWS::DynamoDB::Table.Tags": "nothing here is billed or found by tags",
    "AWS::Lambda::Function.Tags": "nothing here is billed or found by tags",
    "AWS::Events::EventBus.Tags": "nothing here is billed or found by tags",
    "AWS::Logs::LogGroup.Tags": "nothing here is billed or found by tags",
    "AWS::IAM::Role.Tags": "nothing here is billed or found by tags",
    "AWS::SSM::Parameter.Tags": "nothing here is billed or found by tags",
    "AWS::CloudWatch::Alarm.Tags": "nothing here is billed or found by tags",
}


def is_ignored(kind: str, path: str = "") -> bool:
    """Whether a resource type, or a property of one by its path, is knowingly left out."""
    names = re.sub(r"\[\d+\]", "", path).split(".") if path else []
    prefixes = [".".join([kind, *names[:n]]) for n in range(len(names) + 1)]
    return any(prefix in NOT_EMULATED for prefix in prefixes)
