"""What the demonstration found, as it is written to summary.json."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from events.metrics import Metrics


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)


class Act(_Part):
    """One act: whether it showed what it should, and what it showed."""

    name: str
    ok: bool
    seconds: float
    showed: dict[str, JsonValue]
    problem: str | None = None


class ReleaseSummary(_Part):
    """A release that was made on the way."""

    run_id: str
    digest: str
    surveys: tuple[str, ...]
    metrics: Metrics


class EventSummary(_Part):
    """One event, as teams would have heard of it."""

    time: AwareDatetime
    detail_type: str = Field(alias="detail-type")
    site: str | None
    release: str | None
    detail: dict[str, JsonValue]


class Summary(_Part):
    """The whole demonstration."""

    ok: bool
    data: str
    acts: tuple[Act, ...]
    releases: tuple[ReleaseSummary, ...]
    events: tuple[EventSummary, ...]
    drop_to_live_s: tuple[float, ...]
