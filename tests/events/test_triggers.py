"""Triggers: typed in code, and on the wire the strings that ledgers already hold."""

import pytest

from events.outbound import ModelCreated
from events.triggers import Trigger, TriggerKind


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        (Trigger.artifact("v1"), "artifact:v1"),
        (Trigger.artifact("a:b"), "artifact:a:b"),
        (Trigger.automatic_rollback(7), "return-from:7"),
        (Trigger.rollback_request("3f2a"), "request:3f2a"),
        (Trigger(TriggerKind.OTHER, "by hand"), "by hand"),
        (Trigger(TriggerKind.OTHER, ":x"), ":x"),
        (Trigger(TriggerKind.OTHER, "unknown:x"), "unknown:x"),
    ],
)
def test_a_trigger_survives_the_wire(trigger, text):
    assert str(trigger) == text
    assert Trigger.parse(text) == trigger


def test_an_event_carries_the_string():
    schema = ModelCreated.model_json_schema(mode="serialization")["properties"]["trigger"]

    assert schema["type"] == "string"
    assert schema["minLength"] == 1
