"""`rssi audit`: what training would make of surveys, before anything is uploaded.

Reads them as the training does, in the order given: the last is taken for the newest. What may go
wrong is what it is for; a survey that would be quarantined is told with its reason and makes the
command fail.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.errors import OpsError
from ops.experiments.train import as_sentences, site_of
from trainer.training.errors import BadSurvey
from trainer.training.quality.audit import Audit, audit
from trainer.training.quality.findings import Severity
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import join_masked

_LISTED = 20


def audit_here(
    console: Console, files: Sequence[Path], site_file: Path | None, *, as_json: bool
) -> None:
    """Look surveys over and say what was found.

    Raises:
        OpsError: one of them would be quarantined, or they contradict each other.
    """
    site = site_of(site_file)
    surveys, refused = _read(files, site)
    report = None
    with as_sentences():
        if surveys:
            surveys = mask_sentinel(surveys, site)
            data = join_masked(surveys, site)
            report = audit(data, surveys, site, find_near_duplicates(data))
    if as_json:
        told = {
            "quarantined": refused,
            "dropped_rows": {survey.name: [asdict(f) for f in survey.faults] for survey in surveys},
            "audit": asdict(report) if report else None,
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _print_files(console, surveys, refused)
        if report is not None:
            _print_report(console, report)
    if refused:
        raise OpsError(f"{len(refused)} of {len(files)} surveys would be set aside whole.")


def _read(files: Sequence[Path], site: SiteDescription) -> tuple[list[Survey], dict[str, str]]:
    surveys, refused = [], {}
    for file in files:
        with as_sentences():
            try:
                surveys.append(read_survey(file, site))
            except BadSurvey as error:
                refused[str(file)] = error.reason
    return surveys, refused


def _print_files(console: Console, surveys: Sequence[Survey], refused: dict[str, str]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("survey", "labelled", "unlabelled", "dropped", "beacons", "times", "delimiter"):
        table.add_column(column)
    for survey in surveys:
        table.add_row(
            survey.name,
            str(len(survey.labels)),
            str(survey.ignored_rows),
            str(len(survey.faults)),
            str(len(survey.beacons)),
            survey.file_format.time_format or "none understood",
            repr(survey.file_format.delimiter),
        )
    console.print(table)
    for survey in surveys:
        for fault in survey.faults[:_LISTED]:
            console.print(
                f"  dropped  {survey.name}: {fault.reason}", highlight=False, markup=False
            )
        if len(survey.faults) > _LISTED:
            console.print(f"  and {len(survey.faults) - _LISTED} more in {survey.name}")
    for file, reason in refused.items():
        console.print(f"set aside  {file}: {reason}", style="red", highlight=False, markup=False)


def _print_report(console: Console, report: Audit) -> None:
    smallest, median, largest = report.label_shares
    console.print(
        f"\n{report.rows} rows, {report.cells} locations (each {smallest:.2%} to {largest:.2%} of "
        f"the rows, median {median:.2%}), {report.visits} visits",
        highlight=False,
    )
    for finding in sorted(report.findings, key=lambda found: found.weight is Severity.NOTE):
        style = "yellow" if finding.weight is Severity.WARNING else "dim"
        console.print(f"\n{finding.topic}", style=f"bold {style}", end="  ")
        console.print(finding.seen, highlight=False, markup=False)
        console.print(f"  {finding.means} {finding.done}", style="dim", highlight=False)
