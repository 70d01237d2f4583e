"""Judging a release and requesting its deployment, as more than one function does."""

from events.judgement import GateJudgement
from events.manifests import Release
from events.outbound import Cause, ModelCreated
from events.triggers import Trigger
from functions.core.candidates.champion_gate import LiveRelease, judge
from functions.core.releases import ReleaseRecord
from functions.services import Services
from functions.settings import CreateModelSettings


def judge_now(release: Release, services: Services[CreateModelSettings]) -> GateJudgement:
    """What the champion gate says beside the champion of this moment."""
    champion = services.ledger.state(release.site).champion
    live = None
    if champion is not None:
        record = services.ledger.release(release.site, champion.release)
        live = LiveRelease(champion.release, champion.digest, record.metrics if record else None)
    return judge(release.metrics, live, services.policies.of(release.site))


def request_deployment(
    release: Release,
    record: ReleaseRecord,
    trigger: Trigger,
    services: Services[CreateModelSettings],
) -> None:
    """Make the release a model and announce it; the same trigger never opens two deployments."""
    candidate = services.ensure_model(release.run_id, release.digest, release.model.key)
    is_first = trigger == record.deployment_trigger
    services.announce(
        ModelCreated(
            site=release.site,
            correlation_id=release.correlation_id,
            release=candidate.release,
            digest=candidate.digest,
            model_name=candidate.model_name,
            cause=Cause.ARTIFACT if is_first else Cause.REDEPLOY,
            trigger=trigger,
            created_at=release.created_at,
            judgement=record.judgement,
            approved_by=record.decision.by if record.decision else None,
        )
    )
