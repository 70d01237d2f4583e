"""The SQS queue of S3's events: hints that a site may have changed.

Messages come at least once, late and in any order. A message that can't be read goes to the
dead-letter queue with the reason, where a person can see both.
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
from trainer.agent.errors import AwsUnavailableError, MessageError
from trainer.training.settings import site_description_key

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef, MessageTypeDef

_BATCH = 10
"""SQS's limit on one request, in either direction."""
_LONG_POLL_S = 20
"""SQS waits at most this long."""
_REASON_LENGTH = 1000


class QueueMessage(NamedTuple):
    """A message that SQS delivered."""

    body: str
    receipt: str
    first_time: bool
    """Whether this is its first delivery."""
    sent_at: datetime | None = None
    """When it came into the queue, UTC."""


class SurveyQueue:
    """An SQS queue; every method may raise `trainer.agent.errors.AwsUnavailableError`."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        """Use ``client`` for the queue at ``url``."""
        self._client = client
        self._url = url
        self._dead_letters: str | None = None

    def receive(self) -> tuple[QueueMessage, ...]:
        """Wait up to 20 s for messages; empty if none came."""
        with _translated("deliver messages"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                WaitTimeSeconds=_LONG_POLL_S,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
            return tuple(_message(found) for found in answer.get("Messages", ()))

    def delete(self, *messages: QueueMessage) -> None:
        """Delete messages that are dealt with."""
        with _translated("delete a message"):
            for batch in _batches(messages):
                answer = self._client.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": message.receipt}
                        for number, message in enumerate(batch)
                    ],
                )
                _check_all_done(answer.get("Failed", ()))

    def keep_hidden(self, messages: Sequence[QueueMessage], seconds: int) -> None:
        """Hide messages from every receiver for so long, from now."""
        with _translated("hide a message for longer"):
            for batch in _batches(messages):
                answer = self._client.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {
                            "Id": str(number),
                            "ReceiptHandle": message.receipt,
                            "VisibilityTimeout": seconds,
                        }
                        for number, message in enumerate(batch)
                    ],
                )
                _check_all_done(answer.get("Failed", ()))

    def reject(self, message: QueueMessage, reason: str) -> None:
        """Move a message to the dead-letter queue, with the reason as an attribute.

        Raises:
            AwsUnavailableError: there is no such queue, or writing to it is denied; the message
                stays, and its receive count brings it there without a reason.
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
            answer = self._client.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=["RedrivePolicy"]
            )
            policy = answer.get("Attributes", {}).get("RedrivePolicy")
            if policy is None:
                raise AwsUnavailableError("the queue has no dead-letter queue")
            arn = str(json.loads(policy)["deadLetterTargetArn"])
            name, account = arn.rpartition(":")[2], arn.split(":")[4]
            found = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
            self._dead_letters = found["QueueUrl"]
        return self._dead_letters


def site_of(message: QueueMessage, data_bucket: str) -> str | None:
    """The site that a message is about; None if the agent has no use for it.

    Raises:
        MessageError: it is not an ``Object Created`` event of S3.
    """
    try:
        detail = Envelope[ObjectCreated].model_validate_json(message.body).detail
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise MessageError(f"a message is no Object Created event of S3: {problems}") from error
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


def _batches(messages: Sequence[QueueMessage]) -> Iterator[Sequence[QueueMessage]]:
    for start in range(0, len(messages), _BATCH):
        yield messages[start : start + _BATCH]


def _check_all_done(failed: "Sequence[BatchResultErrorEntryTypeDef]") -> None:
    """SQS answers a batch with 200 although parts of it failed."""
    if failed:
        raise AwsUnavailableError(
            f"the queue refused {len(failed)} of a batch of messages: {failed[0]['Code']} "
            f"{failed[0].get('Message', '')}"
        )


def _message(found: "MessageTypeDef") -> QueueMessage:
    attributes = found.get("Attributes", {})
    sent = attributes.get("SentTimestamp")
    return QueueMessage(
        body=found["Body"],
        receipt=found["ReceiptHandle"],
        first_time=attributes.get("ApproximateReceiveCount") in {None, "1"},
        sent_at=datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else None,
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise AwsUnavailableError(f"the queue did not {what}: {error}") from error
