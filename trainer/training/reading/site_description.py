"""Where a site's reference points lie.

What may go wrong: positions guessed from labels that are not on the grid. The grid rule therefore
counts only if every label obeys it; otherwise the site has plain labels and no metres.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from events.names import Site as SiteName

Position = tuple[float, float]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
GRID_CELL_M = 3.048
"""10 ft, the grid of the UCI library data set (its description in the UCI repository)."""


class Thresholds(BaseModel):
    """How much of a survey may be bad before all of it is set aside; shares of its rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    malformed_rows: Share = 0.0
    """Rows that the export broke: by default none, as nobody knows what else it broke."""
    implausible_rows: Share = 0.02
    """Rows that are no measurement: readings out of range, positions that contradict labels."""
    silent_rows: Share = 0.5
    """Labelled rows that hear no beacon; above it the beacons are off, or the columns wrong."""


class FloorPlan(BaseModel):
    """A picture of the floor that lies beside the description, and where it belongs; metres."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Annotated[str, StringConstraints(pattern=r"^[^/\\]{1,255}$")]
    """A file's name, next to ``site.json``: PNG, JPEG or SVG. Every model card carries the picture,
    so it goes wherever releases go."""
    west: Coordinate = 0.0
    south: Coordinate = 0.0
    width_m: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]
    height_m: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]


class SiteDescription(BaseModel):
    """A place and its reference points; lengths in metres. ``site.json`` holds one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: SiteName = "site"
    cell_size_m: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = GRID_CELL_M
    label_pattern: str = r"(?P<column>[A-Za-z]+)(?P<row>[0-9]+)"
    """What a label on the grid looks like: the letters count columns, the digits rows."""
    positions: dict[str, Position] = Field(default_factory=dict)
    """Metres by label, where the grid rule does not hold; they win over it."""
    beacons: dict[str, Position] = Field(default_factory=dict)
    """Metres by beacon, for the map of the model card; the model does not need them."""
    floor_plan: FloorPlan | None = None
    ignored_columns: tuple[str, ...] = ()
    """Columns of the site's surveys that are neither beacons nor known by name."""
    thresholds: Thresholds = Thresholds()

    @field_validator("label_pattern")
    @classmethod
    def _names_column_and_row(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"label_pattern is no regular expression: {error}") from error
        if not {"column", "row"} <= set(groups):
            raise ValueError("label_pattern has to have groups named column and row")
        return pattern

    def grid_position(self, label: str) -> Position | None:
        """Where the grid rule puts a label: ``A0`` at the origin, ``B0`` one cell along x.

        Letters count as in a spreadsheet (A to Z, AA, AB, ...). None if the label is not like that.
        """
        match = re.fullmatch(self.label_pattern, label)
        if match is None:
            return None
        column = 0
        for letter in match["column"].upper():
            column = column * 26 + ord(letter) - ord("A") + 1
        return ((column - 1) * self.cell_size_m, int(match["row"]) * self.cell_size_m)
