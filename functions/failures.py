"""A deployment's step, with a record of the error that it meets."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from functions.adapters.error_kinds import classify
from functions.core.deployments import Deployment, SiteState
from functions.core.errors import ContentionError
from functions.core.outcomes import StepOutcome
from functions.core.transitions import error_met

if TYPE_CHECKING:
    from functions.services import Services
    from functions.settings import LedgerSettings

_LONGEST = 500
"""Characters of an error's text; AWS quotes whole policies."""


def attempt(
    deployment: Deployment,
    step: Callable[[], StepOutcome],
    services: "Services[LedgerSettings]",
) -> StepOutcome:
    """Do a step; an error that it meets is written to the deployment.

    The error goes on, so that Lambda repeats the step, unless the deployment ended because of it.
    """
    try:
        return step()
    except ContentionError:
        raise
    except Exception as error:  # a defect must not keep the site's slot either
        if not _is_unchanged(services.ledger.state(deployment.site), deployment):
            raise  # the step was done, or overtaken; only what follows it failed
        text = (str(error) or type(error).__name__)[:_LONGEST]
        state = services.commit(
            deployment.site,
            partial(error_met, number=deployment.number, error=text, kind=classify(error)),
        )
        if _is_unchanged(state, deployment):
            raise
        return StepOutcome.GAVE_UP


def _is_unchanged(state: SiteState, deployment: Deployment) -> bool:
    now = state.in_flight
    return now is not None and (now.number, now.state) == (deployment.number, deployment.state)
