"""Lambda: the endpoint changed, or was asked to; find out what became of the rollout.

A rollout succeeded when the endpoint is in service on the configuration that was asked for and
the container that answers is the release, gives the recorded answers, and gives them in time.
Anything else is a failure; no answer is never a success.
"""

import json
from functools import partial

from events.inbound import EndpointChanged, Envelope
from events.manifests import Release
from events.names import endpoint_name
from events.outbound import DeploymentEvent, DeploymentStalled, RolloutStarted
from functions.adapters.sagemaker import NoAnswerError
from functions.core.deployments import (
    Deployment,
    DeploymentState,
    failed,
    frozen,
    succeeded,
    unfit,
)
from functions.core.errors import RetryLaterError
from functions.core.rollout import EndpointView, Outcome, judge
from functions.core.smoke import SmokeReport, judge_answers
from functions.entry import follow, handles
from functions.services import Desk

SINGLE_REQUESTS = 5


@handles(
    {
        "SageMaker Endpoint State Change": EndpointChanged,
        "RolloutStarted": RolloutStarted,
        "DeploymentStalled": DeploymentStalled,
    }
)
def handler(event: "Envelope[EndpointChanged | DeploymentEvent]", desk: Desk) -> str:
    """Judge the rollout in flight at the endpoint's site, if there is one."""
    match event.detail:
        case EndpointChanged() as changed:
            site = desk.site_of(changed.endpoint_name)
        case moved:
            site = moved.site
    if site is None:
        return "not our endpoint"
    deployment = desk.ledger.state(site).in_flight
    if deployment is None or deployment.state is not DeploymentState.ROLLING:
        return "nothing in flight"
    follow(
        deployment.correlation_id,
        site=site,
        release=deployment.candidate.release,
        deployment=deployment.number,
    )
    return _judge(deployment, desk)


def _judge(deployment: Deployment, desk: Desk) -> str:
    name = endpoint_name(desk.settings.endpoint_prefix, deployment.site)
    endpoint = desk.sagemaker.endpoint(name)
    outcome = judge(
        endpoint, deployment.endpoint_config or "", asked_at=deployment.changed_at, now=desk.now()
    )
    match outcome:
        case Outcome.IN_PROGRESS:
            return "still changing"
        case Outcome.UNSETTLED:
            raise RetryLaterError(f"endpoint {name} does not show the change that was asked for")
        case Outcome.ARRIVED:
            return _test(deployment, name, desk)
        case Outcome.FELL_BACK:
            return _fail(deployment, f"SageMaker took the update back{_because(endpoint)}", desk)
        case Outcome.DEAD:
            return _fail(deployment, f"the endpoint did not come up{_because(endpoint)}", desk)
        case Outcome.MIXED:
            reason = (
                f"the update failed and so did SageMaker's way back{_because(endpoint)}. The fleet "
                "is mixed; nothing more is done until a person has looked."
            )
            desk.commit(deployment.site, partial(frozen, number=deployment.number, reason=reason))
            return "frozen"


def _test(deployment: Deployment, endpoint: str, desk: Desk) -> str:
    release = desk.artifacts.release(deployment.candidate.release)
    report = _ask(release, endpoint, desk)
    if not report.passed:
        desk.commit(deployment.site, partial(unfit, number=deployment.number, reason=report.reason))
        return "failed the smoke test"
    state = desk.commit(
        deployment.site,
        partial(succeeded, number=deployment.number, latency_ms=report.latency_ms),
    )
    desk.show_champion(state)
    return "passed the smoke test"


def _ask(release: Release, endpoint: str, desk: Desk) -> SmokeReport:
    rows = [case.rssi for case in release.smoke]
    try:
        batch = desk.invoker.ask(endpoint, _body(rows))
        single = [desk.invoker.ask(endpoint, _body([row])) for row in rows[:SINGLE_REQUESTS]]
    except NoAnswerError as error:
        return SmokeReport((str(error),), latency_ms=0.0)
    return judge_answers(
        release,
        batch=batch.answer,
        single=[timed.answer for timed in single],
        latencies_ms=[timed.milliseconds for timed in single],
        latency_bound_ms=desk.settings.smoke_latency_ms,
    )


def _body(rows: list[dict[str, float]]) -> bytes:
    return json.dumps({"instances": rows}).encode()


def _fail(deployment: Deployment, reason: str, desk: Desk) -> str:
    desk.commit(deployment.site, partial(failed, number=deployment.number, reason=reason))
    return "failed"


def _because(endpoint: EndpointView | None) -> str:
    if endpoint is None:
        return ": there is no such endpoint"
    return f": {endpoint.failure_reason}" if endpoint.failure_reason else ""
