"""Which release a rollback goes to: after a failed smoke test, or on request."""

from dataclasses import dataclass

from events.outbound import Cause
from functions.core.candidates.decisions import next_step
from functions.core.deployments import Candidate, DeploymentState, SiteState
from functions.core.releases import GateVerdict, ReleaseRecord


@dataclass(frozen=True)
class Refusal:
    """Why a requested rollback can't be done, and what would work."""

    reason: str


def automatic_rollback_targets(state: SiteState, number: int) -> tuple[Candidate, ...]:
    """What to put back after a deployment that failed its verification, the best first.

    That is the champion, or, if it is the champion that failed, the one before. Empty if that
    deployment does not hold the slot, if nothing was live before, or if the one before failed too.
    """
    failing = state.in_flight
    if failing is None or failing.number != number or state.champion is None:
        return ()
    if failing.state is not DeploymentState.VERIFICATION_FAILED:
        return ()
    is_champion = state.champion.release == failing.candidate.release
    if failing.automatic and not is_champion:
        return ()
    candidates = (state.champion, state.previous_champion)
    return tuple(
        candidate
        for candidate in candidates
        if candidate is not None and candidate.release != failing.candidate.release
    )


def requested_rollback_target(
    state: SiteState,
    wanted: str | None,
    record: ReleaseRecord | None,
    *,
    is_champion_served: bool = True,
) -> str | Refusal:
    """The release to put back.

    Args:
        state: the site's state.
        wanted: the requested release; None for the champion while another release is on its way
            or served instead of it, else for the previous champion.
        record: what the ledger knows of the wanted release.
        is_champion_served: whether the endpoint is on the champion's configuration.
    """
    coming = state.in_flight
    is_going_back = coming is not None and coming.cause is Cause.ROLLBACK
    if coming is not None and is_going_back and wanted in (None, coming.candidate.release):
        return Refusal(
            f"deployment {coming.number} is rolling {state.site} back to "
            f"{coming.candidate.release} already; name another release to leave that one"
        )
    if wanted is None:
        return _default_target(state, is_champion_served=is_champion_served)
    refusal = _why_not_deployable(state.site, wanted, record)
    if refusal is not None:
        return refusal
    is_settled = state.in_flight is None and state.waiting is None and state.frozen is None
    is_live = state.champion is not None and state.champion.release == wanted
    if is_settled and is_live and is_champion_served:
        return Refusal(f"release {wanted} is live at {state.site} already")
    return wanted


def _why_not_deployable(site: str, wanted: str, record: ReleaseRecord | None) -> Refusal | None:
    if record is None:
        return Refusal(
            f"no release {wanted} ever arrived at {site}; `rssi releases --site {site}`"
            " lists those that did"
        )
    if record.verdict is GateVerdict.REJECTED:
        return Refusal(f"release {wanted} was rejected when it arrived: {record.reason}")
    if record.verdict.may_deploy:
        return None
    if record.decision is not None:
        return Refusal(f"release {wanted} was rejected by {record.decision.by}: {record.reason}")
    return Refusal(f"release {wanted} is held: {record.reason}; {next_step(record)}")


def _default_target(state: SiteState, *, is_champion_served: bool) -> str | Refusal:
    if state.champion is not None and (_is_leaving(state) or not is_champion_served):
        return state.champion.release
    if state.previous_champion is not None:
        return state.previous_champion.release
    return Refusal(
        f"no other release was live at {state.site} before, so there is nothing to go back to"
    )


def _is_leaving(state: SiteState) -> bool:
    """Whether another release than the champion is on its way to the endpoint."""
    champion, coming = state.champion, state.in_flight
    return (
        champion is not None and coming is not None and coming.candidate.release != champion.release
    )
