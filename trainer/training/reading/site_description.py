"""A site's description: where its reference points lie, and how good its surveys have to be.

Labels on a grid yield positions, but only if every label fits the grid; otherwise the site has
labels and no metres.
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
    """Shares of bad rows above which a survey is quarantined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    malformed_rows: Share = 0.0
    """Rows that the export broke; by default none, since it may have broken others unnoticed."""
    implausible_rows: Share = 0.02
    """Rows that are no measurement: readings out of range, positions that contradict labels."""
    silent_rows: Share = 0.5
    """Labelled rows that hear no beacon; if there are more, beacons are off or columns wrong."""


class FloorPlan(BaseModel):
    """A picture of the floor, stored next to the description, and its extent in metres."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Annotated[str, StringConstraints(pattern=r"^[^/\\]{1,255}$")]
    """Name of a PNG, JPEG or SVG file next to ``site.json``. Every model card includes the picture,
    so it is published wherever releases are."""
    west: Coordinate = 0.0
    south: Coordinate = 0.0
    width_m: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]
    height_m: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]


class SiteDescription(BaseModel):
    """A site and its reference points; lengths in metres. The content of ``site.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: SiteName = "site"
    cell_size_m: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = GRID_CELL_M
    label_pattern: str = r"(?P<column>[A-Za-z]+)(?P<row>[0-9]+)"
    """Pattern of labels on the grid: the letters count columns, the digits rows."""
    positions: dict[str, Position] = Field(default_factory=dict)
    """Positions by label; they take precedence over the grid."""
    beacons: dict[str, Position] = Field(default_factory=dict)
    """Positions by beacon, for the map of the model card; the model does not need them."""
    floor_plan: FloorPlan | None = None
    ignored_columns: tuple[str, ...] = ()
    """Columns of the site's surveys that are no beacons, besides those known by name."""
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
        """The position of a label on the grid: ``A0`` at the origin, ``B0`` one cell along x.

        Letters count as in a spreadsheet (A to Z, AA, AB, ...). None for a label off the grid.
        """
        match = re.fullmatch(self.label_pattern, label)
        if match is None:
            return None
        column = 0
        for letter in match["column"].upper():
            column = column * 26 + ord(letter) - ord("A") + 1
        return ((column - 1) * self.cell_size_m, int(match["row"]) * self.cell_size_m)
