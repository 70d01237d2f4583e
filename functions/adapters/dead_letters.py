"""The queue for events that no repeat can mend: kept for a person, with the reason."""

import json
from typing import Any

REASON_LENGTH = 1000


class DeadLetters:
    """A function's dead-letter queue, written by the function itself.

    An event that can't be read would fail every one of Lambda's retries the same way, and be
    logged each time; so it is set aside at once.
    """

    def __init__(self, client: Any, queue_url: str) -> None:
        self._sqs = client
        self._queue_url = queue_url

    def send(self, event: object, reason: str) -> None:
        """Keep an event and why it can't be handled."""
        self._sqs.send_message(
            QueueUrl=self._queue_url,
            MessageBody=json.dumps(event),
            MessageAttributes={
                "ERROR_MESSAGE": {"DataType": "String", "StringValue": reason[:REASON_LENGTH]}
            },
        )
