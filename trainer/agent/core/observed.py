"""A site as the agent observes it. Pure data."""

from typing import NamedTuple

from events.manifests import SurveyRef
from trainer.agent.core.reconcile import DueRun


class Listing(NamedTuple):
    """A site's content of the data bucket."""

    surveys: tuple[SurveyRef, ...]
    """The newest version of each, whatever the file name ends with."""
    description: str | None
    """SHA-256 (hex) of the site's ``site.json``; None if it has none."""


class ObservedState(NamedTuple):
    """A site in both buckets at one moment."""

    listing: Listing
    settled: bool = False
    """Whether the listing is still the one that left nothing to do; then the rest is not read."""
    wanted: DueRun | None = None
    """What should be trained; None without a usable survey."""
    released: bool = False
    """Whether the wanted run has a release."""
    misfits: tuple[SurveyRef, ...] = ()
    """Uploads that can't be surveys and are not in quarantine yet; none is in ``wanted``."""
