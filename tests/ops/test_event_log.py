"""What `rssi events` reads back: each thing that was said, once, in the order in which it was."""

import itertools
import json
from typing import Any

from ops.account.event_log import EventLog, LoggedEvent

RUN = "lab-0123456789ab"
SURVEY = {"key": "sites/lab/surveys/a.csv", "version_id": "v1"}


class Logs:
    """CloudWatch Logs with the given events, a second between them."""

    def __init__(self, *said: tuple[str, dict[str, Any]]) -> None:
        self.said = list(said)
        self._ids = itertools.count()

    def get_paginator(self, _: str) -> "Logs":
        return self

    def paginate(self, **_: object) -> list[dict[str, Any]]:
        lines = [
            {"timestamp": 1000 * second, "message": message(kind, detail, event_id=f"e{second}")}
            for second, (kind, detail) in enumerate(self.said)
        ]
        return [{"events": lines}]


def message(kind: str, detail: dict[str, Any], event_id: str) -> str:
    fields = {"id": event_id, "time": "2026-11-01T12:00:00Z", "detail-type": kind}
    return json.dumps({**fields, "detail": {"site": "lab", **detail}})


def read(*said: tuple[str, dict[str, Any]]) -> list[LoggedEvent]:
    return EventLog(Logs(*said), "log").read()


def failed(start: str | None) -> tuple[str, dict[str, Any]]:
    return ("TrainingFailed", {"run_id": RUN, "start": start})


def test_what_was_said_twice_is_there_once_as_it_was_said_first():
    quarantined = ("SurveyQuarantined", {"survey": SURVEY, "run_id": RUN})
    events = read(failed("one"), quarantined, failed("one"), quarantined)
    assert [event.id for event in events] == ["e0", "e1"]


def test_a_run_that_was_started_again_may_fail_again():
    assert len(read(failed("one"), failed("two"))) == 2


def test_the_start_and_the_end_of_a_run_are_two_things():
    started = ("TrainingStarted", {"run_id": RUN, "start": "one"})
    assert len(read(started, failed("one"))) == 2


def test_where_nothing_tells_repeats_all_is_shown():
    stalled = ("DeploymentStalled", {"deployment": 1})
    assert len(read(failed(None), failed(None), stalled, stalled)) == 4


def test_who_follows_hears_of_each_thing_once():
    log = EventLog(Logs(failed("one"), failed("one"), failed("two")), "log")
    heard = list(log.follow(timeout_s=0.05, every_s=0.01))
    assert [event.id for event in heard] == ["e0", "e2"]
