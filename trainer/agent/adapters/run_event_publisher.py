"""The bus: where the agent says what happened.

PutEvents answers 200 although it refused some or all of the events, so the answer is looked at.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from events.outbound import Event, Source
from trainer.agent.errors import BorderError

if TYPE_CHECKING:
    from botocore.client import BaseClient

_MOST_ENTRIES = 10
_MOST_BYTES = 256 * 1024
"""PutEvents' limits on one call, as its reference gives them."""
_ATTEMPTS = 4


class _Entry(NamedTuple):
    detail_type: str
    detail: str

    @property
    def size(self) -> int:
        return len(self.detail.encode()) + len(self.detail_type) + len(Source.AGENT)


class RunEventPublisher:
    """An EventBridge bus that the agent speaks on."""

    def __init__(self, client: "BaseClient", name: str) -> None:
        """Use ``client``, an EventBridge client of botocore, for the bus ``name``."""
        self._client = client
        self._name = name

    def publish(self, events: Sequence[Event]) -> None:
        """Put events on the bus; what was refused is tried again, so repeats are possible.

        Raises:
            BorderError: the bus did not take all of them.
        """
        entries = [_Entry(type(event).__name__, event.model_dump_json()) for event in events]
        for batch in _batches(entries):
            self._put_all(batch)

    def _put_all(self, entries: list[_Entry]) -> None:
        left = entries
        for attempt in Retrying(
            retry=retry_if_exception_type(BorderError),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                left, refusals = self._put(left)
                if left:
                    raise BorderError(
                        f"the bus {self._name} refused {len(left)} events: {'; '.join(refusals)}"
                    )

    def _put(self, entries: list[_Entry]) -> tuple[list[_Entry], list[str]]:
        try:
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self._name,
                        "Source": Source.AGENT.value,
                        "DetailType": entry.detail_type,
                        "Detail": entry.detail,
                    }
                    for entry in entries
                ]
            )
        except (ClientError, BotoCoreError) as error:
            raise BorderError(f"the bus {self._name} took no events: {error}") from error
        refused = [
            (entry, f"{result['ErrorCode']} {result.get('ErrorMessage', '')}".strip())
            for entry, result in zip(entries, answer["Entries"], strict=True)
            if "ErrorCode" in result
        ]
        return [entry for entry, _ in refused], [why for _, why in refused]


def _batches(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    batch: list[_Entry] = []
    for entry in entries:
        size = sum(other.size for other in batch) + entry.size
        if batch and (len(batch) == _MOST_ENTRIES or size > _MOST_BYTES):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch
