"""report.html: one page with the timeline, the releases' figures and their error over the floor."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from events.manifests import Release
from events.metrics_document import MetricsDocument
from ops.demo.summary import DemoSummary
from ops.demo.world import DemoWorld
from ops.terminal import EVENT_STYLES
from trainer.training.reports.floor_map import floor_map_svg
from trainer.training.reports.pages import page_templates

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class TimelineEvent:
    """One event on the timeline."""

    seconds: float
    share: float
    """Where it is on the timeline, 0 to 1."""
    kind: str
    tone: str
    release: str
    remark: str


@dataclass(frozen=True)
class ReleasePanel:
    """One release with its floor map."""

    release: Release
    floor: Markup


def write_report(path: Path, summary: DemoSummary, world: DemoWorld) -> None:
    """Write the page; it loads nothing."""
    page = (
        page_templates("ops.demo")
        .get_template(TEMPLATE)
        .render(
            summary=summary,
            timeline=list(_timeline(summary)),
            releases=[ReleasePanel(release, _floor(world, release)) for release in world.releases],
        )
    )
    path.write_text(page, encoding="utf-8")


def _timeline(summary: DemoSummary) -> Iterator[TimelineEvent]:
    if not summary.events:
        return
    start, end = summary.events[0].time, summary.events[-1].time
    whole = max((end - start).total_seconds(), 1e-9)
    for event in summary.events:
        seconds = (event.time - start).total_seconds()
        yield TimelineEvent(
            seconds=seconds,
            share=seconds / whole,
            kind=event.detail_type,
            tone=EVENT_STYLES.get(event.detail_type, "plain"),
            release=event.release or "",
            remark=str(event.detail.get("reason") or ""),
        )


def _floor(world: DemoWorld, release: Release) -> Markup:
    stack = world.stack_client
    body = stack.aws.s3.get_object(
        Bucket=stack.stack.artifact_bucket, Key=release.metrics_file.key
    )["Body"]
    return floor_map_svg(MetricsDocument.model_validate_json(body.read()).cells)
