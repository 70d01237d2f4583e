"""The container's environment, as SageMaker and we set it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL_DIR = "RSSI_MODEL_DIR"
HOST = "RSSI_BIND_HOST"
PORT = "SAGEMAKER_BIND_TO_PORT"
WORKERS = "SAGEMAKER_MODEL_SERVER_WORKERS"
MULTI_MODEL = "SAGEMAKER_MULTI_MODEL"
MODELS_MEMORY = "RSSI_MODELS_MEMORY_MB"
METRICS = "RSSI_METRICS"
EMF_PERIOD = "RSSI_EMF_PERIOD_S"

_SWITCHES = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Which model to serve and where to listen; the defaults are SageMaker's contract."""

    model: Path
    host: str
    port: int
    workers: int
    multi_model: bool = False
    """Whether requests load and unload models; SageMaker sets it for a multi-model endpoint."""
    models_memory_mb: int = 512
    """The limit on all models of a multi-model server, over all its workers."""
    metrics: bool = True
    """Whether ``/metrics`` answers and CloudWatch's lines are logged."""
    emf_period_s: int = 60


def read_settings(environment: Mapping[str, str]) -> ServingSettings:
    """The settings of this process.

    Raises:
        ValueError: a variable has no valid value; the message names it.
    """
    return ServingSettings(
        model=Path(environment.get(MODEL_DIR) or "/opt/ml/model"),
        # Inside its container the server has to be reachable; outside, the caller names loopback.
        host=environment.get(HOST) or "0.0.0.0",  # noqa: S104
        port=_number(environment, PORT, default=8080, lowest=0, highest=65_535),
        workers=_number(
            environment, WORKERS, default=len(os.sched_getaffinity(0)), lowest=1, highest=256
        ),
        multi_model=_switch(environment, MULTI_MODEL, default=False),
        models_memory_mb=_number(
            environment, MODELS_MEMORY, default=512, lowest=1, highest=1_000_000
        ),
        metrics=_switch(environment, METRICS, default=True),
        emf_period_s=_number(environment, EMF_PERIOD, default=60, lowest=1, highest=3600),
    )


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environment.get(name)
    if not text:
        return default
    if text.lower() not in _SWITCHES:
        raise ValueError(f"{name} is {text!r}, and has to be one of {', '.join(_SWITCHES)}.")
    return _SWITCHES[text.lower()]


def _number(
    environment: Mapping[str, str], name: str, default: int, lowest: int, highest: int
) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise ValueError(f"{name} is {text!r}, and has to be a number from {lowest} to {highest}.")
    return int(text)
