"""Observes a site: its content of both buckets, and so what should be trained.

May be used by several threads at once: an observation mostly waits for the network. It makes as few
requests as it can, since a resync over a thousand sites makes them a thousand times.
"""

from dataclasses import dataclass, replace

from events import names
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.core.observed import Listing, ObservedState
from trainer.agent.core.reconcile import Recipe, due_run


@dataclass(frozen=True, slots=True)
class Observer:
    """Observes sites; may raise `aws.s3.StoreError`."""

    surveys: SurveyStore
    artifacts: ArtifactStore
    recipe: Recipe

    def observe(self, site: str, settled: Listing | None) -> ObservedState:
        """Observe a site.

        A released snapshot of all its surveys is looked for first: with one, the quarantine need
        not be listed, because a quarantined survey never gets into a release.

        Args:
            site: its name.
            settled: the listing that left nothing to do; if it is unchanged, nothing else is read.
        """
        listing = self.surveys.listing(site)
        if listing == settled:
            return ObservedState(listing, settled=True)
        surveys = tuple(survey for survey in listing.surveys if names.has_survey_suffix(survey.key))
        recipe = self._recipe_of(listing)
        wanted = due_run(site, surveys, (), recipe)
        released = wanted is not None and self.artifacts.is_released(wanted.run.id)
        if released and len(surveys) == len(listing.surveys):
            return ObservedState(listing, wanted=wanted, released=True)
        quarantined = self.artifacts.quarantined(site)
        if any(survey.id in quarantined for survey in surveys):
            wanted = due_run(site, surveys, quarantined, recipe)
            released = wanted is not None and self.artifacts.is_released(wanted.run.id)
        misfits = tuple(
            survey
            for survey in listing.surveys
            if not names.has_survey_suffix(survey.key) and survey.id not in quarantined
        )
        return ObservedState(listing, wanted=wanted, released=released, misfits=misfits)

    def _recipe_of(self, listing: Listing) -> Recipe:
        """The recipe with the site's description pinned, if there is one."""
        return replace(self.recipe, site_sha256=listing.description)
