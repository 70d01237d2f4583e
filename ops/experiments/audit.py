"""Reports what training would make of surveys, before anything is uploaded.

Reads them as the training does, in the order given; the last is taken for the newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.experiments.inputs import read_site, trainer_errors
from trainer.training.errors import BadSurvey
from trainer.training.quality.audit import Audit, audit
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import join_masked


@dataclass(frozen=True, slots=True)
class SurveyAudit:
    """The audit of some files."""

    surveys: Sequence[Survey]
    """Those that can be used."""
    refused: dict[str, str]
    """Files that would be quarantined, with the reasons."""
    audit: Audit | None
    """None if no survey can be used."""


def audit_files(files: Sequence[Path], site_file: Path | None) -> SurveyAudit:
    """Audit surveys.

    Raises:
        OpsError: they contradict each other, or a file can't be read.
    """
    site = read_site(site_file)
    surveys, refused = _read(files, site)
    if not surveys:
        return SurveyAudit(surveys, refused, None)
    with trainer_errors():
        masked = mask_sentinel(surveys, site)
        data = join_masked(masked, site)
        found = audit(data, masked, site, find_near_duplicates(data))
    return SurveyAudit(masked, refused, found)


def _read(files: Sequence[Path], site: SiteDescription) -> tuple[list[Survey], dict[str, str]]:
    surveys, refused = [], {}
    for file in files:
        with trainer_errors():
            try:
                surveys.append(read_survey(file, site))
            except BadSurvey as error:
                refused[str(file)] = error.reason
    return surveys, refused
