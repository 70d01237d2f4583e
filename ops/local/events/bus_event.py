"""The envelope of an event on a bus, as EventBridge delivers it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from ops.local.gateway.protocol import JsonObject
from ops.local.settings import CloudSettings


@dataclass(frozen=True, slots=True)
class BusEvent:
    """One event; ``time`` is a text because services disagree on its form."""

    source: str
    detail_type: str
    detail: JsonObject
    account: str
    region: str
    time: str
    resources: Sequence[str] = ()
    id: str = field(default_factory=lambda: str(uuid4()))

    def as_json(self) -> JsonObject:
        """The event as rules match it and targets get it."""
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
    """An event of this account and region, of now unless ``time`` says otherwise."""
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
    """A moment as EventBridge writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
