"""How a deployed stack describes itself: one SSM parameter that every client starts from."""

from events.base import Contract
from events.manifests import Text


class Stack(Contract):
    """Physical names of a stage's resources."""

    stage: Text
    data_bucket: Text
    artifact_bucket: Text
    queue_url: Text
    bus: Text
    ledger_table: Text
    event_log: Text
    endpoint_prefix: Text
    topic_arn: Text


def stack_parameter(stage: str) -> str:
    """The name of the SSM parameter that holds the stage's `Stack` as JSON."""
    return f"/rssi-mlops/{stage}/stack"
