"""What a site has in both buckets, and so what should be trained of it; only looks.

May be used by several threads at once: a look waits for the network, most of its time. What may go
wrong is a store that gives no useful answer, and a look that asks more than it needs: in a round
over a thousand sites each request counts.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from events.manifests import SurveyRef
from trainer.agent.adapters.releases import Artifacts
from trainer.agent.adapters.surveys import Sight, Surveys
from trainer.agent.core.reconcile import Candidate, Recipe, candidate
from trainer.training.settings import SITE_SHA256


class View(NamedTuple):
    """A site as it was a moment ago."""

    seen: Sight
    settled: bool = False
    """Whether it was that before, and nothing was left to do; then nothing else was asked."""
    wanted: Candidate | None = None
    """What should be trained; None without a usable survey."""
    released: bool = False
    """Whether that has a release."""
    misfits: tuple[SurveyRef, ...] = ()
    """Uploads that can't be surveys and that nobody has set aside yet; none is in ``wanted``."""


@dataclass(frozen=True, slots=True)
class Lookout:
    """Looks at sites; every look may raise `aws.s3.StoreError`."""

    surveys: Surveys
    artifacts: Artifacts
    recipe: Recipe

    def look(self, site: str, settled: Sight | None) -> View:
        """Look at a site.

        A released snapshot of all its surveys is asked for first: with one, the quarantine need not
        be listed, for a survey that spoils a run never gets into a release.

        Args:
            site: its name.
            settled: what it had when there was nothing left to do about it; the same again is not
                looked into any further.
        """
        seen = self.surveys.look(site)
        if seen == settled:
            return View(seen, settled=True)
        fitting = tuple(survey for survey in seen.surveys if _may_be_one(survey))
        recipe = self._recipe_of(seen)
        all_of_it = candidate(site, fitting, (), recipe)
        released = all_of_it is not None and self.artifacts.is_released(all_of_it.run.id)
        if released and len(fitting) == len(seen.surveys):
            return View(seen, wanted=all_of_it, released=True)
        aside = self.artifacts.quarantined(site)
        wanted = all_of_it
        if any(survey.id in aside for survey in fitting):
            wanted = candidate(site, fitting, aside, recipe)
            released = wanted is not None and self.artifacts.is_released(wanted.run.id)
        misfits = tuple(
            survey for survey in seen.surveys if not _may_be_one(survey) and survey.id not in aside
        )
        return View(seen, wanted=wanted, released=released, misfits=misfits)

    def _recipe_of(self, seen: Sight) -> Recipe:
        """The recipe with the site's description pinned, if there is one."""
        if seen.description is None:
            return self.recipe
        pinned = {**self.recipe.hyperparameters, SITE_SHA256: seen.description}
        return replace(self.recipe, hyperparameters=pinned)


def _may_be_one(survey: SurveyRef) -> bool:
    return survey.key.lower().endswith(".csv")
