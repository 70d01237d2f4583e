"""Lambda: the endpoint changed, or a rollout started; judge the rollout.

A rollout succeeded when the endpoint is in service on the requested configuration, and the
container that answers is the release, with the recorded answers, in time. Anything else is a
failure, no answer included.
"""

from functools import partial

from events.inbound import EndpointChanged, Envelope
from events.names import endpoint_name
from events.outbound import DeploymentEvent, DeploymentStalled, RolloutStarted
from functions.core.deadlines import may_repeat
from functions.core.deployments import (
    Deployment,
    DeploymentState,
)
from functions.core.errors import RetryLaterError
from functions.core.outcomes import StepOutcome
from functions.core.rollout import EndpointDescription, RolloutStatus, judge
from functions.core.smoke import judge_results, smoke_requests
from functions.core.transitions import (
    failed,
    frozen,
    rollout_repeated,
    succeeded,
    verification_failed,
)
from functions.entry import handles, set_log_context
from functions.failures import attempt
from functions.services import Services
from functions.settings import SmokeTestSettings


@handles(
    SmokeTestSettings,
    {
        "SageMaker Endpoint State Change": EndpointChanged,
        "RolloutStarted": RolloutStarted,
        "DeploymentStalled": DeploymentStalled,
    },
)
def handler(
    event: "Envelope[EndpointChanged | DeploymentEvent]", services: Services[SmokeTestSettings]
) -> StepOutcome:
    """Judge the rollout in flight at the endpoint's site, if there is one."""
    match event.detail:
        case EndpointChanged() as changed:
            site = services.site_of(changed.endpoint_name)
        case moved:
            site = moved.site
    if site is None:
        return StepOutcome.NOT_OUR_ENDPOINT
    deployment = services.ledger.state(site).in_flight
    if deployment is None or deployment.state is not DeploymentState.ROLLING:
        return StepOutcome.NOTHING_IN_FLIGHT
    set_log_context(
        deployment.correlation_id,
        site=site,
        release=deployment.candidate.release,
        deployment=deployment.number,
    )
    return attempt(deployment, lambda: _judge(deployment, services), services)


def _judge(deployment: Deployment, services: Services[SmokeTestSettings]) -> StepOutcome:
    name = endpoint_name(services.settings.endpoint_prefix, deployment.site)
    endpoint = services.sagemaker.endpoint(name)
    outcome = judge(
        endpoint,
        deployment.endpoint_config or "",
        requested_at=deployment.changed_at,
        now=services.now(),
    )
    match outcome:
        case RolloutStatus.IN_PROGRESS:
            return StepOutcome.STILL_CHANGING
        case RolloutStatus.UNSETTLED:
            raise RetryLaterError(f"endpoint {name} does not show the requested change yet")
        case RolloutStatus.ARRIVED:
            instances = endpoint.instances if endpoint else 1
            return _test(deployment, name, instances, services)
        case RolloutStatus.FELL_BACK:
            return _fail(
                deployment, f"SageMaker took the update back{_because(endpoint)}", services
            )
        case RolloutStatus.DEAD:
            return _fail(deployment, f"the endpoint did not come up{_because(endpoint)}", services)
        case RolloutStatus.MIXED:
            reason = (
                f"the update failed and so did SageMaker's rollback{_because(endpoint)}. The fleet "
                "is mixed; nothing more is done until a person has looked."
            )
            services.commit(
                deployment.site, partial(frozen, number=deployment.number, reason=reason)
            )
            return StepOutcome.FROZEN


def _test(
    deployment: Deployment, endpoint: str, instances: int, services: Services[SmokeTestSettings]
) -> StepOutcome:
    release = services.artifacts.release(deployment.candidate.release)
    results = services.smoke_client.send(endpoint, smoke_requests(release, instances))
    report = judge_results(release, results, services.settings.smoke_latency_ms)
    if report.inconclusive:
        raise RetryLaterError(f"the smoke test of {endpoint} is inconclusive: {report.reason}")
    if not report.passed:
        services.commit(
            deployment.site,
            partial(verification_failed, number=deployment.number, reason=report.reason),
        )
        return StepOutcome.FAILED_SMOKE_TEST
    state = services.commit(
        deployment.site,
        partial(succeeded, number=deployment.number, latency_ms=report.latency_ms),
    )
    services.publish_champion(state)
    return StepOutcome.PASSED_SMOKE_TEST


def _fail(
    deployment: Deployment, reason: str, services: Services[SmokeTestSettings]
) -> StepOutcome:
    if may_repeat(deployment, reason, services.now()):
        services.commit(
            deployment.site, partial(rollout_repeated, number=deployment.number, error=reason)
        )
        return StepOutcome.REPEATED
    services.commit(deployment.site, partial(failed, number=deployment.number, reason=reason))
    return StepOutcome.FAILED


def _because(endpoint: EndpointDescription | None) -> str:
    if endpoint is None:
        return ": there is no such endpoint"
    return f": {endpoint.failure_reason}" if endpoint.failure_reason else ""
