"""A function's dead-letter queue, for events that no retry can mend."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

REASON_LENGTH = 1000


class DeadLetters:
    """Sends events that can't be read; Lambda's retries would all fail in the same way."""

    def __init__(self, client: "SQSClient", queue_url: str) -> None:
        self._sqs = client
        self._queue_url = queue_url

    def send(self, event: object, reason: str) -> None:
        """Keep an event, with the reason why it can't be handled, for a person to read."""
        self._sqs.send_message(
            QueueUrl=self._queue_url,
            MessageBody=json.dumps(event),
            MessageAttributes={
                "ERROR_MESSAGE": {"DataType": "String", "StringValue": reason[:REASON_LENGTH]}
            },
        )
