"""Lambda: a release arrived in the artifact bucket; if it passes the gates, make it a model.

The event is only a hint. What is in the bucket now counts, so a repeated, late or reordered event
ends the same. A repeated announcement has the same trigger, which opens one deployment only. A
release that is sound and not good enough is held until a person decides.
"""

from pydantic import ValidationError

from events.inbound import Envelope, ObjectCreated
from events.judgement import GateJudgement
from events.manifests import Release
from events.names import InvalidNameError, ReleaseKey, parse_release_key
from events.outbound import ReleaseFound, ReleaseRejected
from events.triggers import Trigger
from functions.adapters.artifacts import StoredManifest
from functions.candidates import judge_now, request_deployment
from functions.core.candidates.decisions import held_event, verdict_on
from functions.core.candidates.manifest_gate import check_release
from functions.core.outcomes import StepOutcome
from functions.core.releases import GateVerdict, ReleaseRecord
from functions.entry import handles, set_log_context
from functions.services import Services
from functions.settings import CreateModelSettings


@handles(CreateModelSettings, {"Object Created": ObjectCreated, "ReleaseFound": ReleaseFound})
def handler(
    event: "Envelope[ObjectCreated | ReleaseFound]", services: Services[CreateModelSettings]
) -> StepOutcome:
    """Register the release that the event points at and, if it is good, announce its model."""
    match event.detail:
        case ReleaseFound() as found:
            key = ReleaseKey(found.site, found.release)
        case created:
            if created.bucket.name != services.settings.artifact_bucket:
                return StepOutcome.NOT_OUR_BUCKET
            try:
                key = parse_release_key(created.object.key)
            except InvalidNameError:
                return StepOutcome.NOT_A_RELEASE
    return _handle_release(key, event, services)


def _handle_release(
    key: ReleaseKey,
    event: "Envelope[ObjectCreated | ReleaseFound]",
    services: Services[CreateModelSettings],
) -> StepOutcome:
    manifest = services.artifacts.manifest(key.run_id)
    if manifest is None:
        return StepOutcome.GONE
    try:
        release = Release.model_validate_json(manifest.body)
    except ValidationError as error:
        return _reject(key, f"its manifest can't be read: {_in_short(error)}", event.id, services)
    set_log_context(release.correlation_id, site=release.site, release=release.run_id)
    known = services.ledger.release(key.site, key.run_id)
    if known is not None and known.verdict is GateVerdict.REJECTED:
        known = None
    reasons = check_release(
        release,
        stored_at=key,
        stored_model=services.artifacts.stored(release.model.key),
        known_digest=known.digest if known else None,
        now=services.now(),
    )
    if reasons:
        return _reject(key, "; ".join(reasons), release.correlation_id, services)
    if known is None:
        return _register(release, Trigger.artifact(manifest.version), services)
    trigger = _due_trigger(known, manifest, is_found=isinstance(event.detail, ReleaseFound))
    if trigger is None:
        return StepOutcome.HELD if known.verdict.is_undecided else StepOutcome.UNCHANGED
    request_deployment(release, known, trigger, services)
    return StepOutcome.MODEL_CREATED


def _register(
    release: Release, trigger: Trigger, services: Services[CreateModelSettings]
) -> StepOutcome:
    """Judge a release that is sound and new, and remember the verdict."""
    judgement = judge_now(release, services)
    verdict = verdict_on(judgement, services.policies.of(release.site).gate)
    record = _record(release, trigger, verdict, judgement, services)
    if verdict.is_undecided:
        # Announced first: if this step dies in between, its repetition announces it again.
        services.announce(held_event(record))
        services.ledger.remember(record)
        return StepOutcome.HELD
    services.ensure_model(release.run_id, release.digest, release.model.key)
    services.ledger.remember(record)
    request_deployment(release, record, trigger, services)
    return StepOutcome.MODEL_CREATED


def _due_trigger(
    known: ReleaseRecord, manifest: StoredManifest, *, is_found: bool
) -> Trigger | None:
    """What the event of a known release asks for; None for nothing.

    A repeated arrival, or a finding of reconcile, is the first deployment's trigger again. Another
    version of the manifest is a copy, which asks for nothing unless its metadata says so.
    """
    first = known.deployment_trigger
    if first is None:
        return None
    if manifest.redeploy is not None and not is_found:
        return Trigger.redeploy(known.run_id, manifest.redeploy)
    is_arrival = Trigger.artifact(manifest.version) == known.trigger
    return first if is_found or is_arrival else None


def _record(
    release: Release,
    trigger: Trigger,
    verdict: GateVerdict,
    judgement: GateJudgement,
    services: Services[CreateModelSettings],
) -> ReleaseRecord:
    reason = "" if verdict is GateVerdict.REGISTERED else judgement.reason
    return ReleaseRecord(
        site=release.site,
        run_id=release.run_id,
        verdict=verdict,
        arrived_at=services.now(),
        trigger=trigger,
        digest=release.digest,
        created_at=release.created_at,
        snapshot=release.snapshot.digest,
        surveys=len(release.snapshot.surveys),
        metrics=release.metrics,
        correlation_id=release.correlation_id,
        reason=reason,
        judgement=judgement,
    )


def _reject(
    key: ReleaseKey, reason: str, correlation_id: str, services: Services[CreateModelSettings]
) -> StepOutcome:
    """Announce why; what was registered before under this id stays what it is."""
    known = services.ledger.release(key.site, key.run_id)
    if known is None or known.verdict is GateVerdict.REJECTED:
        services.ledger.remember(
            ReleaseRecord(
                site=key.site,
                run_id=key.run_id,
                verdict=GateVerdict.REJECTED,
                arrived_at=services.now(),
                reason=reason,
            )
        )
    services.announce(
        ReleaseRejected(
            site=key.site, correlation_id=correlation_id, release=key.run_id, reason=reason
        )
    )
    return StepOutcome.REJECTED


def _in_short(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
