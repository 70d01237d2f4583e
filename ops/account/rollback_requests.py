"""A person's request to roll back: into the ledger first, then onto the bus.

The event only wakes the function: if it is lost, or its rule is disabled, reconcile finds the
request in the ledger and announces it again.
"""

import getpass
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from botocore.exceptions import ClientError

from aws.event_publisher import BusEntry, EventPublisher, PublishingError
from events import names
from events.outbound import EventSource, RollbackRequested
from events.stack import Stack
from functions.adapters.artifacts import Artifacts
from functions.adapters.ledger import Ledger
from functions.adapters.sagemaker import SageMakerControlPlane
from functions.core.deployments import RollbackRequest, SiteState
from functions.core.rollbacks.requests import (
    release_to_leave,
    rollback_requested,
    why_not_first,
    why_outdated,
)
from functions.core.rollbacks.targets import Refusal, requested_rollback_target
from ops.account.session import AwsSession
from ops.errors import OpsError


class RollbackRequests:
    """Makes requests for rollbacks at one stage."""

    def __init__(self, aws: AwsSession, stack: Stack, ledger: Ledger, artifacts: Artifacts) -> None:
        self._aws = aws
        self._stack = stack
        self._ledger = ledger
        self._artifacts = artifacts

    def make(self, site: str, to: str | None, reason: str) -> str:
        """Request a rollback; returns the request's id.

        Raises:
            OpsError: it can't be done; nothing was requested.
        """
        state = self._ledger.state(site)
        request = RollbackRequest(
            id=uuid4().hex,
            to=self._target(state, to),
            leaves=release_to_leave(state),
            requested_by=getpass.getuser(),
            requested_at=datetime.now(UTC),
            reason=reason,
        )
        is_kept = self._keep(site, request)
        try:
            self._publish(site, request)
        except PublishingError as error:
            if not is_kept:
                raise OpsError(f"The rollback could not be requested: {error}.") from error
        return request.id

    def _target(self, state: SiteState, to: str | None) -> str:
        record = self._ledger.release(state.site, to) if to else None
        sagemaker = SageMakerControlPlane(self._aws.sagemaker)
        name = names.endpoint_name(self._stack.endpoint_prefix, state.site)
        target = requested_rollback_target(
            state, to, record, is_champion_served=sagemaker.drift(state, name) in ("", None)
        )
        if isinstance(target, Refusal):
            raise OpsError(f"Not rolled back: {target.reason}.")
        release = self._artifacts.available(target)
        if isinstance(release, str):
            raise OpsError(f"Not rolled back: {release}.")
        return target

    def _keep(self, site: str, request: RollbackRequest) -> bool:
        """Write the request to the ledger; False if whoever asks may not write there."""
        now = datetime.now(UTC)
        try:
            state = self._ledger.change(site, partial(rollback_requested, request=request), now)
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            return False
        if state.rollback_request == request:
            return True
        why = why_not_first(state, request, now) or why_outdated(state, request, now)
        reason = why.reason if why else f"{site} changed in the same moment; look and repeat"
        raise OpsError(f"Not rolled back: {reason}.")

    def _publish(self, site: str, request: RollbackRequest) -> None:
        event = RollbackRequested(
            site=site,
            correlation_id=request.id,
            to=request.to,
            requested_by=request.requested_by,
            reason=request.reason,
            request=request.id,
            leaves=request.leaves,
            requested_at=request.requested_at,
        )
        publisher = EventPublisher(self._aws.events, self._stack.bus, EventSource.OPERATOR.value)
        publisher.publish([BusEntry("RollbackRequested", event.model_dump_json())])
