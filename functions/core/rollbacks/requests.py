"""A person's rollback, from the request in the ledger to its deployment.

It names what it leaves, so that a request that was made against another state than the present one
changes nothing: that of a second operator, or one that lay in a queue for a week.
"""

from datetime import datetime, timedelta

from functions.core.deployments import Change, RollbackRequest, SiteState
from functions.core.rollbacks.targets import Refusal

MAX_AGE = timedelta(hours=1)
"""Of a request that is on no ledger: whoever made it may have been served otherwise since."""
KEPT = timedelta(hours=6)
"""How long reconcile repeats a request in the ledger that no step takes up."""
TAKEN_UP_WITHIN = timedelta(minutes=10)
"""After this, another request may take the place of one that no step took up."""


def release_to_leave(state: SiteState) -> str | None:
    """What a rollback leaves: the release in the slot, else the one that is live."""
    if state.in_flight is not None:
        return state.in_flight.candidate.release
    return state.champion.release if state.champion else None


def why_outdated(state: SiteState, request: RollbackRequest, now: datetime) -> Refusal | None:
    """Why the request no longer fits the site; None if it does."""
    if state.rollback_request is not None and state.rollback_request.id == request.id:
        limit = KEPT
    else:
        limit = MAX_AGE
    age = now - request.requested_at
    if age > limit:
        hours = age.total_seconds() / 3600
        return Refusal(
            f"it was requested {hours:.1f} h ago; request it again if it is still wanted"
        )
    present = release_to_leave(state)
    if request.leaves is not None and request.leaves != present:
        return Refusal(
            f"it was to leave release {request.leaves}, but {present or 'no release'} has taken "
            f"its place at {state.site}; look at `rssi status --site {state.site}`"
        )
    return None


def why_not_first(state: SiteState, request: RollbackRequest, now: datetime) -> Refusal | None:
    """Another request that the site's next step takes up before this one, if there is one."""
    other = state.rollback_request
    if other is None or other.id == request.id or now - other.requested_at >= TAKEN_UP_WITHIN:
        return None
    return Refusal(
        f"{other.requested_by} requested a rollback to {other.to} at "
        f"{other.requested_at:%H:%M:%S} UTC, and it has not begun yet"
    )


def rollback_requested(state: SiteState, now: datetime, request: RollbackRequest) -> Change:
    """Keep the request until a step takes it up; one that is outdated changes nothing."""
    if why_outdated(state, request, now) or why_not_first(state, request, now):
        return Change(state)
    return Change(state.model_copy(update={"rollback_request": request}))


def request_closed(state: SiteState, _now: datetime, request_id: str) -> Change:
    """The request was taken up or refused."""
    kept = state.rollback_request
    if kept is None or kept.id != request_id:
        return Change(state)
    return Change(state.model_copy(update={"rollback_request": None}))
