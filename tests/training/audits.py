"""Audits surveys as the training pipeline does."""

from collections.abc import Sequence

from trainer.training.quality.audit import Audit, audit
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey
from trainer.training.reading.training_set import join_masked


def audited(
    surveys: Sequence[Survey], site: SiteDescription, known_to_champion: Sequence[bool] = ()
) -> Audit:
    """The audit of surveys as they were read."""
    masked = mask_sentinel(surveys, site)
    data = join_masked(masked, site)
    return audit(data, masked, site, find_near_duplicates(data), known_to_champion)
