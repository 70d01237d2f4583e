"""The event bus, for what the release steps announce."""

from collections.abc import Sequence

from aws.event_publisher import BusEntry, EventPublisher, PublishingError
from functions.core.deployments import Announcement
from functions.core.errors import RetryLaterError


class AnnouncementPublisher:
    """Publishes the announcements of the release steps."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    def put(self, announcements: Sequence[Announcement]) -> None:
        """Put events on the bus, in this order.

        Raises:
            RetryLaterError: the bus did not take all of them, even after repeats.
        """
        entries = [BusEntry(each.detail_type, each.detail) for each in announcements]
        try:
            self._publisher.publish(entries)
        except PublishingError as error:
            raise RetryLaterError(str(error)) from error
