"""Whether an endpoint serves what the ledger says: SageMaker is compared with it, not believed.

Whoever deletes or updates an endpoint by hand raises no event of ours.
"""

from collections.abc import Sequence
from datetime import datetime

from events.outbound import EndpointDrifted
from functions.core.deployments import Announcement, Change, EndpointDrift, SiteState
from functions.core.rollout import IN_PROGRESS, EndpointDescription


def drift_of(
    state: SiteState, endpoint: EndpointDescription | None, missing: Sequence[str] = ()
) -> str | None:
    """What is wrong with the endpoint; empty if nothing, None while that can't be said.

    Args:
        state: the site's state.
        endpoint: the endpoint as SageMaker describes it; None if there is none.
        missing: what else the champion needs and is not there, such as its model.
    """
    if state.in_flight is not None or state.champion is None:
        return None
    if endpoint is None:
        return "the endpoint is gone"
    if endpoint.status in IN_PROGRESS:
        return None
    if endpoint.status != "InService":
        because = f": {endpoint.failure_reason}" if endpoint.failure_reason else ""
        return f"the endpoint is {endpoint.status}{because}"
    if state.champion_config not in (None, endpoint.config_name):
        return (
            f"the endpoint is on configuration {endpoint.config_name} instead of "
            f"{state.champion_config}"
        )
    return "; ".join(f"{what} was deleted" for what in missing)


def drift_observed(
    state: SiteState, now: datetime, what: str | None, endpoint: str, correlation_id: str
) -> Change:
    """Keep what `drift_of` said of the endpoint, and announce what is new."""
    known = state.drift.what if state.drift else ""
    if what is None or what == known or state.champion is None or state.in_flight is not None:
        return Change(state)
    if not what:
        return Change(state.model_copy(update={"drift": None}))
    drift = EndpointDrift(what=what, since=state.drift.since if state.drift else now)
    event = EndpointDrifted(
        site=state.site,
        correlation_id=correlation_id,
        release=state.champion.release,
        endpoint=endpoint,
        what=what,
        since=drift.since,
    )
    outbox = (*state.outbox, Announcement.of(event, now))
    return Change(state.model_copy(update={"drift": drift, "outbox": outbox}))
