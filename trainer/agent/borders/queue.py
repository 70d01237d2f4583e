"""The queue of S3's events: hints that a site may have changed.

They come at least once, late and in any order. What can't be read is left alone, so that its
receive count brings it to the dead-letter queue, where a person can see it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from events import names
from events.inbound import Envelope, ObjectCreated
from trainer.agent.errors import BorderError, MessageError
from trainer.training.settings import site_description_key

if TYPE_CHECKING:
    from botocore.client import BaseClient

_AT_ONCE = 10
_LONG_POLL_S = 20
"""SQS waits at most this long."""


class Message(NamedTuple):
    """A message as SQS hands it out."""

    body: str
    receipt: str
    first_time: bool
    """Whether it has never been handed out before."""


class Queue:
    """An SQS queue; every method may raise `trainer.agent.errors.BorderError`."""

    def __init__(self, client: "BaseClient", url: str) -> None:
        """Use ``client``, an SQS client of botocore, for the queue at ``url``."""
        self._client = client
        self._url = url

    def receive(self) -> tuple[Message, ...]:
        """Wait up to 20 s for messages; empty if none came."""
        with _translated("hand out messages"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_AT_ONCE,
                WaitTimeSeconds=_LONG_POLL_S,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            return tuple(_message(found) for found in answer.get("Messages", ()))

    def delete(self, message: Message) -> None:
        """Take a message out of the queue: what it asked for is done."""
        with _translated("delete a message"):
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)

    def keep_hidden(self, message: Message, seconds: int) -> None:
        """Let nobody else receive a message for so long, from now."""
        with _translated("hide a message for longer"):
            self._client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message.receipt, VisibilityTimeout=seconds
            )


def site_of(message: Message, data_bucket: str) -> str | None:
    """The site that a message is about; None if it is about nothing that concerns us.

    Raises:
        MessageError: it is not an ``Object Created`` event of S3.
    """
    try:
        detail = Envelope[ObjectCreated].model_validate_json(message.body).detail
    except ValidationError as error:
        raise MessageError(f"a message is no Object Created event of S3: {error}") from error
    if detail.bucket.name != data_bucket:
        return None
    return _site_of_key(detail.object.key)


def _site_of_key(key: str) -> str | None:
    parts = key.split("/")
    try:
        if len(parts) == 3 and key == site_description_key(parts[1]):
            return parts[1]
        return names.parse_survey_key(key).site
    except names.InvalidNameError:
        return None


def _message(found: dict[str, object]) -> Message:
    attributes = found.get("Attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else None
    return Message(
        body=str(found["Body"]),
        receipt=str(found["ReceiptHandle"]),
        first_time=count in {None, "1"},
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise BorderError(f"the queue did not {what}: {error}") from error
