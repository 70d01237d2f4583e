"""The container's environment, as SageMaker and we set it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL_DIR = "RSSI_MODEL_DIR"
HOST = "RSSI_BIND_HOST"
PORT = "SAGEMAKER_BIND_TO_PORT"
WORKERS = "SAGEMAKER_MODEL_SERVER_WORKERS"


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Where the model lies and where to listen; the defaults are SageMaker's contract."""

    model: Path
    host: str
    port: int
    workers: int


def read_settings(environment: Mapping[str, str]) -> ServingSettings:
    """The settings of this process.

    Raises:
        ValueError: one of them is not what it should be; names it.
    """
    return ServingSettings(
        model=Path(environment.get(MODEL_DIR) or "/opt/ml/model"),
        # Inside its container the server has to be reachable; outside, the caller names loopback.
        host=environment.get(HOST) or "0.0.0.0",  # noqa: S104
        port=_number(environment, PORT, default=8080, lowest=0, highest=65_535),
        workers=_number(
            environment, WORKERS, default=len(os.sched_getaffinity(0)), lowest=1, highest=256
        ),
    )


def _number(
    environment: Mapping[str, str], name: str, default: int, lowest: int, highest: int
) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise ValueError(f"{name} is {text!r}, and has to be a number from {lowest} to {highest}.")
    return int(text)
