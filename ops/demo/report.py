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
from ops.demo.stage import Stage
from ops.demo.summary import Summary
from trainer.training.evaluation.evaluate import CellError
from trainer.training.reports.floor_map import floor_map_svg

TEMPLATE = "report.html.j2"
_CELLS = TypeAdapter(list[CellError])


@dataclass(frozen=True)
class Moment:
    """One event on the timeline."""

    seconds: float
    share: float
    """Where on the timeline it lies, 0 to 1."""
    kind: str
    tone: str
    release: str
    remark: str


@dataclass(frozen=True)
class ReleaseView:
    """One release with its floor map."""

    release: Release
    floor: Markup


def write_report(path: Path, summary: Summary, stage: Stage) -> None:
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
        moments=list(_moments(summary)),
        releases=[ReleaseView(release, _floor(stage, release)) for release in stage.releases],
    )
    path.write_text(page, encoding="utf-8")


def _moments(summary: Summary) -> Iterator[Moment]:
    if not summary.events:
        return
    start, end = summary.events[0].time, summary.events[-1].time
    whole = max((end - start).total_seconds(), 1e-9)
    for event in summary.events:
        seconds = _since(start, event.time)
        yield Moment(
            seconds=seconds,
            share=seconds / whole,
            kind=event.detail_type,
            tone=EVENT_STYLES.get(event.detail_type, "plain"),
            release=event.release or "",
            remark=str(event.detail.get("reason") or ""),
        )


def _since(start: datetime, moment: datetime) -> float:
    return (moment - start).total_seconds()


def _floor(stage: Stage, release: Release) -> Markup:
    body = stage.stack_client.aws.s3.get_object(
        Bucket=stage.stack_client.stack.artifact_bucket, Key=release.metrics_file.key
    )["Body"]
    cells: Sequence[CellError] = _CELLS.validate_python(json.loads(body.read())["cells"])
    # The map escapes what it writes; it is made here, not taken from outside.
    return Markup(floor_map_svg(cells))  # noqa: S704
