"""The queue of S3's events: hints that a site may have changed.

They come at least once, late and in any order. What can't be read goes to the dead-letter queue,
where a person can see it and why.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
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
"""SQS's limit on one request, in either direction."""
_LONG_POLL_S = 20
"""SQS waits at most this long."""
_REASON_LENGTH = 1000


class QueueMessage(NamedTuple):
    """A message as SQS hands it out."""

    body: str
    receipt: str
    first_time: bool
    """Whether it has never been handed out before."""
    sent_at: datetime | None = None
    """When it came into the queue, UTC."""


class SurveyQueue:
    """An SQS queue; every method may raise `trainer.agent.errors.BorderError`."""

    def __init__(self, client: "BaseClient", url: str) -> None:
        """Use ``client``, an SQS client of botocore, for the queue at ``url``."""
        self._client = client
        self._url = url
        self._dead_letters: str | None = None

    def receive(self) -> tuple[QueueMessage, ...]:
        """Wait up to 20 s for messages; empty if none came."""
        with _translated("hand out messages"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_AT_ONCE,
                WaitTimeSeconds=_LONG_POLL_S,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
            return tuple(_message(found) for found in answer.get("Messages", ()))

    def delete(self, *messages: QueueMessage) -> None:
        """Take messages out of the queue: what they asked for is done."""
        with _translated("delete a message"):
            for entries in _batches(messages):
                _all_of(self._client.delete_message_batch(QueueUrl=self._url, Entries=entries))

    def keep_hidden(self, messages: Sequence[QueueMessage], seconds: int) -> None:
        """Let nobody else receive messages for so long, from now."""
        with _translated("hide a message for longer"):
            for entries in _batches(messages):
                hidden = [{**entry, "VisibilityTimeout": seconds} for entry in entries]
                _all_of(
                    self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=hidden)
                )

    def reject(self, message: QueueMessage, reason: str) -> None:
        """Move a message to the dead-letter queue, with the reason as an attribute.

        Raises:
            BorderError: there is no such queue, or we may not write to it; the message stays, and
                its receive count brings it there without a reason.
        """
        with _translated("move a message to its dead-letter queue"):
            self._client.send_message(
                QueueUrl=self._dead_letter_url(),
                MessageBody=message.body or "(empty)",
                MessageAttributes={
                    "reason": {"DataType": "String", "StringValue": reason[:_REASON_LENGTH]}
                },
            )
        self.delete(message)

    def _dead_letter_url(self) -> str:
        if self._dead_letters is None:
            asked = ["RedrivePolicy"]
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=asked)
            policy = answer.get("Attributes", {}).get("RedrivePolicy")
            if policy is None:
                raise BorderError("the queue has no dead-letter queue")
            arn = str(json.loads(policy)["deadLetterTargetArn"])
            name, account = arn.rpartition(":")[2], arn.split(":")[4]
            found = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
            self._dead_letters = str(found["QueueUrl"])
        return self._dead_letters


def site_of(message: QueueMessage, data_bucket: str) -> str | None:
    """The site that a message is about; None if it is about nothing that concerns us.

    Raises:
        MessageError: it is not an ``Object Created`` event of S3.
    """
    try:
        detail = Envelope[ObjectCreated].model_validate_json(message.body).detail
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise MessageError(f"a message is no Object Created event of S3: {wrong}") from error
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


def _batches(messages: Sequence[QueueMessage]) -> Iterator[list[dict[str, str]]]:
    for start in range(0, len(messages), _AT_ONCE):
        batch = messages[start : start + _AT_ONCE]
        yield [
            {"Id": str(number), "ReceiptHandle": message.receipt}
            for number, message in enumerate(batch)
        ]


def _all_of(answer: dict[str, list[dict[str, object]]]) -> None:
    """A batch is answered with 200 although parts of it failed."""
    failed = answer.get("Failed", [])
    if failed:
        first = failed[0]
        raise BorderError(
            f"the queue refused {len(failed)} of a batch of messages: {first['Code']} "
            f"{first.get('Message', '')}"
        )


def _message(found: dict[str, object]) -> QueueMessage:
    attributes = found.get("Attributes")
    known = attributes if isinstance(attributes, dict) else {}
    sent = known.get("SentTimestamp")
    return QueueMessage(
        body=str(found["Body"]),
        receipt=str(found["ReceiptHandle"]),
        first_time=known.get("ApproximateReceiveCount") in {None, "1"},
        sent_at=datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else None,
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise BorderError(f"the queue did not {what}: {error}") from error
