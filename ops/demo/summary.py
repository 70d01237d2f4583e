"""The results of the demonstration, as written to summary.json."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from events.metrics import Metrics


class SummaryModel(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)


class ActResult(SummaryModel):
    """One act: whether it ended as expected, and the evidence."""

    name: str
    ok: bool
    seconds: float
    evidence: dict[str, JsonValue] = Field(alias="showed")
    problem: str | None = None


class ReleaseSummary(SummaryModel):
    """A release that an act made."""

    run_id: str
    digest: str
    surveys: tuple[str, ...]
    metrics: Metrics


class EventSummary(SummaryModel):
    """One event, as subscribers receive it."""

    time: AwareDatetime
    detail_type: str = Field(alias="detail-type")
    site: str | None
    release: str | None
    detail: dict[str, JsonValue]


class DemoSummary(SummaryModel):
    """The whole demonstration."""

    ok: bool
    data: str
    acts: tuple[ActResult, ...]
    releases: tuple[ReleaseSummary, ...]
    events: tuple[EventSummary, ...]
    drop_to_live_s: tuple[float, ...]
