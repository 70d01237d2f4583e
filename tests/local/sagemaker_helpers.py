"""Making, watching and invoking endpoints of the embedded cloud."""

import io
import tarfile
from collections.abc import Callable
from typing import Any

from tests.local.local_helpers import IMAGE, ROLE, eventually

Clients = Callable[[str], Any]
SETTLED = {"InService", "Failed", "UpdateRollbackFailed"}


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def configure(
    client: Clients,
    bucket: str,
    name: str,
    image: str = IMAGE,
    instances: int = 1,
    more: dict[str, Any] | None = None,
    **files: str,
) -> str:
    """Make a model and a configuration of one name; `more` are members of the configuration."""
    client("s3").put_object(Bucket=bucket, Key=f"{name}.tar.gz", Body=archive(**files))
    client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": image,
            "ModelDataUrl": f"s3://{bucket}/{name}.tar.gz",
            "Environment": {"GREETING": "hello"},
        },
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InitialInstanceCount": instances,
        "InstanceType": "ml.c7i.large",
    }
    client("sagemaker").create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], **(more or {})
    )
    return name


def status(sagemaker: Any, name: str) -> str:
    return str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])


def settled(sagemaker: Any, name: str) -> Any:
    eventually(lambda: status(sagemaker, name) in SETTLED)
    return sagemaker.describe_endpoint(EndpointName=name)


def invoke(client: Clients, endpoint: str, body: bytes = b"x") -> str:
    answer = client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=body)
    return str(answer["Body"].read().decode())
