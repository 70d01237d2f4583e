"""`rssi events`: each event once, in the order in which they were logged."""

import itertools
import json
from typing import Any

from ops.account.event_log import EventLog, LoggedEvent

RUN = "lab-0123456789ab"
SURVEY = {"key": "sites/lab/surveys/a.csv", "version_id": "v1"}


class Logs:
    """CloudWatch Logs with the given events, a second between them."""

    def __init__(self, *logged: tuple[str, dict[str, Any]]) -> None:
        self.logged = list(logged)
        self._ids = itertools.count()

    def get_paginator(self, _: str) -> "Logs":
        return self

    def paginate(self, **_: object) -> list[dict[str, Any]]:
        lines = [
            {"timestamp": 1000 * second, "message": message(kind, detail, event_id=f"e{second}")}
            for second, (kind, detail) in enumerate(self.logged)
        ]
        return [{"events": lines}]


def message(kind: str, detail: dict[str, Any], event_id: str) -> str:
    fields = {"id": event_id, "time": "2026-11-01T12:00:00Z", "detail-type": kind}
    return json.dumps({**fields, "detail": {"site": "lab", **detail}})


def read(*logged: tuple[str, dict[str, Any]]) -> list[LoggedEvent]:
    return EventLog(Logs(*logged), "log").read()


def failed(start: str | None) -> tuple[str, dict[str, Any]]:
    return ("TrainingFailed", {"run_id": RUN, "start": start})


def test_repeats_are_left_out():
    quarantined = ("SurveyQuarantined", {"survey": SURVEY, "run_id": RUN})
    events = read(failed("one"), quarantined, failed("one"), quarantined)
    assert [event.id for event in events] == ["e0", "e1"]


def test_a_run_that_was_started_again_may_fail_again():
    assert len(read(failed("one"), failed("two"))) == 2


def test_the_start_and_the_end_of_a_run_are_two_things():
    started = ("TrainingStarted", {"run_id": RUN, "start": "one"})
    assert len(read(started, failed("one"))) == 2


def test_where_repeats_can_not_be_recognised_all_are_shown():
    stalled = ("DeploymentStalled", {"deployment": 1})
    assert len(read(failed(None), failed(None), stalled, stalled)) == 4


def test_following_yields_each_event_once():
    log = EventLog(Logs(failed("one"), failed("one"), failed("two")), "log")
    seen = list(log.follow(timeout_s=0.05, every_s=0.01))
    assert [event.id for event in seen] == ["e0", "e2"]
