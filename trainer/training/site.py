"""Where a site's reference points lie.

What may go wrong: positions guessed from labels that are not on the grid. The grid rule therefore
counts only if every label obeys it; otherwise the site has plain labels and no metres.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from events.names import Site as SiteName

Position = tuple[float, float]
GRID_CELL_M = 3.048
"""10 ft, the grid of the UCI library data set (its description in the UCI repository)."""


class Site(BaseModel):
    """A place and its reference points; lengths in metres."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: SiteName = "site"
    cell_size_m: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = GRID_CELL_M
    label_pattern: str = r"(?P<column>[A-Za-z]+)(?P<row>[0-9]+)"
    """What a label on the grid looks like: the letters count columns, the digits rows."""
    positions: dict[str, Position] = Field(default_factory=dict)
    """Metres by label, where the grid rule does not hold; they win over it."""

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
