"""How a deployed stack describes itself: one SSM parameter that every client starts from."""

from events.base import Contract
from events.manifests import Text
from events.names import Site


class Stack(Contract):
    """Physical names of a stage's resources, for everyone or for one of its agents."""

    stage: Text
    data_bucket: Text
    artifact_bucket: Text
    queue_url: Text | None = None
    """Where uploads are told to the agent that reads this; None where each agent has its own."""
    bus: Text
    ledger_table: Text
    event_log: Text
    endpoint_prefix: Text
    topic_arn: Text
    sites: tuple[Site, ...] = ()
    """The only sites that the agent which reads this looks after; empty for all."""


def stack_parameter(stage: str) -> str:
    """The name of the SSM parameter that holds the stage's `Stack` as JSON."""
    return f"/rssi-mlops/{stage}/stack"


def agent_parameter(stage: str, agent: str) -> str:
    """The name of the SSM parameter that holds the same for one agent of several."""
    return f"/rssi-mlops/{stage}/agents/{agent}"
