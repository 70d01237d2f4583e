"""Lambda: find where to go back to, and ask for it.

After a failed smoke test that is what was live before; on request it is whatever release was
asked for. Either way it goes the same road as any release: model, rollout, smoke test.
"""

from functools import partial
from typing import TYPE_CHECKING

from events.names import endpoint_name
from events.outbound import (
    Cause,
    DeploymentEvent,
    DeploymentStalled,
    ModelCreated,
    RollbackRefused,
    RollbackRequested,
    SmokeTestFailed,
)
from functions.core.deployments import (
    DeploymentState,
    failed,
    frozen,
    return_trigger,
    way_back,
)
from functions.core.rollback import Refusal, rollback_target
from functions.entry import follow, handles
from functions.services import Desk

if TYPE_CHECKING:
    from events.inbound import Envelope

UNFIT = DeploymentState.UNFIT


@handles(
    {
        "SmokeTestFailed": SmokeTestFailed,
        "DeploymentStalled": DeploymentStalled,
        "RollbackRequested": RollbackRequested,
    }
)
def handler(event: "Envelope[DeploymentEvent | RollbackRequested]", desk: Desk) -> str:
    """Ask for the way back from a failure, or for the rollback that someone wants."""
    match event.detail:
        case DeploymentEvent() as failure:
            follow(failure.correlation_id, site=failure.site, deployment=failure.deployment)
            return _return(failure, desk)
        case request:
            correlation_id = request.correlation_id or event.id
            follow(correlation_id, site=request.site)
            return _go_back(request, correlation_id, trigger=f"request:{event.id}", desk=desk)


def _return(event: DeploymentEvent, desk: Desk) -> str:
    state = desk.ledger.state(event.site)
    unfit = state.in_flight
    if unfit is None or unfit.number != event.deployment or unfit.state is not UNFIT:
        return "no way back is due"
    target = way_back(state, unfit.number)
    if target is not None:
        trigger = return_trigger(unfit.number)
        _ask_for(target.release, unfit.site, unfit.correlation_id, trigger, unfit.reason, desk)
        return "going back"
    if state.champion is None:
        desk.sagemaker.delete_endpoint(endpoint_name(desk.settings.endpoint_prefix, unfit.site))
        reason = f"{unfit.reason}; nothing was live before, so the endpoint was deleted"
        desk.commit(unfit.site, partial(failed, number=unfit.number, reason=reason))
        return "deleted"
    reason = f"{unfit.reason}; it is the release that was live before, so there is no way back"
    desk.commit(unfit.site, partial(frozen, number=unfit.number, reason=reason))
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
