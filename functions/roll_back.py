"""Lambda: find the release to roll back to, and request its deployment.

After a failed smoke test that is the champion; on request, any release. Either takes the same steps
as a new release: model, rollout, smoke test.
"""

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from events.manifests import Release
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
from events.triggers import Trigger
from functions.adapters.error_kinds import classify
from functions.core.deadlines import ErrorKind
from functions.core.deployments import (
    Deployment,
    DeploymentState,
    RollbackRequest,
    SiteState,
)
from functions.core.outcomes import StepOutcome
from functions.core.rollbacks.requests import (
    release_to_leave,
    request_closed,
    rollback_requested,
    why_not_first,
    why_outdated,
)
from functions.core.rollbacks.targets import (
    Refusal,
    automatic_rollback_targets,
    requested_rollback_target,
)
from functions.core.transitions import failed, frozen, open_deployment
from functions.entry import handles, set_log_context
from functions.failures import attempt
from functions.services import Services
from functions.settings import RollBackSettings

if TYPE_CHECKING:
    from events.inbound import Envelope

VERIFICATION_FAILED = DeploymentState.VERIFICATION_FAILED


@handles(
    RollBackSettings,
    {
        "SmokeTestFailed": SmokeTestFailed,
        "DeploymentStalled": DeploymentStalled,
        "RollbackRequested": RollbackRequested,
    },
)
def handler(
    event: "Envelope[DeploymentEvent | RollbackRequested]", services: Services[RollBackSettings]
) -> StepOutcome:
    """Request the rollback from a failure, or the one that a person wants."""
    match event.detail:
        case DeploymentEvent() as failure:
            set_log_context(
                failure.correlation_id, site=failure.site, deployment=failure.deployment
            )
            return _roll_back_automatically(failure, services)
        case requested:
            request_id = requested.request or event.id
            set_log_context(requested.correlation_id or request_id, site=requested.site)
            return _roll_back_on_request(requested, request_id, event.time, services)


def _roll_back_automatically(
    event: DeploymentEvent, services: Services[RollBackSettings]
) -> StepOutcome:
    state = services.ledger.state(event.site)
    failing = state.in_flight
    if (
        failing is None
        or failing.number != event.deployment
        or failing.state is not VERIFICATION_FAILED
    ):
        return StepOutcome.NO_ROLLBACK_DUE
    return attempt(failing, lambda: _restore(state, failing, services), services)


def _restore(
    state: SiteState, failing: Deployment, services: Services[RollBackSettings]
) -> StepOutcome:
    """Request what was live before; without it, take the endpoint away or freeze the site."""
    lost: list[str] = []
    for target in automatic_rollback_targets(state, failing.number):
        release = services.artifacts.available(target.release)
        if isinstance(release, str):
            lost.append(release)
            continue
        trigger = Trigger.automatic_rollback(failing.number)
        services.announce(
            _model_created(release, failing.correlation_id, trigger, failing.reason, services)
        )
        return StepOutcome.ROLLBACK_STARTED
    if state.champion is None:
        services.sagemaker.delete_endpoint(
            endpoint_name(services.settings.endpoint_prefix, failing.site)
        )
        reason = f"{failing.reason}; nothing was live before, so the endpoint was deleted"
        services.commit(failing.site, partial(failed, number=failing.number, reason=reason))
        return StepOutcome.ENDPOINT_DELETED
    remarks = [failing.reason, *lost, "there is no other release to put back"]
    reason = "; ".join(filter(None, remarks))
    services.commit(failing.site, partial(frozen, number=failing.number, reason=reason))
    return StepOutcome.FROZEN


def _roll_back_on_request(
    requested: RollbackRequested,
    request_id: str,
    sent_at: datetime,
    services: Services[RollBackSettings],
) -> StepOutcome:
    site, correlation_id = requested.site, requested.correlation_id or request_id
    trigger = Trigger.rollback_request(request_id)
    if services.ledger.opened_by(site, trigger):
        return StepOutcome.NO_ROLLBACK_DUE
    try:
        request = _accepted(requested, request_id, sent_at, services)
        if not isinstance(request, Refusal):
            release = services.artifacts.release(request.to)
            _preempt(release, correlation_id, trigger, request, services)
            return StepOutcome.ROLLBACK_STARTED
    except Exception as error:
        if classify(error) is not ErrorKind.PERMANENT:
            raise
        request = Refusal(str(error))
    if services.ledger.opened_by(site, trigger):  # by a repetition of the same event
        return StepOutcome.NO_ROLLBACK_DUE
    services.commit(site, partial(request_closed, request_id=request_id))
    services.announce(
        RollbackRefused(
            site=site, correlation_id=correlation_id, to=requested.to, reason=request.reason
        )
    )
    return StepOutcome.ROLLBACK_REFUSED


def _accepted(
    requested: RollbackRequested,
    request_id: str,
    sent_at: datetime,
    services: Services[RollBackSettings],
) -> RollbackRequest | Refusal:
    """The request as the ledger keeps it from now on, or why it is refused."""
    state = services.ledger.state(requested.site)
    kept = state.rollback_request
    if kept is not None and kept.id == request_id:
        requested = requested.model_copy(
            update={"to": kept.to, "leaves": kept.leaves, "requested_at": kept.requested_at}
        )
    record = services.ledger.release(requested.site, requested.to) if requested.to else None
    name = endpoint_name(services.settings.endpoint_prefix, requested.site)
    is_served = services.sagemaker.drift(state, name) in ("", None)
    target = requested_rollback_target(state, requested.to, record, is_champion_served=is_served)
    if isinstance(target, Refusal):
        return target
    release = services.artifacts.available(target)
    if isinstance(release, str):
        return Refusal(release)
    request = RollbackRequest(
        id=request_id,
        to=target,
        leaves=requested.leaves or release_to_leave(state),
        requested_by=requested.requested_by,
        requested_at=requested.requested_at or sent_at,
        reason=requested.reason,
    )
    now = services.now()
    refusal = why_outdated(state, request, now) or why_not_first(state, request, now)
    if refusal is not None:
        return refusal
    state = services.commit(requested.site, partial(rollback_requested, request=request))
    if state.rollback_request is None or state.rollback_request.id != request_id:
        return Refusal(f"{requested.site} changed in the same moment; look at it and repeat")
    return request


def _preempt(
    release: Release,
    correlation_id: str,
    trigger: Trigger,
    request: RollbackRequest,
    services: Services[RollBackSettings],
) -> None:
    """Open the deployment in the ledger, whatever holds the slot; then let it be started."""
    model = _model_created(
        release,
        correlation_id,
        trigger,
        request.reason,
        services,
        requested_by=request.requested_by,
    )
    services.commit(release.site, partial(open_deployment, request=model))
    services.announce(model)


def _model_created(
    release: Release,
    correlation_id: str,
    trigger: Trigger,
    reason: str,
    services: Services[RollBackSettings],
    requested_by: str | None = None,
) -> ModelCreated:
    candidate = services.ensure_model(release.run_id, release.digest, release.model.key)
    return ModelCreated(
        site=release.site,
        correlation_id=correlation_id,
        release=candidate.release,
        digest=candidate.digest,
        model_name=candidate.model_name,
        cause=Cause.ROLLBACK,
        trigger=trigger,
        created_at=release.created_at,
        reason=reason,
        requested_by=requested_by,
    )
