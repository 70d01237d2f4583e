"""Commands on surveys: drop, audit, replay."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import AsJson, SiteFile, SiteName, Timeout, Wait
from ops.cli.output import err, out, print_json
from ops.cli.stack import open_stack
from ops.errors import OpsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from events.manifests import SurveyRef
    from ops.account.stack_client import StackClient

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "Surveys"
GOOD_ENDS = frozenset({"DeploymentSucceeded", "RolledBack"})


@app.command(rich_help_panel=PANEL)
def drop(
    site: SiteName,
    files: Annotated[list[Path], typer.Argument(help="CSV files of labelled fingerprints.")],
    wait: Wait = False,
    timeout: Timeout = 900,
    as_json: AsJson = False,
) -> None:
    """Drop surveys into the data bucket; that alone starts a training and a rollout.

    A CSV has a column `location` or columns `x,y` (metres), one column per beacon (dBm; -200 or
    blank where it was not heard), and optionally a time stamp.
    """
    stack = open_stack(site)
    _report(stack, stack.drop(site, files), wait=wait, timeout=timeout, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def replay(
    site: SiteName,
    survey: Annotated[str, typer.Argument(help="A quarantined survey: key, file name or id.")],
    mended: Annotated[
        Path | None, typer.Option("--with", help="The corrected file; else the same file again.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 900,
    as_json: AsJson = False,
) -> None:
    """Upload a quarantined survey again, corrected or as it is."""
    from ops.account.replay import replay as upload_again

    stack = open_stack(site)
    again = upload_again(stack, site, survey, mended)
    _report(stack, [again], wait=wait, timeout=timeout, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def withdraw(
    site: SiteName,
    survey: Annotated[str, typer.Argument(help="A survey: key, file name, version or id.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever wonders later.")],
    as_json: AsJson = False,
) -> None:
    """Take a survey out, so that no later release learns from it; `rssi replay` brings it back."""
    from ops.account.withdraw import withdraw as take_out

    record = take_out(open_stack(site), site, survey, reason)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    out.print(f"{record.survey.key} is withdrawn: {record.reason}.")
    out.print("The agent's next look, after minutes at most, trains without it if it was used.")


@app.command(rich_help_panel=PANEL)
def audit(
    files: Annotated[list[Path], typer.Argument(help="Surveys, the newest one last.")],
    site_file: SiteFile = None,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Draft a site.json instead: `--suggest > site.json`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Report what training would make of surveys: bad rows, copies, beacons, drift."""
    if suggest:
        _suggest(files, site_file)
        return
    from ops.cli.show_model import print_survey_audit
    from ops.experiments.audit import audit_files

    found = audit_files(files, site_file)
    if as_json:
        dropped = {survey.name: [asdict(f) for f in survey.faults] for survey in found.surveys}
        print_json(
            {
                "quarantined": found.refused,
                "dropped_rows": dropped,
                "audit": asdict(found.audit) if found.audit else None,
            }
        )
    else:
        print_survey_audit(out, found)
    if found.refused:
        raise OpsError(f"{len(found.refused)} of {len(files)} surveys would be quarantined.")


def _suggest(files: "Sequence[Path]", site_file: Path | None) -> None:
    """Print the draft on standard output, and why on standard error."""
    from ops.experiments.site_draft import draft_site

    draft = draft_site(files, site_file)
    for reason in draft.reasons or ["The surveys are taken as they are; site.json may stay empty."]:
        err.print(reason, markup=False, highlight=False, soft_wrap=True)
    print_json(draft.document)


def _report(
    stack: "StackClient",
    surveys: "Sequence[SurveyRef]",
    *,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Print what was uploaded and, if wanted, wait for what comes of it."""
    from ops.terminal import event_line

    end = None
    if not as_json:
        for survey in surveys:
            out.print(f"dropped {survey.key}  correlation id {survey.id}", highlight=False)
    if wait:
        end = stack.follow_drop(
            surveys, timeout, lambda event: None if as_json else out.print(event_line(event))
        )
    if as_json:
        rows = [{"id": survey.id, **survey.model_dump(mode="json")} for survey in surveys]
        print_json({"surveys": rows, "end": end.model_dump(mode="json") if end else None})
    if end is not None and end.detail_type not in GOOD_ENDS:
        raise OpsError(f"It ended with {end.detail_type}: {end.text('reason') or end.release}.")
