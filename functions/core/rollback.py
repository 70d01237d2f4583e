"""Which release a rollback goes to, or why there is none."""

from dataclasses import dataclass

from functions.core.deployments import SiteState
from functions.core.releases import GateVerdict, ReleaseRecord


@dataclass(frozen=True)
class Refusal:
    """Why a rollback that was asked for can't be done, and what would work."""

    reason: str


def requested_rollback_target(
    state: SiteState, wanted: str | None, record: ReleaseRecord | None
) -> str | Refusal:
    """The release to put back.

    Args:
        state: the site's state.
        wanted: the release that was asked for; None for the one that was live before.
        record: what the ledger knows of the wanted release.
    """
    if wanted is None:
        if state.previous_champion is not None:
            return state.previous_champion.release
        return Refusal(
            f"no other release was live at {state.site} before, so there is nothing to go back to"
        )
    if record is None:
        return Refusal(
            f"no release {wanted} ever arrived at {state.site}; `rssi releases --site {state.site}`"
            " lists those that did"
        )
    if record.verdict is GateVerdict.REJECTED:
        return Refusal(f"release {wanted} was rejected when it arrived: {record.reason}")
    is_settled = state.in_flight is None and state.waiting is None and state.frozen is None
    if is_settled and state.champion is not None and state.champion.release == wanted:
        return Refusal(f"release {wanted} is live at {state.site} already")
    return wanted
