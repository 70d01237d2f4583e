"""What the ledger remembers of a release."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from events.base import Contract
from events.manifests import Text
from events.metrics import Metrics
from events.names import Digest, RunId, Site
from events.triggers import Trigger


class GateVerdict(StrEnum):
    """What the gate said of a release."""

    REGISTERED = "registered"
    REJECTED = "rejected"


class ReleaseRecord(Contract):
    """A release that arrived, and what the gate said of it."""

    site: Site
    run_id: RunId
    verdict: Annotated[GateVerdict, Field(alias="standing")]
    arrived_at: AwareDatetime
    digest: Digest | None = None
    created_at: AwareDatetime | None = None
    snapshot: Digest | None = None
    trigger: Trigger | None = None
    """What it arrived by; arriving by another one later is a redeployment."""
    surveys: int = 0
    metrics: Metrics | None = None
    correlation_id: Text | None = None
    reason: str = ""
