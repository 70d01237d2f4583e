"""A site's description: where its reference points lie, and how good its surveys have to be.

Labels on a grid yield positions, but only if every label fits the grid; otherwise the site has
labels and no metres.
"""

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from events.names import Site as SiteName

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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


class SurveyColumns(BaseModel):
    """Which column of the site's surveys plays which role, where its name does not tell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    location: str | None = None
    """The label of the reference point."""
    x: str | None = None
    y: str | None = None
    floor: str | None = None
    """The floor; with the building it tells places apart that have the same x and y, or label."""
    building: str | None = None
    time: str | None = None
    """When the row was taken; never a feature."""
    beacon: str | None = None
    """The beacon's name, in files with one reading per row."""
    rssi: str | None = None
    """The reading in dBm, in files with one reading per row."""

    @property
    def by_role(self) -> dict[str, str]:
        """The named columns, by role."""
        return {role: name for role, name in self if name is not None}


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
    """Columns of the site's surveys that are no beacons, besides those known by name: names or
    patterns such as ``* RTT*``, in any case."""
    columns: SurveyColumns = SurveyColumns()
    not_heard: tuple[float, ...] = ()
    """Numbers that mean "not heard" in the site's surveys, besides the usual ones."""
    unit: Literal["m", "cm", "ft", "degrees"] = "m"
    """What x and y of the surveys are in; degrees of longitude and latitude are projected."""
    delimiter: Annotated[str, StringConstraints(pattern=r"^[,;\t| ]$")] | None = None
    """Between the columns; found by looking if it is not given."""
    decimal: Literal[".", ","] | None = None
    """The decimal mark; found by looking if it is not given."""
    thresholds: Thresholds = Thresholds()

    def identity(self) -> str:
        """All that names a training, as JSON; what is at its default since it came is left out."""
        later = {"columns", "not_heard", "unit", "delimiter", "decimal"}
        return self.model_dump_json(exclude={name for name in later if self._is_default(name)})

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == type(self).model_fields[name].default)

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


def parse_site(body: bytes | str) -> SiteDescription:
    """The site that the content of a ``site.json`` describes.

    Raises:
        InvalidSiteError: it does not; the text says where, what is allowed and what may be meant.
    """
    try:
        return SiteDescription.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(_in_words(problem) for problem in error.errors())
        raise InvalidSiteError(f"{problems}.") from error


class InvalidSiteError(ValueError):
    """The content of a ``site.json`` describes no site."""


def _in_words(problem: "ErrorDetails") -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        key, known = str(problem["loc"][-1]), _keys_beside(problem["loc"])
        near = get_close_matches(key.lower(), known, 1)
        meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"there is no key {place!r}; {meant}"
    if problem["type"] == "json_invalid":
        return f"it is no JSON ({problem['ctx']['error']})"
    return f"{place or 'the document'}: {problem['msg'].removeprefix('Value error, ')}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that stand where the last part of the location does."""
    model: type[BaseModel] = SiteDescription
    for part in location[:-1]:
        nested = _NESTED.get(str(part))
        if nested is None:
            break
        model = nested
    return sorted(model.model_fields)


_NESTED: dict[str, type[BaseModel]] = {
    "columns": SurveyColumns,
    "floor_plan": FloorPlan,
    "thresholds": Thresholds,
}
