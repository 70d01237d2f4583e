"""Times the way from a dropped survey to a live endpoint, in phases.

Phases end at moments that events carry, not in the order in which events were logged: the agent
notices the end of a training by polling, so TrainingSucceeded often comes after ModelCreated.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.account.event_log import LoggedEvent
from ops.account.session import AwsSession, find_stack
from ops.account.stack_client import StackClient
from ops.demo.survey import generated_survey, survey_from_file
from ops.errors import OpsError
from ops.local_stack import STAGE, LocalStack

SITE = "bench"
DROPS = 6
"""The first finds everything cold and is quoted apart; the others give the median."""
PHASES = (
    "noticed, sealed, started",
    "trained, packaged, uploaded",
    "gate and model",
    "endpoint update requested",
    "endpoint moved, smoke test",
)


@dataclass(frozen=True, slots=True)
class TimedDrop:
    """Seconds from a drop to live: in all, and of each phase."""

    seconds: float
    phases: dict[str, float]


def bench_drops(console: Console, data: Path | None) -> None:
    """Drop surveys one after the other, and print the medians."""
    with LocalStack() as stack, console.status("dropping surveys"):
        cold, *warm = _measure_drops(stack, data)
    median = statistics.median(drop.seconds for drop in warm)
    table = Table("step", "median s", "share", title="From drop to live", box=None)
    for phase in PHASES:
        seconds = statistics.median(drop.phases[phase] for drop in warm)
        table.add_row(phase, f"{seconds:.2f}", f"{seconds / median:.0%}")
    table.add_row("all", f"{median:.2f}", "")
    console.print(table)
    spread = ", ".join(f"{drop.seconds:.2f}" for drop in warm)
    console.print(f"warm: {spread} s; the first, cold: {cold.seconds:.2f} s", style="dim")


def timed_drop(dropped: datetime, events: Sequence[LoggedEvent]) -> TimedDrop:
    """Divide the time until the deployment succeeded into phases.

    Args:
        dropped: when the upload began.
        events: of this drop, in any order.
    """
    by_kind = {event.detail_type: event for event in events}
    ends = [
        by_kind["TrainingStarted"].time,
        # The trainer's own time, in the manifest and from there in this event.
        datetime.fromisoformat(str(by_kind["ModelCreated"].detail["created_at"])),
        by_kind["ModelCreated"].time,
        by_kind["RolloutStarted"].time,
        by_kind["DeploymentSucceeded"].time,
    ]
    # A phase has ended when a later one has: an event that was logged late makes none negative.
    ended = [dropped, *(min(ends[number:]) for number in range(len(ends)))]
    seconds = [(after - before).total_seconds() for before, after in pairwise(ended)]
    return TimedDrop(sum(seconds), dict(zip(PHASES, seconds, strict=True)))


def _measure_drops(stack: LocalStack, data: Path | None) -> list[TimedDrop]:
    aws = AwsSession(stack.environment)
    stack_client = StackClient(aws, find_stack(aws, STAGE))
    survey = survey_from_file(data) if data else generated_survey()
    contents = (survey.first, survey.second)
    # The same rows under another name are another survey, hence another snapshot and run.
    return [_measure_drop(stack_client, f"{turn}.csv", contents[turn % 2]) for turn in range(DROPS)]


def _measure_drop(stack_client: StackClient, name: str, content: bytes) -> TimedDrop:
    dropped, seen = datetime.now(UTC), list[LoggedEvent]()
    survey = stack_client.drop_bytes(SITE, name, content)
    end = stack_client.follow_drop([survey], timeout_s=120, on_event=seen.append)
    if end.detail_type != "DeploymentSucceeded":
        raise OpsError(f"A drop ended with {end.detail_type}: {end.text('reason')}.")
    return timed_drop(dropped, seen)
