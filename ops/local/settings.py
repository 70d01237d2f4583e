"""Settings of an embedded cloud; the defaults suit one developer's machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODEL_PLACEHOLDER = "{model}"
"""Stands for the directory of the unpacked model in the arguments of a serving command."""


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """Settings of one embedded cloud.

    Attributes:
        port: TCP port on loopback; 0 takes a free one.
        region: the region that clients are given.
        account_id: moto's default, so that its ARNs and those made here agree.
        clock_scale: factor on AWS's own waits before it retries (Lambda's 1 and 2 minutes,
            EventBridge's back-off, SageMaker's bake): 1/120 makes them 0.5 and 1 s.
        schedule_scale: factor on the period of ``rate(...)`` rules; 1 keeps them real.
        duplicate_share: share of SageMaker events that arrive twice, 0 to 1.
        seed: seed of the generator that picks those duplicates.
        serving_commands: container image to the command that stands for it. The command must serve
            SageMaker's contract on 127.0.0.1, at the port in ``SAGEMAKER_BIND_TO_PORT``;
            ``{model}`` in its arguments stands for the directory of the unpacked model.
        default_serving_command: the command for every other image; without one, an endpoint on
            such an image fails.
        startup_timeout: seconds until a serving process must answer ``/ping`` with 200.
        request_timeout: seconds until ``/invocations`` must answer; SageMaker's limit is 60.
        concurrency: most processes per Lambda function.
        init_timeout: seconds until a Lambda process must have imported its handler.
        warm_start: start one process of each function when it is created.
        logs_directory: a directory for a copy of the output of functions and containers.
        threads: requests served at once; long polls and requests that hang for 60 s hold one each.
    """

    port: int = 0
    region: str = "us-east-1"
    account_id: str = "123456789012"
    clock_scale: float = 1 / 120
    schedule_scale: float = 1.0
    duplicate_share: float = 0.2
    seed: int = 0
    serving_commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    default_serving_command: Sequence[str] | None = None
    startup_timeout: float = 15.0
    request_timeout: float = 60.0
    concurrency: int = 2
    init_timeout: float = 30.0
    warm_start: bool = True
    logs_directory: Path | None = None
    threads: int = 512

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource in this cloud's region and account."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"

    def client_environment(self, address: str) -> dict[str, str]:
        """Environment variables that make any AWS client use the cloud at ``address``."""
        return {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "embedded",
            "AWS_SECRET_ACCESS_KEY": "embedded",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
