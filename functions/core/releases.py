"""What the ledger remembers of a release."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from events.base import Contract
from events.judgement import GateJudgement
from events.manifests import Text
from events.metrics import Metrics
from events.names import Digest, RunId, Site
from events.triggers import Trigger


class GateVerdict(StrEnum):
    """The gate's verdict on a release; the values are stored in ledgers."""

    REGISTERED = "registered"
    """It is sound, and good enough to go live by itself."""
    REJECTED = "rejected"
    """It is not what its manifest says; the reason is in the record."""
    HELD = "held"
    """It is sound, and not good enough to go live by itself."""
    AWAITS_APPROVAL = "awaits approval"
    """It is sound, and the site wants a person to decide."""
    APPROVED = "approved"
    """A person let it through."""
    DECLINED = "declined"
    """A person decided that it never goes live."""

    @property
    def is_undecided(self) -> bool:
        """Whether a person may still approve or reject the release."""
        return self in (GateVerdict.HELD, GateVerdict.AWAITS_APPROVAL)

    @property
    def may_deploy(self) -> bool:
        """Whether the release may go live."""
        return self in (GateVerdict.REGISTERED, GateVerdict.APPROVED)


class Decision(Contract):
    """What a person decided about a held release."""

    id: Text
    """The id of the event that requested it: the same event may come again."""
    by: Text
    at: AwareDatetime
    reason: str = ""


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
    """Why it was rejected or held."""
    judgement: GateJudgement | None = None
    """What the champion gate found; None in records from before there was one."""
    decision: Decision | None = None
    """Of an approved or declined release."""

    @property
    def deployment_trigger(self) -> Trigger | None:
        """What opens its first deployment; None while the release may not go live."""
        if self.verdict is GateVerdict.APPROVED:
            return Trigger.approval(self.run_id)
        return self.trigger if self.verdict is GateVerdict.REGISTERED else None
