"""Runs the acts on a local stack of its own, shows their progress, and writes the results."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.demo.acts import ACTS
from ops.demo.report import write_report
from ops.demo.summary import ActResult, DemoSummary, EventSummary, ReleaseSummary
from ops.demo.survey import generated_survey, survey_from_file
from ops.demo.world import SITE, DemoWorld
from ops.errors import ExpectationError
from ops.local_stack import LocalStack, end_on_signals

SUMMARY, REPORT = "summary.json", "report.html"


def run_demo(console: Console, data: Path | None, out: Path) -> DemoSummary:
    """Run all acts, or up to the first that fails.

    Raises:
        OpsError: the data can't be used, or the stack does not start.
    """
    end_on_signals()
    survey = survey_from_file(data) if data else generated_survey()
    out.mkdir(parents=True, exist_ok=True)
    console.print(f"Data: {survey.source}. Everything runs on this machine.", highlight=False)
    try:
        with LocalStack(report=lambda doing: console.print(f"  {doing}", style="dim")) as stack:
            world = DemoWorld(stack, survey, console)
            summary = _summarize(world, _run_all(world))
            (out / SUMMARY).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
            write_report(out / REPORT, summary, world)
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything that was started has been stopped", style="yellow")
        raise
    _show(console, summary, out)
    return summary


def _run_all(world: DemoWorld) -> list[ActResult]:
    results: list[ActResult] = []
    for number, (name, act) in enumerate(ACTS.items(), start=1):
        world.console.rule(f"[bold]{number}  {name}", align="left", style="dim")
        started = time.monotonic()
        try:
            evidence, problem = act(world), None
        except ExpectationError as error:
            evidence, problem = {}, str(error)
        seconds = round(time.monotonic() - started, 3)
        results.append(
            ActResult(
                name=name, ok=problem is None, seconds=seconds, evidence=evidence, problem=problem
            )
        )
        if problem is not None:
            world.console.print(Text(f"  {problem}", style="red"))
            break
    return results


def _summarize(world: DemoWorld, acts: list[ActResult]) -> DemoSummary:
    return DemoSummary(
        ok=len(acts) == len(ACTS) and all(act.ok for act in acts),
        data=world.survey.source,
        acts=tuple(acts),
        releases=tuple(
            ReleaseSummary(
                run_id=release.run_id,
                digest=release.digest,
                surveys=tuple(survey.key for survey in release.snapshot.surveys),
                metrics=release.metrics,
            )
            for release in world.releases
        ),
        events=tuple(
            EventSummary(
                time=event.time,
                detail_type=event.detail_type,
                site=event.site,
                release=event.release,
                detail=event.detail,
            )
            for event in world.stack_client.event_log.read(site=SITE)
        ),
        drop_to_live_s=tuple(round(seconds, 3) for seconds in world.drop_to_live_s),
    )


def _show(console: Console, summary: DemoSummary, out: Path) -> None:
    console.rule("[bold]Results", align="left", style="dim")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "act", "seconds", "live afterwards"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for act in summary.acts:
        mark = Text("ok", style="green") if act.ok else Text("failed", style="red")
        live = str(act.evidence.get("live") or act.evidence.get("release") or "")
        table.add_row(mark, act.name, f"{act.seconds:.1f}", live)
    console.print(table)
    for name in (SUMMARY, REPORT):
        console.print(f"{out / name}", highlight=False)
