"""Tables and lines for the terminal: sites, releases, events, traces."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from events.manifests import Release
from functions.core.candidates.decisions import next_step
from functions.core.deployments import Candidate, Deployment
from functions.core.releases import GateVerdict
from ops.account.read_models import ReleaseRow, SiteStatus, Trace
from ops.terminal import BAD, BUSY, DIM, GOOD


def status_table(statuses: Sequence[SiteStatus]) -> Table:
    """What is live at each site."""
    table = new_table("site", "live", "since", "endpoint", "in progress", "surveys", "quarantined")
    for status in statuses:
        table.add_row(
            status.site,
            _candidate(status.live),
            when(status.live_since),
            Text(
                status.endpoint_status,
                style=GOOD if status.endpoint_status == "InService" else BUSY,
            ),
            _in_progress(status),
            str(status.surveys),
            Text(str(len(status.quarantined)), style=BAD if status.quarantined else ""),
        )
    return table


def _in_progress(status: SiteStatus) -> Text:
    if status.frozen:
        return Text(f"frozen: {status.frozen}", style=BAD)
    if status.paused and status.in_flight is None:
        return Text("paused", style=BUSY)
    parts = [
        f"{deployment.number} {deployment.state.value}: {deployment.candidate.release}"
        + _trouble(deployment)
        for deployment in (status.in_flight, status.waiting)
        if deployment is not None
    ]
    if status.rollback_request is not None:
        request = status.rollback_request
        parts.append(f"rollback to {request.to} requested by {request.requested_by}, not begun")
    return Text("\n".join(parts) or "nothing", style=BUSY if parts else DIM)


def decision_lines(status: SiteStatus) -> Iterable[Text]:
    """What waits for a person: a pause, held releases; each with the next step."""
    if status.paused is not None:
        offered = status.waiting.candidate.release if status.waiting else None
        line = Text("paused ", style=BUSY)
        line.append(f"{status.site} by {status.paused.by} at {when(status.paused.at)}")
        line.append(f": {status.paused.reason}" if status.paused.reason else "")
        line.append(
            f"  nothing is deployed by itself; `rssi resume --site {status.site}` "
            f"{f'deploys {offered}' if offered else 'ends that'}",
            style=DIM,
        )
        yield line
    for record in status.held:
        is_asked = record.verdict is GateVerdict.AWAITS_APPROVAL
        line = Text("awaits approval " if is_asked else "held ", style=BUSY)
        line.append(f"{record.run_id}  {record.reason}")
        line.append(f"; {next_step(record)}", style=DIM)
        yield line


def _trouble(deployment: Deployment) -> str:
    """What the deployment's present step met, and since when."""
    if deployment.last_error is None:
        return ""
    failed = f" (attempt {deployment.attempts} failed)" if deployment.attempts else ""
    return f"\n  since {when(deployment.failing_since)}{failed}: {deployment.last_error}"


def drift_line(status: SiteStatus) -> Text:
    """How a site's endpoint differs from what should be live there."""
    line = Text("drifted ", style=BAD)
    line.append(f"{status.site}  {status.drift}")
    line.append(f"  `rssi rollback --site {status.site}` puts the live release back", style=DIM)
    return line


def quarantine_lines(status: SiteStatus) -> Iterable[Text]:
    """One line for each quarantined survey, with the reason."""
    for entry in status.quarantined:
        line = Text("quarantined ", style=BAD)
        line.append(entry.survey.key.rsplit("/", 1)[-1])
        line.append(f"  {entry.reason}", style=DIM)
        yield line


def misnamed_line(folder: str) -> Text:
    """A folder among the sites with a name that no site can have."""
    line = Text("not trained ", style=BAD)
    line.append(f"sites/{folder}/")
    line.append("  no site can have this name; move its surveys to a name such as library-1f", DIM)
    return line


def releases_table(rows: Sequence[ReleaseRow]) -> Table:
    """Every release of a site."""
    table = new_table(
        "release", "arrived", "surveys", "exact", "within a cell", "mean error", "deployments", ""
    )
    for row in rows:
        metrics = row.record.metrics
        table.add_row(
            row.record.run_id,
            when(row.record.arrived_at),
            str(row.record.surveys),
            percent(metrics.exact_accuracy if metrics else None),
            percent(metrics.within_one_cell if metrics else None),
            metres(metrics.mean_error_m if metrics else None),
            ", ".join(map(str, row.deployments)),
            _standing(row),
        )
    return table


def _standing(row: ReleaseRow) -> Text:
    """Whether it is live; else its verdict, by whom it was decided and why."""
    record = row.record
    if row.is_live:
        by = f", approved by {record.decision.by}" if record.decision else ""
        return Text(f"live{by}", style=GOOD)
    if record.decision is not None:
        words = "rejected" if record.verdict is GateVerdict.DECLINED else record.verdict.value
        return Text(f"{words} by {record.decision.by}: {record.decision.reason}", style=DIM)
    if record.verdict.is_undecided:
        return Text(f"{record.verdict.value}: {record.reason}", style=BUSY)
    return Text(record.reason or record.verdict.value, style=DIM)


def print_trace(console: Console, trace: Trace) -> None:
    """Print a survey with the releases trained on it, or a release with its surveys."""
    if trace.survey is not None:
        console.print(f"[bold]survey[/] {trace.survey.key}")
        console.print(f"  version {trace.survey.version_id}  correlation id {trace.survey.id}")
        if trace.quarantine is not None:
            console.print(f"  [{BAD}]quarantined[/]: {trace.quarantine.reason}", markup=True)
        elif not trace.releases:
            console.print("  no release was trained on it yet", style=DIM)
    for release in trace.releases:
        _print_release(console, release)
    for deployment in trace.deployments:
        console.print(_deployment_line(deployment))


def _print_release(console: Console, release: Release) -> None:
    console.print(f"[bold]release[/] {release.run_id}  digest {release.digest[:16]}…")
    console.print(
        f"  snapshot {release.snapshot.digest[:16]}…  trainer {release.trainer_version}"
        f"  image {release.image}  made {when(release.created_at)}",
        style=DIM,
    )
    console.print(
        f"  exact {percent(release.metrics.exact_accuracy)}, mean error "
        f"{metres(release.metrics.mean_error_m)} on {release.metrics.held_out_rows} held-out rows"
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


def progress_line(deployment: Deployment) -> str:
    """A deployment's state in one line."""
    return (
        f"deployment {deployment.number} {deployment.state.value}: {deployment.candidate.release}"
    )


def _deployment_line(deployment: Deployment) -> Text:
    line = Text(f"deployment {deployment.number} ")
    line.append(deployment.state.value, style=BUSY)
    line.append(f"  {deployment.candidate.release}  cause {deployment.cause.value}")
    line.append(
        f"  {when(deployment.changed_at)}  {deployment.reason}{_trouble(deployment)}", style=DIM
    )
    return line


def new_table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the style of the command line."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _candidate(candidate: Candidate | None) -> Text:
    return Text(candidate.release, style=GOOD) if candidate else Text("nothing", style=DIM)


def when(moment: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else ""


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "" if share is None else f"{share:.1%}"


def metres(length: float | None) -> str:
    """A length in metres."""
    return "" if length is None else f"{length:.2f} m"
