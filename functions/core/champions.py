"""What ``champion.json`` should say, by what the ledger and the pointer itself say.

What may go wrong: a step that looked at the ledger long ago writes late. The version of the state
that a pointer was made from is in it, so that an older look never takes the place of a newer one.
"""

from events.manifests import Champion
from functions.core.deployments import SiteState


def due_pointer(state: SiteState, lying: Champion | None) -> Champion | None:
    """The pointer to write, or None if there is nothing to change.

    Args:
        state: a look at the ledger, however old.
        lying: what lies in the bucket; None if nothing does, or nothing that can be read.
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
    if lying is None:
        return due
    says_the_same = lying.model_copy(update={"ledger_version": state.version}) == due
    return None if says_the_same or lying.ledger_version >= state.version else due
