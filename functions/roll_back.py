"""Lambda: find the release to roll back to, and request its deployment.

After a failed smoke test that is the champion; on request, any release. Either takes the same steps
as a new release: model, rollout, smoke test.
"""

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
from functions.core.deployments import (
    Deployment,
    DeploymentState,
    SiteState,
)
from functions.core.outcomes import StepOutcome
from functions.core.rollback import Refusal, automatic_rollback_targets, requested_rollback_target
from functions.core.transitions import (
    failed,
    frozen,
)
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
        case request:
            correlation_id = request.correlation_id or event.id
            set_log_context(correlation_id, site=request.site)
            return _roll_back_on_request(
                request,
                correlation_id,
                trigger=Trigger.rollback_request(event.id),
                services=services,
            )


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
        _request_deployment(release, failing.correlation_id, trigger, failing.reason, services)
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
    request: RollbackRequested,
    correlation_id: str,
    trigger: Trigger,
    services: Services[RollBackSettings],
) -> StepOutcome:
    state = services.ledger.state(request.site)
    wanted = request.to
    record = services.ledger.release(request.site, wanted) if wanted else None
    target = requested_rollback_target(state, wanted, record)
    release = target if isinstance(target, Refusal) else services.artifacts.available(target)
    if isinstance(release, str):
        release = Refusal(release)
    if isinstance(release, Refusal):
        services.announce(
            RollbackRefused(
                site=request.site, correlation_id=correlation_id, to=wanted, reason=release.reason
            )
        )
        return StepOutcome.ROLLBACK_REFUSED
    _request_deployment(release, correlation_id, trigger, request.reason, services)
    return StepOutcome.ROLLBACK_STARTED


def _request_deployment(
    release: Release,
    correlation_id: str,
    trigger: Trigger,
    reason: str,
    services: Services[RollBackSettings],
) -> None:
    candidate = services.ensure_model(release.run_id, release.digest, release.model.key)
    services.announce(
        ModelCreated(
            site=release.site,
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
