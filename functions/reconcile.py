"""Lambda, every five minutes: find what events did not bring about, and say so.

Events may be lost and steps may die at each of their attempts; what is there tells. A release in
the bucket that nobody registered and a deployment that does not move are announced, which wakes
the step whose turn it is. Nothing is decided here; only ``champion.json``, which repeats what the
ledger says, is brought up to it.
"""

from datetime import timedelta

from events.inbound import Envelope, Tick
from events.names import is_run_id
from events.outbound import DeploymentStalled, ReleaseFound
from functions.core.deployments import Change
from functions.core.outcomes import StepOutcome, Summary
from functions.core.releases import GateVerdict, ReleaseRecord
from functions.entry import handles
from functions.services import Services
from functions.settings import ReconcileSettings

STALLED = timedelta(minutes=3)
"""How long a deployment may stand still before it is looked at again. An endpoint that is still
changing after that is only asked once more, which does no harm."""


@handles(ReconcileSettings, {"Scheduled Event": Tick})
def handler(event: "Envelope[Tick]", services: Services[ReconcileSettings]) -> Summary:
    """Look at every site once."""
    found = sum(_find_releases(site, event.id, services) for site in services.artifacts.sites())
    stalled = sum(_wake(site, services) for site in services.ledger.sites())
    return Summary(
        StepOutcome.RECONCILED,
        f"{found} releases found, {stalled} deployments stalled",
        {"ReleasesFound": found, "DeploymentsStalled": stalled},
    )


def _find_releases(site: str, correlation_id: str, services: Services[ReconcileSettings]) -> int:
    known = services.ledger.releases(site)
    found = [*_unheard(site, known, services), *_unasked(site, known, services)]
    for run in found:
        services.announce(ReleaseFound(site=site, correlation_id=correlation_id, release=run))
    return len(found)


def _unheard(
    site: str, known: list[ReleaseRecord], services: Services[ReconcileSettings]
) -> list[str]:
    """Releases in the bucket that nobody registered."""
    registered = {record.run_id for record in known}
    runs = [
        run for run in services.artifacts.runs(site) if run not in registered and is_run_id(run)
    ]
    return [run for run in runs if services.artifacts.manifest(run)]


def _unasked(
    site: str, known: list[ReleaseRecord], services: Services[ReconcileSettings]
) -> list[str]:
    """The newest registered release, if no deployment was ever opened for it.

    An older one would be superseded at once.
    """
    registered = [record for record in known if record.verdict is GateVerdict.REGISTERED]
    newest = max(
        registered, key=lambda record: record.created_at or record.arrived_at, default=None
    )
    if newest is None or newest.trigger is None:
        return []
    return [] if services.ledger.opened_by(site, newest.trigger) else [newest.run_id]


def _wake(site: str, services: Services[ReconcileSettings]) -> bool:
    # A change of nothing publishes what a step that died left in the outbox.
    state = services.commit(site, lambda state, _: Change(state))
    services.publish_champion(state)
    deployment = state.in_flight
    if deployment is None or services.now() - deployment.changed_at < STALLED:
        return False
    services.announce(
        DeploymentStalled(
            site=site,
            correlation_id=deployment.correlation_id,
            release=deployment.candidate.release,
            digest=deployment.candidate.digest,
            deployment=deployment.number,
            cause=deployment.cause,
            state=deployment.state.value,
            seconds=(services.now() - deployment.changed_at).total_seconds(),
        )
    )
    return True
