"""What people see: tables and lines for the terminal. No decision is made here."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from events.manifests import Release, SmokeAnswer
from functions.core.deployments import Candidate, Deployment
from ops.account.event_log import LoggedEvent
from ops.account.prediction_client import PredictedLocation, Prediction
from ops.account.stack_client import ReleaseRow, SiteStatus, Trace

if TYPE_CHECKING:
    from events.metrics import Metrics
    from trainer.training.evaluation.evaluate import Evaluation

GOOD, BAD, BUSY, DIM = "green", "red", "yellow", "dim"
EVENT_STYLES: Mapping[str, str] = {
    "DeploymentSucceeded": GOOD,
    "TrainingSucceeded": GOOD,
    "RolledBack": BUSY,
    "RollbackRequested": BUSY,
    "DeploymentSuperseded": DIM,
    "SurveyQuarantined": BAD,
    "TrainingFailed": BAD,
    "ReleaseRejected": BAD,
    "SmokeTestFailed": BAD,
    "DeploymentFailed": BAD,
    "RollbackRefused": BAD,
}


def event_line(event: LoggedEvent) -> Text:
    """One line on one event: when, what, which release, why."""
    line = Text(f"{event.time.astimezone(UTC):%H:%M:%S} ", style=DIM)
    line.append(f"{event.detail_type:<20} ", style=EVENT_STYLES.get(event.detail_type, ""))
    line.append(event.release or event.site or "")
    for remark in _remarks(event):
        line.append(f"  {remark}", style=DIM)
    return line


def _remarks(event: LoggedEvent) -> Iterable[str]:
    survey = event.detail.get("survey")
    if isinstance(survey, dict):
        yield str(survey["key"]).rsplit("/", 1)[-1]
    if number := event.text("deployment"):
        yield f"deployment {number}"
    if reason := event.text("reason"):
        yield reason


def status_table(statuses: Sequence[SiteStatus]) -> Table:
    """What is live at each site."""
    table = _table("site", "live", "since", "endpoint", "going on", "surveys", "quarantined")
    for status in statuses:
        table.add_row(
            status.site,
            _candidate(status.live),
            _when(status.live_since),
            Text(
                status.endpoint_status,
                style=GOOD if status.endpoint_status == "InService" else BUSY,
            ),
            _going_on(status),
            str(status.surveys),
            Text(str(len(status.quarantined)), style=BAD if status.quarantined else ""),
        )
    return table


def _going_on(status: SiteStatus) -> Text:
    if status.frozen:
        return Text(f"frozen: {status.frozen}", style=BAD)
    parts = [
        f"{deployment.number} {deployment.state.value}: {deployment.candidate.release}"
        for deployment in (status.in_flight, status.waiting)
        if deployment is not None
    ]
    return Text("\n".join(parts) or "nothing", style=BUSY if parts else DIM)


def quarantine_lines(status: SiteStatus) -> Iterable[Text]:
    """Which surveys are not used, and why."""
    for entry in status.quarantined:
        line = Text("quarantined ", style=BAD)
        line.append(entry.survey.key.rsplit("/", 1)[-1])
        line.append(f"  {entry.reason}", style=DIM)
        yield line


def misnamed_line(folder: str) -> Text:
    """A folder that looks like a site's and can't be one."""
    line = Text("not trained ", style=BAD)
    line.append(f"sites/{folder}/")
    line.append("  no site can be called so; move its surveys to a name such as library-1f", DIM)
    return line


def releases_table(rows: Sequence[ReleaseRow]) -> Table:
    """Every release of a site."""
    table = _table(
        "release", "arrived", "surveys", "exact", "within a cell", "mean error", "deployments", ""
    )
    for row in rows:
        metrics = row.record.metrics
        table.add_row(
            row.record.run_id,
            _when(row.record.arrived_at),
            str(row.record.surveys),
            _percent(metrics.exact_accuracy if metrics else None),
            _percent(metrics.within_one_cell if metrics else None),
            _metres(metrics.mean_error_m if metrics else None),
            ", ".join(map(str, row.deployments)),
            Text("live", style=GOOD)
            if row.is_live
            else Text(row.record.reason or row.record.verdict.value, style=DIM),
        )
    return table


def quality_table(figures: "Metrics | Evaluation", rows: int, title: str) -> Table:
    """How well a model does on so many rows."""
    table = _table("exact", "within a cell", "mean error", "median", "p90", "rows", title=title)
    table.add_row(
        _percent(figures.exact_accuracy),
        _percent(figures.within_one_cell),
        _metres(figures.mean_error_m),
        _metres(figures.median_error_m),
        _metres(figures.p90_error_m),
        str(rows),
    )
    return table


def prediction_table(prediction: Prediction) -> Table:
    """Where the endpoint thinks each fingerprint was taken."""
    table = _table(
        "row", "location", "x", "y", "confidence", "radius", title=f"by {prediction.release}"
    )
    for number, answer in enumerate(prediction.predictions):
        table.add_row(
            str(number),
            answer.location,
            _metres(answer.x),
            _metres(answer.y),
            _percent(answer.confidence),
            _metres(answer.radius_m),
        )
    return table


def where(answer: SmokeAnswer | PredictedLocation) -> str:
    """One prediction in words."""
    at = "" if answer.x is None or answer.y is None else f" ({answer.x:.1f} m, {answer.y:.1f} m)"
    return f"{answer.location}{at}, confidence {answer.confidence:.0%}"


def print_trace(console: Console, trace: Trace) -> None:
    """From a survey to all that came of it, or from a release back to its surveys."""
    if trace.survey is not None:
        console.print(f"[bold]survey[/] {trace.survey.key}")
        console.print(f"  version {trace.survey.version_id}  correlation id {trace.survey.id}")
        if trace.quarantine is not None:
            console.print(f"  [{BAD}]quarantined[/]: {trace.quarantine.reason}", markup=True)
        elif not trace.releases:
            console.print("  no release learned from it yet", style=DIM)
    for release in trace.releases:
        _print_release(console, release)
    for deployment in trace.deployments:
        console.print(_deployment_line(deployment))


def _print_release(console: Console, release: Release) -> None:
    console.print(f"[bold]release[/] {release.run_id}  digest {release.digest[:16]}…")
    console.print(
        f"  snapshot {release.snapshot.digest[:16]}…  trainer {release.trainer_version}"
        f"  image {release.image}  made {_when(release.created_at)}",
        style=DIM,
    )
    console.print(
        f"  exact {_percent(release.metrics.exact_accuracy)}, mean error "
        f"{_metres(release.metrics.mean_error_m)} on {release.metrics.held_out_rows} held-out rows"
    )
    against = release.metrics.against_champion
    if against is not None and against.mean_error_difference_m is not None:
        console.print(
            f"  mean error {against.mean_error_difference_m:+.2f} m against {against.release}, "
            f"which was live, on {against.rows} rows"
        )
    if release.log is not None:
        console.print(f"  training log {release.log.key}", style=DIM, soft_wrap=True)
    for survey in release.snapshot.surveys:
        console.print(f"  learned from {survey.key}  version {survey.version_id}")


def _deployment_line(deployment: Deployment) -> Text:
    line = Text(f"deployment {deployment.number} ")
    line.append(deployment.state.value, style=BUSY)
    line.append(f"  {deployment.candidate.release}  cause {deployment.cause.value}")
    line.append(f"  {_when(deployment.changed_at)}  {deployment.reason}", style=DIM)
    return line


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _candidate(candidate: Candidate | None) -> Text:
    return Text(candidate.release, style=GOOD) if candidate else Text("nothing", style=DIM)


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _metres(length: float | None) -> str:
    return "" if length is None else f"{length:.2f} m"
