"""Lambda: bring the endpoint to the release that holds the site's slot.

It runs whenever that may have become possible: a model was created, a deployment ended, the
endpoint changed. Most of the time there is nothing to do, and it says so.
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
)
from functions.core.deployments import (
    Deployment,
    DeploymentState,
    frozen,
    open_deployment,
    rollout_started,
)
from functions.core.errors import EndpointBusyError
from functions.core.rollout import Move, next_move
from functions.core.specification import EndpointSpecification, Fleet
from functions.entry import follow, handles
from functions.services import Desk


@handles(
    {
        "ModelCreated": ModelCreated,
        "DeploymentSucceeded": DeploymentSucceeded,
        "DeploymentFailed": DeploymentFailed,
        "RolledBack": RolledBack,
        "DeploymentStalled": DeploymentStalled,
        "SageMaker Endpoint State Change": EndpointChanged,
    }
)
def handler(event: "Envelope[ModelCreated | DeploymentEvent | EndpointChanged]", desk: Desk) -> str:
    """Open the deployment that a new model asks for, then start what holds the slot."""
    match event.detail:
        case EndpointChanged() as changed:
            ours = desk.site_of(changed.endpoint_name)
            if ours is None:
                return "not our endpoint"
            state = desk.ledger.state(ours)
        case ModelCreated() as request:
            state = desk.commit(request.site, partial(open_deployment, request=request))
        case ended:
            state = desk.ledger.state(ended.site)
    deployment = state.in_flight
    if deployment is None or deployment.state is not DeploymentState.PENDING:
        return "nothing to start"
    return _start(deployment, desk)


def _start(deployment: Deployment, desk: Desk) -> str:
    follow(
        deployment.correlation_id,
        site=deployment.site,
        release=deployment.candidate.release,
        deployment=deployment.number,
    )
    specification = EndpointSpecification(
        release=deployment.candidate.release,
        model_name=deployment.candidate.model_name,
        fleet=Fleet(
            instance_type=desk.settings.instance_type, instance_count=desk.settings.instance_count
        ),
    )
    desk.sagemaker.ensure_configuration(specification)
    name = endpoint_name(desk.settings.endpoint_prefix, deployment.site)
    if _move(name, specification.name, desk) is Move.FREEZE:
        reason = (
            f"endpoint {name} is in UpdateRollbackFailed: its fleet is mixed, so it is left alone. "
            "Look at it in SageMaker, then ask for a rollback."
        )
        desk.commit(deployment.site, partial(frozen, number=deployment.number, reason=reason))
        return "frozen"
    desk.commit(
        deployment.site,
        partial(
            rollout_started,
            number=deployment.number,
            endpoint=name,
            endpoint_config=specification.name,
        ),
    )
    return "started"


def _move(endpoint: str, config_name: str, desk: Desk) -> Move:
    """Ask SageMaker for what gets the endpoint onto the configuration.

    Raises:
        EndpointBusyError: not now; its next change, or Lambda's retry, wakes this step again.
    """
    move = next_move(desk.sagemaker.endpoint(endpoint), config_name)
    match move:
        case Move.CREATE:
            desk.sagemaker.create_endpoint(endpoint, config_name)
        case Move.UPDATE:
            desk.sagemaker.update_endpoint(endpoint, config_name, desk.settings.termination_wait_s)
        case Move.REPLACE:
            desk.sagemaker.delete_endpoint(endpoint)
            raise EndpointBusyError(f"endpoint {endpoint} never came up and is being deleted")
        case Move.WAIT:
            raise EndpointBusyError(f"endpoint {endpoint} is in the middle of another change")
        case Move.NOTHING | Move.FREEZE:
            pass
    return move
