"""An event on a bus, in the envelope that EventBridge delivers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from ops.local.gateway.protocol import JsonObject
from ops.local.settings import CloudSettings


@dataclass(frozen=True, slots=True)
class BusEvent:
    """One event; ``time`` is a text because services write it differently."""

    source: str
    detail_type: str
    detail: JsonObject
    account: str
    region: str
    time: str
    resources: Sequence[str] = ()
    id: str = field(default_factory=lambda: str(uuid4()))

    def as_json(self) -> JsonObject:
        """The event that rules match and targets get."""
        return {
            "version": "0",
            "id": self.id,
            "detail-type": self.detail_type,
            "source": self.source,
            "account": self.account,
            "time": self.time,
            "region": self.region,
            "resources": list(self.resources),
            "detail": self.detail,
        }


def bus_event(
    settings: CloudSettings,
    source: str,
    detail_type: str,
    detail: JsonObject,
    resources: Sequence[str] = (),
    time: str | None = None,
) -> BusEvent:
    """An event of this account and region; ``time`` defaults to now."""
    return BusEvent(
        source=source,
        detail_type=detail_type,
        detail=detail,
        account=settings.account_id,
        region=settings.region,
        time=time or utc_text(datetime.now(UTC)),
        resources=resources,
    )


def utc_text(moment: datetime) -> str:
    """A moment in EventBridge's format: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
