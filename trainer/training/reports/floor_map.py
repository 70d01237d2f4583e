"""The floor as an SVG: each reference point, coloured by the mean error there.

It fits into any page, light or dark, and covers the floor's picture if there is one. Sites without
positions are drawn in reading order and coloured by the share of wrong answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from events.metrics_document import LocationFigures
from trainer.training.reading.site_description import Position
from trainer.training.reports.floor_plan import Picture
from trainer.training.reports.pages import page_templates

# ColorBrewer's RdYlBu in 5 classes: colour-blind readers distinguish them too.
_COLOURS = ("#2c7bb6", "#abd9e9", "#ffffbf", "#fdae61", "#d7191c")
_METRES = (2.0, 4.0, 6.0, 9.0)
_SHARES = (0.2, 0.4, 0.6, 0.8)
_PITCH = 34.0
_MARGIN = 14.0
_EDGE = _MARGIN + _PITCH / 2
_LEGEND = 54.0
_LEAST_WIDTH = 520.0
_MAX_SIDE = 1600.0
_BEACONS_NAMED_UP_TO = 40
_LABELS_UP_TO = 400
_COLUMNS_WITHOUT_POSITIONS = 15


@dataclass(frozen=True, slots=True)
class _Spot:
    """A location in drawing units, its origin top left."""

    x: float
    y: float
    label: str
    figures: str
    shade: int | None
    """Which of the colours; None if nothing was measured here."""


@dataclass(frozen=True, slots=True)
class _PlacedPicture:
    """The floor's picture in drawing units."""

    x: float
    y: float
    width: float
    height: float
    data_uri: str


def floor_map_svg(
    cells: Sequence[LocationFigures],
    beacons: Mapping[str, Position] | None = None,
    picture: Picture | None = None,
) -> Markup:
    """Draw the locations.

    Args:
        cells: with positions, or none of them with one; north (larger y) is up.
        beacons: where they hang, in metres, if the site's description has it.
        picture: drawn under the locations; only where they have positions.

    Returns:
        One ``<svg>`` element with its own style, safe to put into any page.
    """
    points = [(cell.x, cell.y) for cell in cells if cell.x is not None and cell.y is not None]
    placed = bool(cells) and len(points) == len(cells)
    shown = dict(beacons or {}) if placed else {}
    scale = _Scale.around(points, shown.values(), picture) if placed else None
    at = [scale.at(*point) for point in points] if scale else _in_reading_order(len(cells))
    right, bottom = scale.corner if scale else _corner(at)
    limits, form = (_METRES, "{:g} m") if placed else (_SHARES, "{:.0%}")
    drawing = (
        page_templates("trainer.training.reports")
        .get_template("floor_map.svg.j2")
        .render(
            width=max(right, _LEAST_WIDTH),
            height=bottom + _LEGEND,
            what="Mean error in metres" if placed else "Share of wrong answers",
            colours=_COLOURS,
            side=_PITCH - 3,
            named=len(cells) <= _LABELS_UP_TO,
            spots=[
                _Spot(x, y, cell.label, _figures(cell), _shade(cell, limits, placed=placed))
                for cell, (x, y) in zip(cells, at, strict=True)
            ],
            beacons=[(name, *scale.at(*place)) for name, place in shown.items()] if scale else [],
            beacons_named_up_to=_BEACONS_NAMED_UP_TO,
            picture=scale.place(picture) if scale and picture else None,
            margin=_MARGIN,
            legend=bottom + 8,
            classes=[
                *enumerate(
                    [
                        *(f"to {form.format(limit)}" for limit in limits),
                        f"over {form.format(limits[-1])}",
                    ]
                ),
                (None, "not measured"),
            ],
        )
    )
    return Markup(drawing)  # noqa: S704 - the template has escaped all that is not its own


@dataclass(frozen=True, slots=True)
class _Scale:
    """Converts metres to drawing units, within the part of the world that is shown."""

    west: float
    south: float
    east: float
    north: float
    units_per_m: float

    @classmethod
    def around(
        cls, points: Sequence[Position], beacons: Iterable[Position], picture: Picture | None
    ) -> "_Scale":
        """The scale at which everything fits and, if possible, neighbours do not overlap."""
        shown = [*points, *beacons, *(_corners(picture) if picture else ())]
        west, east = min(x for x, _ in shown), max(x for x, _ in shown)
        south, north = min(y for _, y in shown), max(y for _, y in shown)
        span = max(east - west, north - south, 1e-9)
        return cls(west, south, east, north, min(_PITCH / _pitch_m(points), _MAX_SIDE / span))

    @property
    def corner(self) -> Position:
        """Right and lower edge of the drawing."""
        return _corner([self.at(self.east, self.south)])

    def at(self, x: float, y: float) -> Position:
        """A place in drawing units."""
        return (
            _EDGE + (x - self.west) * self.units_per_m,
            _EDGE + (self.north - y) * self.units_per_m,
        )

    def place(self, picture: Picture) -> _PlacedPicture:
        """The picture where it belongs."""
        (west, south), (east, north) = _corners(picture)
        (left, top), (right, bottom) = self.at(west, north), self.at(east, south)
        return _PlacedPicture(left, top, right - left, bottom - top, picture.data_uri)


def _corners(picture: Picture) -> tuple[Position, Position]:
    place = picture.place
    return (place.west, place.south), (place.west + place.width_m, place.south + place.height_m)


def _corner(at: Sequence[Position]) -> Position:
    return (
        max([x for x, _ in at], default=0.0) + _EDGE,
        max([y for _, y in at], default=0.0) + _EDGE,
    )


def _pitch_m(points: Sequence[Position]) -> float:
    """The least step between columns or rows of the grid, in metres."""
    steps = []
    for axis in (0, 1):
        along = sorted({round(point[axis], 3) for point in points})
        steps += [after - before for before, after in pairwise(along)]
    return min(steps, default=1.0)


def _in_reading_order(count: int) -> list[Position]:
    return [
        (
            _EDGE + place % _COLUMNS_WITHOUT_POSITIONS * _PITCH,
            _EDGE + place // _COLUMNS_WITHOUT_POSITIONS * _PITCH,
        )
        for place in range(count)
    ]


def _shade(cell: LocationFigures, limits: Sequence[float], *, placed: bool) -> int | None:
    wrong = None if cell.exact is None else 1.0 - cell.exact
    value = cell.mean_error_m if placed else wrong
    return None if value is None else sum(value > limit for limit in limits)


def _figures(cell: LocationFigures) -> str:
    if cell.exact is None:
        return "no row held out here"
    metres = "" if cell.mean_error_m is None else f", {cell.mean_error_m:.1f} m off on average"
    return f"{cell.rows} rows held out, {cell.exact:.0%} exact{metres}"
