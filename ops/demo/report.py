"""report.html: one page with the timeline, the releases' figures and their error over the floor."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import TypeAdapter

from events.manifests import Release
from ops.cli.show import EVENT_STYLES
from ops.demo.summary import Summary
from ops.demo.world import DemoWorld
from trainer.training.evaluation.evaluate import CellError
from trainer.training.reports.floor_map import floor_map_svg

TEMPLATE = "report.html.j2"
_CELLS = TypeAdapter(list[CellError])


@dataclass(frozen=True)
class TimelineEvent:
    """One event on the timeline."""

    seconds: float
    share: float
    """Where on the timeline it lies, 0 to 1."""
    kind: str
    tone: str
    release: str
    remark: str


@dataclass(frozen=True)
class ReleasePanel:
    """One release with its floor map."""

    release: Release
    floor: Markup


def write_report(path: Path, summary: Summary, world: DemoWorld) -> None:
    """Write the page; it needs nothing but itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        summary=summary,
        moments=list(_timeline(summary)),
        releases=[ReleasePanel(release, _floor(world, release)) for release in world.releases],
    )
    path.write_text(page, encoding="utf-8")


def _timeline(summary: Summary) -> Iterator[TimelineEvent]:
    if not summary.events:
        return
    start, end = summary.events[0].time, summary.events[-1].time
    whole = max((end - start).total_seconds(), 1e-9)
    for event in summary.events:
        seconds = _since(start, event.time)
        yield TimelineEvent(
            seconds=seconds,
            share=seconds / whole,
            kind=event.detail_type,
            tone=EVENT_STYLES.get(event.detail_type, "plain"),
            release=event.release or "",
            remark=str(event.detail.get("reason") or ""),
        )


def _since(start: datetime, moment: datetime) -> float:
    return (moment - start).total_seconds()


def _floor(world: DemoWorld, release: Release) -> Markup:
    body = world.stack_client.client("s3").get_object(
        Bucket=world.stack_client.stack.artifact_bucket, Key=release.metrics_file.key
    )["Body"]
    cells: Sequence[CellError] = _CELLS.validate_python(json.loads(body.read())["cells"])
    # The map escapes what it writes; it is made here, not taken from outside.
    return Markup(floor_map_svg(cells))  # noqa: S704
