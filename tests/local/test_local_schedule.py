"""When scheduled rules fire, and that they do."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops.local.errors import ServiceError
from ops.local.events.schedule import ScheduleExpression
from tests.local.local_helpers import eventually

NOW = datetime(2026, 11, 22, 10, 30, 15, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("rate(5 minutes)", 300),
        ("rate(1 hour)", 3600),
        ("rate(1 day)", 86400),
        ("cron(31 10 * * ? *)", 45),
        ("cron(0/15 * * * ? *)", 14 * 60 + 45),
        ("cron(30 2 * * ? *)", 16 * 3600 - 15),
        ("cron(0 12 ? * 2-6 *)", 86400 + 90 * 60 - 15),
        ("cron(0 0 1 1 ? 2027)", 40 * 86400 - (10 * 3600 + 30 * 60 + 15)),
    ],
)
def test_the_next_time_follows_from_the_expression(expression: str, seconds: int) -> None:
    assert ScheduleExpression(expression).seconds_until_next(NOW) == seconds


@pytest.mark.parametrize(
    "expression",
    ["rate(0 minutes)", "rate(5 weeks)", "cron(* * * *)", "cron(61 * * * ? *)", "at(2026)"],
)
def test_an_expression_that_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(ServiceError, match="ScheduleExpression is not valid"):
        ScheduleExpression(expression)


def test_a_scheduled_rule_fires_again_and_again_until_it_is_deleted(
    client: Callable[[str], Any], name: str
) -> None:
    events, logs = client("events"), client("logs")
    logs.create_log_group(logGroupName=f"/{name}")
    events.put_rule(Name=name, ScheduleExpression="rate(1 minute)")
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:/{name}"
    events.put_targets(Rule=name, Targets=[{"Id": "log", "Arn": arn}])

    def fired() -> list[Any] | None:
        found = logs.filter_log_events(logGroupName=f"/{name}")["events"]
        return found if len(found) >= 2 else None

    event = json.loads(eventually(fired)[0]["message"])
    assert event["detail-type"] == "Scheduled Event"
    assert event["resources"] == [f"arn:aws:events:us-east-1:123456789012:rule/{name}"]
    events.remove_targets(Rule=name, Ids=["log"])
    events.delete_rule(Name=name)


def test_only_the_default_bus_takes_schedules(client: Callable[[str], Any], name: str) -> None:
    client("events").create_event_bus(Name=name)
    with pytest.raises(ClientError, match="only on the default bus"):
        client("events").put_rule(Name="r", EventBusName=name, ScheduleExpression="rate(1 minute)")
