"""Messages stay hidden until what they asked for is durable; a failing queue costs repeats only."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from tests.agent.agent_world import START
from trainer.agent.adapters.survey_queue import QueueMessage
from trainer.agent.errors import AwsUnavailableError
from trainer.agent.held_messages import HeldMessages
from trainer.agent.metrics import AgentMetrics

MESSAGE = QueueMessage("", "r", first_time=True)
MINUTE = timedelta(minutes=1)


class RecordingQueue:
    """Remembers its calls; ``down`` makes them fail."""

    def __init__(self, *, down: bool = False) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.down = down

    def delete(self, *messages: QueueMessage) -> None:
        self._call("delete", *messages)

    def keep_hidden(self, messages: Sequence[QueueMessage], seconds: int) -> None:
        self._call("hide", seconds, *messages)

    def _call(self, *call: object) -> None:
        self.calls.append(call)
        if self.down:
            raise AwsUnavailableError("the queue is down")


def holding(queue: RecordingQueue | None) -> HeldMessages:
    messages = HeldMessages(queue, AgentMetrics(), structlog.get_logger())
    messages.add("lab", MESSAGE)
    messages.hold("lab", START)
    return messages


def test_a_held_message_is_hidden_at_once_and_again_in_time():
    queue = RecordingQueue()
    messages = holding(queue)

    messages.keep_hidden(START)
    messages.keep_hidden(START + 9 * MINUTE)
    assert queue.calls == [("hide", 900, MESSAGE)]
    assert [*messages.due()] == [START + 10 * MINUTE]

    messages.keep_hidden(START + 10 * MINUTE)
    assert queue.calls == [("hide", 900, MESSAGE)] * 2


def test_without_messages_the_queue_is_left_alone():
    queue = RecordingQueue()
    messages = HeldMessages(queue, AgentMetrics(), structlog.get_logger())

    messages.hold("lab", START)
    messages.keep_hidden(START)
    messages.delete("lab")

    assert queue.calls == []


def test_without_a_queue_nothing_happens():
    messages = holding(None)

    messages.keep_hidden(START)
    messages.delete("lab")

    assert [*messages.due()] == []


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda messages: messages.keep_hidden(START), "messages may come twice"),
        (lambda messages: messages.delete("lab"), "messages will come again"),
    ],
)
def test_a_queue_that_fails_is_counted_and_logged_and_stops_nothing(act, line):
    with capture_logs() as logs:
        messages = holding(RecordingQueue(down=True))
        act(messages)

    assert [entry["event"] for entry in logs] == [line]
    assert 'rssi_border_errors_total{border="queue"} 1.0' in messages.metrics.text().decode()
