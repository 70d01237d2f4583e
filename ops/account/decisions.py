"""What an operator decides: approve or reject a held release, resume a paused site."""

import getpass
import time
from datetime import UTC, datetime, timedelta

from aws.event_publisher import BusEntry, EventPublisher, PublishingError
from events.outbound import (
    EventSource,
)
from events.requests import (
    ApprovalRequested,
    DecisionRequested,
    RejectionRequested,
    ResumeRequested,
)
from functions.core.candidates.decisions import why_not_decidable, why_not_resumable
from functions.core.releases import ReleaseRecord
from ops.account.stack_client import CLOCK_SLACK, POLL_S, StackClient
from ops.errors import OpsError

PATIENCE_S = 60.0
"""Longest wait for a decision to be recorded; the deployment that follows is not waited for."""


def approve(stack_client: StackClient, site: str, release: str, reason: str) -> ReleaseRecord:
    """Let a held release through; returns once that is recorded.

    Raises:
        OpsError: nothing can be decided about it, and why.
    """
    request = ApprovalRequested(
        site=site, release=release, requested_by=getpass.getuser(), reason=reason
    )
    return _decide(stack_client, request)


def reject(stack_client: StackClient, site: str, release: str, reason: str) -> ReleaseRecord:
    """End a held release; returns once that is recorded.

    Raises:
        OpsError: nothing can be decided about it, and why.
    """
    request = RejectionRequested(
        site=site, release=release, requested_by=getpass.getuser(), reason=reason
    )
    return _decide(stack_client, request)


def resume(stack_client: StackClient, site: str, reason: str) -> str | None:
    """End a site's pause; returns the release that is deployed now, None if none waited.

    Raises:
        OpsError: the site is not paused.
    """
    refusal = why_not_resumable(stack_client.ledger.state(site), None)
    if refusal is not None:
        raise OpsError(f"Not resumed: {refusal}.")
    request = ResumeRequested(site=site, requested_by=getpass.getuser(), reason=reason)
    since = datetime.now(UTC) - CLOCK_SLACK
    request_id = _publish(stack_client, request)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for event in stack_client.event_log.read(since, site):
            if event.detail_type == "SiteResumed" and event.text("correlation_id") == request_id:
                return event.text("release")
        time.sleep(POLL_S)
    raise OpsError(_not_recorded("resumption", site))


def _decide(
    stack_client: StackClient, request: ApprovalRequested | RejectionRequested
) -> ReleaseRecord:
    site, release = request.site, request.release
    refusal = why_not_decidable(site, release, stack_client.ledger.release(site, release))
    if refusal is not None:
        raise OpsError(f"Not decided: {refusal}.")
    request_id = _publish(stack_client, request)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        record = stack_client.ledger.release(site, release)
        if record is not None and record.decision is not None and record.decision.id == request_id:
            return record
        _raise_if_refused(stack_client, site, request_id)
        time.sleep(POLL_S)
    raise OpsError(_not_recorded("decision", site))


def _raise_if_refused(stack_client: StackClient, site: str, request_id: str) -> None:
    since = datetime.now(UTC) - timedelta(seconds=PATIENCE_S) - CLOCK_SLACK
    for event in stack_client.event_log.read(since, site):
        if event.detail_type == "DecisionRefused" and event.text("correlation_id") == request_id:
            raise OpsError(f"Not decided: {event.text('reason')}.")


def _publish(stack_client: StackClient, request: DecisionRequested) -> str:
    publisher = EventPublisher(
        stack_client.aws.events, stack_client.stack.bus, EventSource.OPERATOR.value
    )
    try:
        [event_id] = publisher.publish(
            [BusEntry(type(request).__name__, request.model_dump_json())]
        )
    except PublishingError as error:
        raise OpsError(f"Nothing was requested: {error}.") from error
    return event_id


def _not_recorded(what: str, site: str) -> str:
    return (
        f"The {what} was requested and is not recorded after {PATIENCE_S:.0f} s; "
        f"`rssi status --site {site}` shows whether it is later."
    )
