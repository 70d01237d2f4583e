"""The benchmark's phases of a drop, whatever the order in which events were logged."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.account.event_log import LoggedEvent
from ops.dev.bench_drops import PHASES, timed_drop

DROPPED = datetime(2026, 11, 1, 12, tzinfo=UTC)
MODEL = "ModelCreated"


def event(kind: str, after_s: float, **detail: str) -> LoggedEvent:
    fields = {"id": kind, "time": DROPPED + timedelta(seconds=after_s), "detail-type": kind}
    return LoggedEvent.model_validate({**fields, "detail": detail})


def events(*, training_reported_s: float, created_s: float = 5.0) -> list[LoggedEvent]:
    created = (DROPPED + timedelta(seconds=created_s)).isoformat().replace("+00:00", "Z")
    kinds = [
        event("TrainingStarted", 1.0),
        event("TrainingSucceeded", training_reported_s),
        event(MODEL, 5.5, created_at=created),
        event("RolloutStarted", 6.0),
        event("DeploymentSucceeded", 8.0),
    ]
    return sorted(kinds, key=lambda each: each.time)


@pytest.mark.parametrize("training_reported_s", [5.2, 5.7, 6.5])
def test_training_is_no_part_of_the_gate_even_if_its_end_is_reported_last(
    training_reported_s: float,
) -> None:
    drop = timed_drop(DROPPED, events(training_reported_s=training_reported_s))

    assert drop.seconds == pytest.approx(8.0)
    assert [drop.phases[phase] for phase in PHASES] == pytest.approx([1.0, 4.0, 0.5, 0.5, 2.0])


def test_the_order_of_events_changes_nothing() -> None:
    logged = events(training_reported_s=5.7)

    assert timed_drop(DROPPED, logged) == timed_drop(DROPPED, logged[::-1])


def test_no_phase_is_negative_when_an_event_is_logged_late() -> None:
    late = [event("TrainingStarted", 5.8), *events(training_reported_s=6.5)[1:]]

    drop = timed_drop(DROPPED, late)

    assert min(drop.phases.values()) >= 0
    assert sum(drop.phases.values()) == pytest.approx(8.0)
