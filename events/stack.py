"""A deployed stack's description of itself: the SSM parameter that every client starts from."""

from events.base import Contract
from events.manifests import Text
from events.names import Site


class Stack(Contract):
    """Physical names of a stage's resources, for everyone or for one of its agents."""

    stage: Text
    """The name of the stage, such as ``dev``."""
    data_bucket: Text
    """The bucket of the surveys."""
    artifact_bucket: Text
    """The bucket of the releases."""
    queue_url: Text | None = None
    """The queue that brings uploads to the one agent; None where each agent has its own queue."""
    bus: Text
    """The event bus."""
    ledger_table: Text
    """The ledger's table in DynamoDB."""
    event_log: Text
    """The log group of all events on the bus."""
    endpoint_prefix: Text
    """A site's endpoint is called ``PREFIX-SITE``."""
    topic_arn: Text
    """The notification topic."""
    sites: tuple[Site, ...] = ()
    """The only sites of the agent that reads this; empty for all sites."""


def stack_parameter(stage: str) -> str:
    """The name of the SSM parameter that holds the stage's `Stack` as JSON."""
    return f"/rssi-mlops/{stage}/stack"


def agent_parameter(stage: str, agent: str) -> str:
    """The name of the SSM parameter that holds the same for one agent of several."""
    return f"/rssi-mlops/{stage}/agents/{agent}"
