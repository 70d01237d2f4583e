"""Lambda, every five minutes: find and announce what lost events did not bring about.

Events may be lost, and steps may die at each attempt. A release in the bucket that is not
registered, and a deployment that does not move, are announced, which starts the step whose turn it
is. A deployment past its state's deadline ends here. ``champion.json``, a
projection of the ledger, is updated.
"""

from datetime import datetime, timedelta
from functools import partial

from events.inbound import Envelope, Tick
from events.names import endpoint_name, is_run_id
from events.outbound import DeploymentStalled, ReleaseFound, RollbackRequested
from functions.core.deadlines import is_overdue
from functions.core.deployments import Change, Deployment, DeploymentState, SiteState
from functions.core.endpoint_drift import drift_observed
from functions.core.outcomes import StepOutcome, Summary
from functions.core.releases import GateVerdict, ReleaseRecord
from functions.core.rollout import IN_PROGRESS, EndpointDescription
from functions.core.transitions import fill_slot, gave_up
from functions.entry import handles
from functions.services import Services
from functions.settings import ReconcileSettings

STALLED = timedelta(minutes=3)
"""A deployment that has not changed for so long is announced, unless its endpoint is changing."""


@handles(ReconcileSettings, {"Scheduled Event": Tick})
def handler(event: "Envelope[Tick]", services: Services[ReconcileSettings]) -> Summary:
    """Look at every site once."""
    found = sum(_find_releases(site, event.id, services) for site in services.artifacts.sites())
    stalled = sum(_look_at(site, event.id, services) for site in services.ledger.sites())
    return Summary(
        StepOutcome.RECONCILED,
        f"{found} releases found, {stalled} deployments stalled",
        {"ReleasesFound": found, "DeploymentsStalled": stalled},
    )


def _find_releases(site: str, correlation_id: str, services: Services[ReconcileSettings]) -> int:
    known = services.ledger.releases(site)
    found = [*_unregistered(site, known, services), *_not_opened(site, known, services)]
    for run in found:
        services.announce(ReleaseFound(site=site, correlation_id=correlation_id, release=run))
    return len(found)


def _unregistered(
    site: str, known: list[ReleaseRecord], services: Services[ReconcileSettings]
) -> list[str]:
    """Releases in the bucket that are not registered."""
    registered = {record.run_id for record in known}
    runs = [
        run for run in services.artifacts.runs(site) if run not in registered and is_run_id(run)
    ]
    return [run for run in runs if services.artifacts.manifest(run)]


def _not_opened(
    site: str, known: list[ReleaseRecord], services: Services[ReconcileSettings]
) -> list[str]:
    """Approved releases, and the newest registered one, if no deployment was opened for them.

    An older registered one would be superseded at once.
    """
    registered = [record for record in known if record.verdict is GateVerdict.REGISTERED]
    newest = max(
        registered, key=lambda record: record.created_at or record.arrived_at, default=None
    )
    due = [record for record in known if record.verdict is GateVerdict.APPROVED]
    due += [newest] if newest is not None else []
    return [
        record.run_id
        for record in due
        if record.deployment_trigger is not None
        and not services.ledger.opened_by(site, record.deployment_trigger)
    ]


def _look_at(site: str, correlation_id: str, services: Services[ReconcileSettings]) -> bool:
    """Compare a site's ledger, pointer and endpoint; True if its deployment has stalled."""
    # Even without a change this publishes what a step that died left in the outbox.
    state = services.commit(site, _end_overdue)
    services.publish_champion(state)
    _repeat_rollback_request(state, services)
    name = endpoint_name(services.settings.endpoint_prefix, site)
    if state.in_flight is not None:
        return _announce_stalled(state.in_flight, services.sagemaker.endpoint(name), services)
    what = services.sagemaker.drift(state, name)
    services.commit(
        site, partial(drift_observed, what=what, endpoint=name, correlation_id=correlation_id)
    )
    return False


def _announce_stalled(
    deployment: Deployment,
    endpoint: EndpointDescription | None,
    services: Services[ReconcileSettings],
) -> bool:
    # While SageMaker is at work, a bake included, its own event will follow.
    is_changing = endpoint is not None and endpoint.status in IN_PROGRESS
    is_waiting_for_it = deployment.state is not DeploymentState.VERIFICATION_FAILED
    if services.now() - deployment.changed_at < STALLED or (is_changing and is_waiting_for_it):
        return False
    services.announce(
        DeploymentStalled(
            site=deployment.site,
            correlation_id=deployment.correlation_id,
            release=deployment.candidate.release,
            digest=deployment.candidate.digest,
            deployment=deployment.number,
            cause=deployment.cause,
            state=deployment.state.value,
            seconds=(services.now() - deployment.changed_at).total_seconds(),
            last_error=deployment.last_error,
            attempts=deployment.attempts,
        )
    )
    return True


def _repeat_rollback_request(state: SiteState, services: Services[ReconcileSettings]) -> None:
    """Announce a rollback that a person requested and no step has taken up.

    Announced here, it is no longer held to the time of the person's own event; it is refused once
    it is too old.
    """
    request = state.rollback_request
    if request is None or services.now() - request.requested_at < STALLED:
        return
    services.announce(
        RollbackRequested(
            site=state.site,
            correlation_id=request.id,
            to=request.to,
            requested_by=request.requested_by,
            reason=request.reason,
            request=request.id,
            leaves=request.leaves,
            requested_at=request.requested_at,
        )
    )


def _end_overdue(state: SiteState, now: datetime) -> Change:
    deployment = state.in_flight
    if deployment is None:
        return fill_slot(state, now)
    if not is_overdue(deployment, now):
        return Change(state)
    hours = (now - deployment.changed_at).total_seconds() / 3600
    reason = f"it did not get beyond {deployment.state.value} in {hours:.1f} h"
    if deployment.last_error:
        reason += f"; last error: {deployment.last_error}"
    return gave_up(state, now, deployment.number, reason)
