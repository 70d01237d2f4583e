"""What a site demands of a candidate before it goes live by itself.

The stack writes one parameter with the stage's policy and one for each site that differs. The
defaults protect: a site that nobody has configured holds worse candidates back.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Metres = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GateMode(StrEnum):
    """What follows from the gate's judgement."""

    ENFORCE = "enforce"
    """A candidate that is not good enough is held; any other goes live by itself."""
    APPROVE = "approve"
    """Every candidate waits for a person."""
    REPORT = "report"
    """Every candidate goes live; the judgement is only recorded."""


class SitePolicy(BaseModel):
    """One site's demands."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    gate: GateMode = GateMode.ENFORCE
    margin_m: Metres = 0.5
    """By how much a candidate's mean error may exceed the champion's, in metres."""
    margin_hit_rate: Share = 0.05
    """By how much its hit rate may fall short of the champion's; for sites with labels only."""
    max_decline: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    """By what share the figure of a candidate's own hold-out may be worse than the champion's was,
    beyond the margin. The rows differ, so this is wide; it finds surveys that can't be learnt."""
    max_mean_error_m: Metres = 8.0
    """Floor: the highest mean error."""
    min_hit_rate: Share = 0.1
    """Floor: the lowest hit rate; for sites with labels only."""
    min_coverage: Share = 0.25
    """Floor: the lowest share of the described locations that the surveys visited, where known."""
    min_held_out_rows: Annotated[int, Field(ge=1)] = 10
    """Floor: the fewest rows that the figures may be measured on."""
    min_beacons: Annotated[int, Field(ge=1)] = 2
    """Floor: the fewest beacons, where known."""


def policy_parameter(stage: str, site: str | None = None) -> str:
    """The name of the SSM parameter with a site's policy as JSON, or with the stage's own."""
    name = f"/rssi-mlops/{stage}/site-policy"
    return name if site is None else f"{name}/{site}"
