"""Lambda: find where to go back to, and ask for it.

After a failed smoke test that is what was live before; on request it is whatever release was
asked for. Either way it goes the same road as any release: model, rollout, smoke test.
"""

from functools import partial

from events.inbound import Envelope
from events.names import endpoint_name
from events.outbound import (
    Cause,
    ModelCreated,
    RollbackRefused,
    RollbackRequested,
    SmokeTestFailed,
)
from functions.core.deployments import failed, frozen, return_trigger, way_back
from functions.core.rollback import Refusal, rollback_target
from functions.desk import Desk
from functions.entry import follow, handles


@handles({"SmokeTestFailed": SmokeTestFailed, "RollbackRequested": RollbackRequested})
def handler(event: Envelope[SmokeTestFailed | RollbackRequested], desk: Desk) -> str:
    """Ask for the way back from a failure, or for the rollback that someone wants."""
    match event.detail:
        case SmokeTestFailed() as failure:
            follow(failure.correlation_id, site=failure.site, deployment=failure.deployment)
            return _return(failure, desk)
        case request:
            correlation_id = request.correlation_id or event.id
            follow(correlation_id, site=request.site)
            return _go_back(request, correlation_id, trigger=f"request:{event.id}", desk=desk)


def _return(failure: SmokeTestFailed, desk: Desk) -> str:
    state = desk.ledger.state(failure.site)
    if state.in_flight is None or state.in_flight.number != failure.deployment:
        return "over already"
    target = way_back(state, failure.deployment)
    if target is not None:
        trigger = return_trigger(failure.deployment)
        _ask_for(
            target.release, failure.site, failure.correlation_id, trigger, failure.reason, desk
        )
        return "going back"
    if state.champion is None:
        desk.sagemaker.delete_endpoint(endpoint_name(desk.settings.endpoint_prefix, failure.site))
        reason = f"{failure.reason}; nothing was live before, so the endpoint was deleted"
        desk.commit(failure.site, partial(failed, number=failure.deployment, reason=reason))
        return "deleted"
    reason = f"{failure.reason}; it is the release that was live before, so there is no way back"
    desk.commit(failure.site, partial(frozen, number=failure.deployment, reason=reason))
    return "frozen"


def _go_back(request: RollbackRequested, correlation_id: str, trigger: str, desk: Desk) -> str:
    state = desk.ledger.state(request.site)
    wanted = request.to
    record = desk.ledger.release(request.site, wanted) if wanted else None
    target = rollback_target(state, wanted, record)
    if isinstance(target, Refusal):
        desk.announce(
            RollbackRefused(
                site=request.site, correlation_id=correlation_id, to=wanted, reason=target.reason
            )
        )
        return "refused"
    _ask_for(target, request.site, correlation_id, trigger, request.reason, desk)
    return "going back"


def _ask_for(
    run_id: str, site: str, correlation_id: str, trigger: str, reason: str, desk: Desk
) -> None:
    release = desk.artifacts.release(run_id)
    candidate = desk.ensure_model(release.run_id, release.digest, release.model.key)
    desk.announce(
        ModelCreated(
            site=site,
            correlation_id=correlation_id,
            release=candidate.release,
            digest=candidate.digest,
            model_name=candidate.model_name,
            cause=Cause.ROLLBACK,
            trigger=trigger,
            created_at=release.created_at,
            reason=reason,
        )
    )
