"""What a person may decide about a release, and about a candidate what follows from its judgement.

A refusal is a sentence for the person, with what would work.
"""

from datetime import datetime

from events.judgement import GateJudgement
from events.outbound import ModelCreated, ReleaseHeld
from functions.core.candidates.site_policy import GateMode
from functions.core.deployments import SiteState
from functions.core.releases import Decision, GateVerdict, ReleaseRecord


def verdict_on(judgement: GateJudgement, mode: GateMode) -> GateVerdict:
    """The verdict on a sound release that has just arrived."""
    if mode is GateMode.APPROVE:
        return GateVerdict.AWAITS_APPROVAL
    if mode is GateMode.ENFORCE and not judgement.is_good:
        return GateVerdict.HELD
    return GateVerdict.REGISTERED


def held_event(record: ReleaseRecord) -> ReleaseHeld:
    """The event of a record whose release a person has to decide about."""
    if record.judgement is None or record.digest is None or record.correlation_id is None:
        raise ValueError(f"the record of {record.run_id} has no judgement")
    awaits = record.verdict is GateVerdict.AWAITS_APPROVAL
    return ReleaseHeld(
        site=record.site,
        correlation_id=record.correlation_id,
        release=record.run_id,
        digest=record.digest,
        awaits_approval=awaits,
        reason=record.reason,
        next_step=next_step(record),
        judgement=record.judgement,
    )


def next_step(record: ReleaseRecord) -> str:
    """The commands that decide about a release."""
    options = f'--site {record.site} {record.run_id} --reason "..."'
    return f"`rssi approve {options}` lets it go live, `rssi reject {options}` ends it"


def decided(
    record: ReleaseRecord, verdict: GateVerdict, decision: Decision, judgement: GateJudgement | None
) -> ReleaseRecord:
    """The record with a person's decision."""
    return record.model_copy(
        update={
            "verdict": verdict,
            "decision": decision,
            "judgement": judgement or record.judgement,
        }
    )


def why_not_decidable(site: str, run_id: str, record: ReleaseRecord | None) -> str | None:
    """Why nothing can be decided about a release; None if a person may decide."""
    if record is None:
        return (
            f"no release {run_id} ever arrived at {site}; `rssi releases --site {site}` lists "
            "those that did"
        )
    if record.verdict.is_undecided:
        return None
    if record.decision is not None:
        by, at = record.decision.by, record.decision.at
        ended = "; `rssi rollback` replaces a release that is live"
        return (
            f"release {run_id} was {record.verdict.value} by {by} at {at:%Y-%m-%d %H:%M:%S} "
            f"already{ended if record.verdict is GateVerdict.APPROVED else ''}"
        )
    if record.verdict is GateVerdict.REJECTED:
        return f"release {run_id} was rejected when it arrived: {record.reason}"
    return f"release {run_id} was not held: it passed the gate when it arrived"


def why_not_resumable(state: SiteState, requested_at: datetime | None) -> str | None:
    """Why a site can't be resumed; None if it can.

    Args:
        state: the site's state.
        requested_at: when it was requested; a request from before the pause means an earlier one.
    """
    if state.paused is None:
        return f"{state.site} is not paused"
    if requested_at is not None and requested_at.replace(microsecond=0) < (
        state.paused.at.replace(microsecond=0)
    ):
        return f"{state.site} was paused again after this request, by {state.paused.by}"
    return None


def is_deployable(request: ModelCreated, record: ReleaseRecord | None, state: SiteState) -> bool:
    """Whether the ledger knows the release of a deployment request as one that may go live."""
    wanted = (request.release, request.digest)
    was_live = (state.champion, state.previous_champion)
    if wanted in [(each.release, each.digest) for each in was_live if each is not None]:
        return True
    return record is not None and record.verdict.may_deploy and record.digest == request.digest
