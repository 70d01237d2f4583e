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
    """The gate's verdict on a release; the values are stored in ledgers."""

    REGISTERED = "registered"
    REJECTED = "rejected"


class ReleaseRecord(Contract):
    """A release that arrived, with the gate's verdict."""

    site: Site
    run_id: RunId
    verdict: Annotated[GateVerdict, Field(alias="standing")]
    arrived_at: AwareDatetime
    digest: Digest | None = None
    created_at: AwareDatetime | None = None
    snapshot: Digest | None = None
    trigger: Trigger | None = None
    """The trigger of its first arrival; a later one with another trigger is a redeployment."""
    surveys: int = 0
    metrics: Metrics | None = None
    correlation_id: Text | None = None
    reason: str = ""
