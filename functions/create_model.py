"""Lambda: a release arrived in the artifact bucket; if it passes the gate, make it a model.

The event is only a hint. What is in the bucket now counts, so a repeated, late or reordered event
ends the same. A repeated announcement has the same trigger, which opens one deployment only.
"""

from pydantic import ValidationError

from events.inbound import Envelope, ObjectCreated
from events.manifests import Release
from events.names import InvalidNameError, ReleaseKey, parse_release_key
from events.outbound import Cause, ModelCreated, ReleaseFound, ReleaseRejected
from events.triggers import Trigger
from functions.core.gate import check_release
from functions.core.outcomes import StepOutcome
from functions.core.releases import GateVerdict, ReleaseRecord
from functions.entry import handles, set_log_context
from functions.services import Services
from functions.settings import CreateModelSettings


@handles(CreateModelSettings, {"Object Created": ObjectCreated, "ReleaseFound": ReleaseFound})
def handler(
    event: "Envelope[ObjectCreated | ReleaseFound]", services: Services[CreateModelSettings]
) -> StepOutcome:
    """Register the release that the event points at and announce its model."""
    match event.detail:
        case ReleaseFound() as found:
            return _handle_release(ReleaseKey(found.site, found.release), event.id, services)
        case created:
            if created.bucket.name != services.settings.artifact_bucket:
                return StepOutcome.NOT_OUR_BUCKET
            try:
                key = parse_release_key(created.object.key)
            except InvalidNameError:
                return StepOutcome.NOT_A_RELEASE
            return _handle_release(key, event.id, services)


def _handle_release(
    key: ReleaseKey, event_id: str, services: Services[CreateModelSettings]
) -> StepOutcome:
    manifest = services.artifacts.manifest(key.run_id)
    if manifest is None:
        return StepOutcome.GONE
    try:
        release = Release.model_validate_json(manifest.body)
    except ValidationError as error:
        return _reject(key, f"its manifest can't be read: {_in_short(error)}", event_id, services)
    set_log_context(release.correlation_id, site=release.site, release=release.run_id)
    return _register(release, key, manifest.version, services)


def _register(
    release: Release, key: ReleaseKey, version: str, services: Services[CreateModelSettings]
) -> StepOutcome:
    known = services.ledger.release(key.site, key.run_id)
    is_registered = known is not None and known.verdict is GateVerdict.REGISTERED
    reasons = check_release(
        release,
        stored_at=key,
        stored_model=services.artifacts.stored(release.model.key),
        known_digest=known.digest if known and is_registered else None,
    )
    if reasons:
        return _reject(key, "; ".join(reasons), release.correlation_id, services)

    trigger = Trigger.artifact(version)
    candidate = services.ensure_model(release.run_id, release.digest, release.model.key)
    if not (known and is_registered):
        known = _record(release, trigger, services)
        services.ledger.remember(known)
    services.announce(
        ModelCreated(
            site=release.site,
            correlation_id=release.correlation_id,
            release=candidate.release,
            digest=candidate.digest,
            model_name=candidate.model_name,
            cause=Cause.ARTIFACT if known.trigger == trigger else Cause.REDEPLOY,
            trigger=trigger,
            created_at=release.created_at,
        )
    )
    return StepOutcome.MODEL_CREATED


def _record(
    release: Release, trigger: Trigger, services: Services[CreateModelSettings]
) -> ReleaseRecord:
    return ReleaseRecord(
        site=release.site,
        run_id=release.run_id,
        verdict=GateVerdict.REGISTERED,
        arrived_at=services.now(),
        trigger=trigger,
        digest=release.digest,
        created_at=release.created_at,
        snapshot=release.snapshot.digest,
        surveys=len(release.snapshot.surveys),
        metrics=release.metrics,
        correlation_id=release.correlation_id,
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
