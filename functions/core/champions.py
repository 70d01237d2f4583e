"""What ``champion.json`` should contain, given the ledger and the stored pointer.

A step may write late from an old state of the ledger. The pointer holds the version of the state
that it was made from, so that an older state never replaces a newer one.
"""

from events.manifests import Champion
from functions.core.deployments import SiteState


def due_pointer(state: SiteState, stored: Champion | None) -> Champion | None:
    """The pointer to write, or None if there is nothing to change.

    Args:
        state: the site's state in the ledger, possibly an old one.
        stored: the pointer in the bucket; None if there is none, or none that can be read.
    """
    if state.champion is None:
        return None
    due = Champion(
        site=state.site,
        release=state.champion.release,
        digest=state.champion.digest,
        since=state.champion_since,
        ledger_version=state.version,
    )
    if stored is None:
        return due
    is_same = stored.model_copy(update={"ledger_version": state.version}) == due
    return None if is_same or stored.ledger_version >= state.version else due
