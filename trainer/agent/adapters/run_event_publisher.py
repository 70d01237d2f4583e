"""The event bus, for what the agent reports about runs and surveys."""

from collections.abc import Sequence

from aws.event_publisher import BusEntry, EventPublisher, PublishingError
from events.outbound import Event
from trainer.agent.errors import AwsUnavailableError


class RunEventPublisher:
    """Publishes the agent's events."""

    def __init__(self, publisher: EventPublisher) -> None:
        """Use ``publisher``, whose source is the agent."""
        self._publisher = publisher

    def publish(self, events: Sequence[Event]) -> None:
        """Put events on the bus; a refused event is put again, so repeats are possible.

        Raises:
            AwsUnavailableError: the bus did not take all of them.
        """
        entries = [BusEntry(type(event).__name__, event.model_dump_json()) for event in events]
        try:
            self._publisher.publish(entries)
        except PublishingError as error:
            raise AwsUnavailableError(str(error)) from error
