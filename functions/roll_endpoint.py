"""Lambda: move the endpoint to the release that holds the site's slot.

It runs whenever that may have become possible: a model was created, a deployment ended, the
endpoint changed. Usually there is nothing to do.
"""

from functools import partial

from events.inbound import EndpointChanged, Envelope
from events.names import endpoint_name
from events.outbound import (
    DeploymentEvent,
    DeploymentFailed,
    DeploymentStalled,
    DeploymentSucceeded,
    ModelCreated,
    RolledBack,
    SiteResumed,
)
from functions.core.candidates.decisions import is_deployable
from functions.core.deployments import (
    Deployment,
    DeploymentState,
)
from functions.core.errors import EndpointBusyError
from functions.core.outcomes import StepOutcome
from functions.core.rollout import EndpointAction, next_action
from functions.core.rollout_policies import RolloutPolicy
from functions.core.rollout_policies.all_at_once import AllAtOnce
from functions.core.specification import EndpointSpecification, FleetSpecification
from functions.core.transitions import (
    frozen,
    open_deployment,
    rollout_started,
)
from functions.entry import handles, set_log_context
from functions.failures import attempt
from functions.services import Services
from functions.settings import RollEndpointSettings


@handles(
    RollEndpointSettings,
    {
        "ModelCreated": ModelCreated,
        "DeploymentSucceeded": DeploymentSucceeded,
        "DeploymentFailed": DeploymentFailed,
        "RolledBack": RolledBack,
        "SiteResumed": SiteResumed,
        "DeploymentStalled": DeploymentStalled,
        "SageMaker Endpoint State Change": EndpointChanged,
    },
)
def handler(
    event: "Envelope[ModelCreated | DeploymentEvent | SiteResumed | EndpointChanged]",
    services: Services[RollEndpointSettings],
) -> StepOutcome:
    """Open the deployment of a new model, then start the one that holds the slot."""
    match event.detail:
        case EndpointChanged() as changed:
            ours = services.site_of(changed.endpoint_name)
            if ours is None:
                return StepOutcome.NOT_OUR_ENDPOINT
            state = services.ledger.state(ours)
        case ModelCreated() as request:
            record = services.ledger.release(request.site, request.release)
            if not is_deployable(request, record, services.ledger.state(request.site)):
                return StepOutcome.NOT_DEPLOYABLE
            state = services.commit(request.site, partial(open_deployment, request=request))
        case ended:
            state = services.ledger.state(ended.site)
    deployment = state.in_flight
    if deployment is None or deployment.state is not DeploymentState.PENDING:
        return StepOutcome.NOTHING_TO_START
    if deployment.not_before is not None and services.now() < deployment.not_before:
        return StepOutcome.NOTHING_TO_START
    set_log_context(
        deployment.correlation_id,
        site=deployment.site,
        release=deployment.candidate.release,
        deployment=deployment.number,
    )
    return attempt(deployment, lambda: _start(deployment, services), services)


def _start(deployment: Deployment, services: Services[RollEndpointSettings]) -> StepOutcome:
    specification = EndpointSpecification(
        release=deployment.candidate.release,
        model_name=deployment.candidate.model_name,
        fleet=FleetSpecification(
            instance_type=services.settings.instance_type,
            instance_count=services.settings.instance_count,
        ),
    )
    services.sagemaker.ensure_configuration(specification)
    name = endpoint_name(services.settings.endpoint_prefix, deployment.site)
    policy = AllAtOnce(services.settings.termination_wait_s)
    if _act(name, specification.name, policy, services) is EndpointAction.FREEZE:
        reason = (
            f"endpoint {name} is in UpdateRollbackFailed: its fleet is mixed, so it is left alone. "
            "Look at it in SageMaker, then request a rollback."
        )
        services.commit(deployment.site, partial(frozen, number=deployment.number, reason=reason))
        return StepOutcome.FROZEN
    services.commit(
        deployment.site,
        partial(
            rollout_started,
            number=deployment.number,
            endpoint=name,
            endpoint_config=specification.name,
            limit_s=policy.update().maximum_execution_s,
        ),
    )
    return StepOutcome.STARTED


def _act(
    endpoint: str,
    config_name: str,
    policy: RolloutPolicy,
    services: Services[RollEndpointSettings],
) -> EndpointAction:
    """Request the change that brings the endpoint to the configuration.

    Raises:
        EndpointBusyError: not possible now; its next event, or Lambda's retry, starts this again.
    """
    move = next_action(services.sagemaker.endpoint(endpoint), config_name)
    match move:
        case EndpointAction.CREATE:
            services.sagemaker.create_endpoint(endpoint, config_name)
        case EndpointAction.UPDATE:
            services.sagemaker.update_endpoint(endpoint, config_name, policy)
        case EndpointAction.REPLACE:
            services.sagemaker.delete_endpoint(endpoint)
            raise EndpointBusyError(f"endpoint {endpoint} never came up and is being deleted")
        case EndpointAction.WAIT:
            raise EndpointBusyError(f"endpoint {endpoint} is in the middle of another change")
        case EndpointAction.NOTHING | EndpointAction.FREEZE:
            pass
    return move
