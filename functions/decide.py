"""Lambda: what people decide: approve or reject a held release, resume a paused site.

The first decision on a release counts; the same event may come again and changes nothing.
"""

from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from events.manifests import Release
from events.names import ReleaseKey
from events.outbound import (
    DecisionRefused,
    ReleaseApproved,
    ReleaseDeclined,
)
from events.requests import (
    ApprovalRequested,
    DecisionRequested,
    RejectionRequested,
    ResumeRequested,
)
from events.triggers import Trigger
from functions.candidates import judge_now, request_deployment
from functions.core.candidates.decisions import decided, why_not_decidable, why_not_resumable
from functions.core.candidates.manifest_gate import check_release
from functions.core.outcomes import StepOutcome
from functions.core.releases import Decision, GateVerdict, ReleaseRecord
from functions.core.transitions import resumed
from functions.entry import handles, set_log_context
from functions.services import Services
from functions.settings import DecideSettings

if TYPE_CHECKING:
    from events.inbound import Envelope


@handles(
    DecideSettings,
    {
        "ApprovalRequested": ApprovalRequested,
        "RejectionRequested": RejectionRequested,
        "ResumeRequested": ResumeRequested,
    },
)
def handler(
    event: "Envelope[DecisionRequested]", services: Services[DecideSettings]
) -> StepOutcome:
    """Do what a person decided, or say why not."""
    request = event.detail
    set_log_context(
        request.correlation_id or event.id, site=request.site, requested_by=request.requested_by
    )
    match request:
        case ApprovalRequested() | RejectionRequested():
            return _decide(request, event.id, services)
        case _:
            return _resume(event, services)


def _decide(
    request: ApprovalRequested | RejectionRequested,
    event_id: str,
    services: Services[DecideSettings],
) -> StepOutcome:
    known = services.ledger.release(request.site, request.release)
    is_repeat = known is not None and known.decision is not None and known.decision.id == event_id
    refusal = None if is_repeat else why_not_decidable(request.site, request.release, known)
    if refusal is not None or known is None:
        return _refuse(request, event_id, refusal or "", services)
    decision = Decision(
        id=event_id, by=request.requested_by, at=services.now(), reason=request.reason
    )
    if isinstance(request, RejectionRequested):
        return _decline(known, decision, event_id, services)
    return _approve(known, decision, event_id, services)


def _approve(
    known: ReleaseRecord, decision: Decision, event_id: str, services: Services[DecideSettings]
) -> StepOutcome:
    """Judge again, since the champion may have changed; the person's word goes either way."""
    request = ApprovalRequested(site=known.site, release=known.run_id)
    release = _release(known, services)
    if isinstance(release, str):
        return _refuse(request, event_id, release, services)
    judgement = judge_now(release, services)
    record = decided(known, GateVerdict.APPROVED, decision, judgement)
    if not services.ledger.decide(record):
        record = services.ledger.release(known.site, known.run_id) or known
        if record.decision is None or record.decision.id != event_id:
            return _refuse_late(request, event_id, record, services)
    services.announce(
        ReleaseApproved(
            site=known.site,
            correlation_id=release.correlation_id,
            release=known.run_id,
            digest=release.digest,
            approved_by=decision.by,
            reason=decision.reason,
            judgement=record.judgement or judgement,
        )
    )
    request_deployment(release, record, Trigger.approval(record.run_id), services)
    return StepOutcome.APPROVED


def _release(known: ReleaseRecord, services: Services[DecideSettings]) -> Release | str:
    """The release as it is in the bucket now, or why it can't be deployed."""
    manifest = services.artifacts.manifest(known.run_id)
    if manifest is None:
        return f"the manifest of release {known.run_id} is no longer in the artifact bucket"
    try:
        release = Release.model_validate_json(manifest.body)
    except ValidationError as error:
        return f"the manifest of release {known.run_id} can't be read: {error.errors()[0]['msg']}"
    reasons = check_release(
        release,
        stored_at=ReleaseKey(known.site, known.run_id),
        stored_model=services.artifacts.stored(release.model.key),
        known_digest=known.digest,
        now=services.now(),
    )
    return "; ".join(reasons) if reasons else release


def _decline(
    known: ReleaseRecord, decision: Decision, event_id: str, services: Services[DecideSettings]
) -> StepOutcome:
    if not services.ledger.decide(decided(known, GateVerdict.DECLINED, decision, None)):
        record = services.ledger.release(known.site, known.run_id) or known
        if record.decision is None or record.decision.id != event_id:
            request = RejectionRequested(site=known.site, release=known.run_id)
            return _refuse_late(request, event_id, record, services)
    services.announce(
        ReleaseDeclined(
            site=known.site,
            correlation_id=known.correlation_id or event_id,
            release=known.run_id,
            declined_by=decision.by,
            reason=decision.reason,
        )
    )
    return StepOutcome.DECLINED


def _resume(
    event: "Envelope[DecisionRequested]", services: Services[DecideSettings]
) -> StepOutcome:
    request = event.detail
    if why_not_resumable(services.ledger.state(request.site), event.time) is not None:
        # The same request may come again after it was done, so this is no refusal to announce.
        return StepOutcome.NOT_PAUSED
    services.commit(
        request.site,
        partial(
            resumed,
            by=request.requested_by,
            reason=request.reason,
            correlation_id=request.correlation_id or event.id,
        ),
    )
    return StepOutcome.RESUMED


def _refuse_late(
    request: ApprovalRequested | RejectionRequested,
    event_id: str,
    record: ReleaseRecord,
    services: Services[DecideSettings],
) -> StepOutcome:
    reason = why_not_decidable(record.site, record.run_id, record) or "it was decided already"
    return _refuse(request, event_id, reason, services)


def _refuse(
    request: ApprovalRequested | RejectionRequested,
    event_id: str,
    reason: str,
    services: Services[DecideSettings],
) -> StepOutcome:
    services.announce(
        DecisionRefused(
            site=request.site,
            correlation_id=request.correlation_id or event_id,
            request=type(request).__name__,
            release=request.release,
            reason=reason,
        )
    )
    return StepOutcome.DECISION_REFUSED
