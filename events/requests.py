"""People's decisions about held releases and paused sites, as the events that request them."""

from events.base import Contract
from events.manifests import Text
from events.names import RunId, Site


class DecisionRequested(Contract):
    """What requests by people share; they require as little as possible."""

    site: Site
    """The site that it is about."""
    correlation_id: Text | None = None
    """None takes the event's own id."""
    requested_by: Text = "unknown"
    """Who asks, for the record."""
    reason: str = ""
    """Why, for the record."""


class ApprovalRequested(DecisionRequested):
    """A request to let a held release through."""

    release: RunId
    """The held release."""


class RejectionRequested(DecisionRequested):
    """A request that a held release never goes live."""

    release: RunId
    """The held release."""


class ResumeRequested(DecisionRequested):
    """A request to end the pause of a site."""
