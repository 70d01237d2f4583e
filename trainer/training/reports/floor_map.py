"""The floor as an SVG: each reference point, coloured by how far off the answers there were.

It stands alone in any page, light or dark, over the floor's picture if there is one. What may go
wrong: sites without positions, which are drawn in reading order and coloured by wrong answers, and
labels that hold markup, which is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from trainer.training.evaluation.evaluate import CellError
from trainer.training.reading.site_description import Position
from trainer.training.reports.floor_plan import Picture

# ColorBrewer's RdYlBu in 5 classes: told apart by colour-blind readers too.
_COLOURS = ("#2c7bb6", "#abd9e9", "#ffffbf", "#fdae61", "#d7191c")
_METRES = (2.0, 4.0, 6.0, 9.0)
_SHARES = (0.2, 0.4, 0.6, 0.8)
_PITCH = 34.0
_MARGIN = 14.0
_LEGEND = 54.0
_MAX_SIDE = 1600.0
_BEACONS_NAMED_UP_TO = 40
_LABELS_UP_TO = 400
_COLUMNS_WITHOUT_POSITIONS = 15

_STYLE = """<style>
.fm{font:500 10px system-ui,-apple-system,"Segoe UI",sans-serif;--ink:#1f2933;--mute:#6b7785;
--none:#e8ecf0;--edge:#00000026}
@media(prefers-color-scheme:dark){.fm{--ink:#e6eaee;--mute:#98a4b0;--none:#2b333c;--edge:#ffffff2e}}
.fm rect{stroke:var(--edge);stroke-width:1}
.fm .none{fill:var(--none)}
.fm .name{fill:#1f2933;text-anchor:middle;pointer-events:none}
.fm .pale{fill:#fff}
.fm .mute{fill:var(--mute)}
.fm .key{fill:var(--ink)}
.fm .beacon{fill:none;stroke:var(--ink);stroke-width:2.5;paint-order:stroke}
.fm .halo{fill:none;stroke:var(--none);stroke-width:5;stroke-opacity:.8}
.fm .called{fill:var(--ink);font-size:8px;text-anchor:middle;paint-order:stroke;
stroke:var(--none);stroke-width:2.5px;stroke-linejoin:round;pointer-events:none}
.fm .paper{fill:#fff;stroke:none}.fm .over .spots rect{fill-opacity:.8}
.fm .over{--ink:#1f2933;--mute:#6b7785;--none:#e8ecf0;--edge:#00000026}
</style>"""


@dataclass(frozen=True, slots=True)
class _Spot:
    """A cell in drawing units, its origin top left."""

    cell: CellError
    x: float
    y: float


def floor_map_svg(
    cells: Sequence[CellError],
    beacons: Mapping[str, Position] | None = None,
    picture: Picture | None = None,
) -> str:
    """Draw the cells.

    Args:
        cells: with positions, or none of them with one; north (larger y) is up.
        beacons: where they hang, in metres, if the site's description says so.
        picture: of the floor, to lie under the cells; only where cells have positions.

    Returns:
        One ``<svg>`` element with its own style; it needs nothing around it.
    """
    placed = bool(cells) and all(cell.x is not None and cell.y is not None for cell in cells)
    shown = beacons or {}
    floor = _floor(cells, shown, picture) if placed else None
    spots = [floor.spot(cell) for cell in cells] if floor else _in_reading_order(cells)
    right, bottom = floor.corner if floor else _corner(spots)
    width, height = max(right, 520.0), bottom + _LEGEND
    named = len(spots) <= _LABELS_UP_TO
    squares = "".join(_square(spot, placed=placed, named=named) for spot in spots)
    drawn = f'<g class="spots">{squares}</g>'
    if floor:
        drawn += "".join(
            floor.beacon(name, place, called=len(shown) <= _BEACONS_NAMED_UP_TO)
            for name, place in shown.items()
        )
    if floor and picture:
        drawn = f'<g class="over">{floor.picture(picture)}{drawn}</g>'
    what = "Mean error in metres" if placed else "Share of wrong answers"
    legend = _legend(bottom + 8, what, placed=placed, beacons=bool(floor and shown))
    return (
        f'<svg class="fm" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="100%" '
        f'style="max-width:{width:.0f}px" aria-label="Floor map: {what.lower()} by location">'
        f"{_STYLE}{drawn}{legend}</svg>"
    )


def _corner(spots: Sequence[_Spot]) -> tuple[float, float]:
    edge = _PITCH / 2 + _MARGIN
    return (
        max([spot.x for spot in spots], default=0.0) + edge,
        max([spot.y for spot in spots], default=0.0) + edge,
    )


@dataclass(frozen=True, slots=True)
class _Floor:
    """Where metres lie on the drawing, and which part of the world it shows."""

    west: float
    south: float
    east: float
    north: float
    scale: float

    @property
    def corner(self) -> tuple[float, float]:
        """Right and lower edge of the drawing."""
        x, y = self.at(self.east, self.south)
        return x + _PITCH / 2 + _MARGIN, y + _PITCH / 2 + _MARGIN

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place in drawing units."""
        edge = _MARGIN + _PITCH / 2
        return edge + (x - self.west) * self.scale, edge + (self.north - y) * self.scale

    def spot(self, cell: CellError) -> _Spot:
        return _Spot(cell, *self.at(cell.x or 0.0, cell.y or 0.0))

    def beacon(self, name: str, place: Position, *, called: bool) -> str:
        x, y = self.at(*place)
        label = escape(name)
        text = f'<text class="called" x="{x:.1f}" y="{y + 15:.1f}">{label}</text>' if called else ""
        return (
            f'<circle class="halo" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/><circle class="beacon" '
            f'cx="{x:.1f}" cy="{y:.1f}" r="5.5"><title>beacon {label}</title></circle>{text}'
        )

    def picture(self, picture: Picture) -> str:
        """The floor's picture where it belongs, on white in the dark too."""
        place = picture.place
        left, top = self.at(place.west, place.south + place.height_m)
        frame = (
            f'x="{left:.1f}" y="{top:.1f}" width="{place.width_m * self.scale:.1f}" '
            f'height="{place.height_m * self.scale:.1f}"'
        )
        return (
            f'<rect class="paper" {frame}/><image {frame} preserveAspectRatio="none" '
            f'href="{picture.data_uri}"/>'
        )


def _floor(
    cells: Sequence[CellError], beacons: Mapping[str, Position], picture: Picture | None
) -> _Floor:
    points = [(cell.x or 0.0, cell.y or 0.0) for cell in cells]
    shown = [*points, *beacons.values(), *_corners(picture)]
    west, east = min(x for x, _ in shown), max(x for x, _ in shown)
    south, north = min(y for _, y in shown), max(y for _, y in shown)
    span = max(east - west, north - south, 1e-9)
    return _Floor(west, south, east, north, min(_PITCH / _pitch_m(points), _MAX_SIDE / span))


def _corners(picture: Picture | None) -> list[Position]:
    if picture is None:
        return []
    place = picture.place
    far = (place.west + place.width_m, place.south + place.height_m)
    return [(place.west, place.south), far]


def _pitch_m(points: Sequence[tuple[float, float]]) -> float:
    """The least step between columns or rows of the grid, in metres."""
    steps = []
    for axis in (0, 1):
        along = sorted({round(point[axis], 3) for point in points})
        steps += [after - before for before, after in pairwise(along)]
    return min(steps, default=1.0)


def _in_reading_order(cells: Sequence[CellError]) -> list[_Spot]:
    edge = _MARGIN + _PITCH / 2
    return [
        _Spot(
            cell,
            edge + place % _COLUMNS_WITHOUT_POSITIONS * _PITCH,
            edge + place // _COLUMNS_WITHOUT_POSITIONS * _PITCH,
        )
        for place, cell in enumerate(cells)
    ]


def _square(spot: _Spot, *, placed: bool, named: bool) -> str:
    side = _PITCH - 3
    shade = _class_of(spot.cell, placed=placed)
    fill = 'class="none"' if shade is None else f'fill="{_COLOURS[shade]}"'
    kind = "name mute" if shade is None else "name pale" if shade in {0, 4} else "name"
    label = escape(spot.cell.label)
    text = (
        f'<text class="{kind}" x="{spot.x:.1f}" y="{spot.y + 3.5:.1f}">{label}</text>'
        if named and len(spot.cell.label) <= 5
        else ""
    )
    return (
        f"<g><title>{label}: {_said(spot.cell)}</title>"
        f'<rect {fill} x="{spot.x - side / 2:.1f}" y="{spot.y - side / 2:.1f}" '
        f'width="{side:.0f}" height="{side:.0f}" rx="5"/>{text}</g>'
    )


def _class_of(cell: CellError, *, placed: bool) -> int | None:
    if placed:
        value, limits = cell.mean_error_m, _METRES
    else:
        value, limits = None if cell.exact is None else 1.0 - cell.exact, _SHARES
    if value is None or math.isnan(value):
        return None
    return sum(value > limit for limit in limits)


def _said(cell: CellError) -> str:
    if cell.exact is None:
        return "no row held out here"
    metres = "" if cell.mean_error_m is None else f", {cell.mean_error_m:.1f} m off on average"
    return f"{cell.rows} rows held out, {cell.exact:.0%} exact{metres}"


def _legend(top: float, what: str, *, placed: bool, beacons: bool) -> str:
    names = _range_names(_METRES, "{:g} m") if placed else _range_names(_SHARES, "{:.0%}")
    parts = [f'<text class="key" x="{_MARGIN}" y="{top + 8:.0f}">{what}</text>']
    fills = [*(f'fill="{colour}"' for colour in _COLOURS), 'class="none"']
    for place, (fill, name) in enumerate(zip(fills, [*names, "not measured"], strict=True)):
        left = _MARGIN + place * 66
        parts.append(
            f'<rect {fill} x="{left:.0f}" y="{top + 16:.0f}" width="12" height="12" rx="3"/>'
            f'<text class="mute" x="{left + 16:.0f}" y="{top + 26:.0f}">{name}</text>'
        )
    if beacons:
        left = _MARGIN + len(fills) * 66 + 34
        parts.append(
            f'<circle class="beacon" cx="{left:.0f}" cy="{top + 22:.0f}" r="5.5"/>'
            f'<text class="mute" x="{left + 9:.0f}" y="{top + 26:.0f}">beacon</text>'
        )
    return "".join(parts)


def _range_names(limits: Sequence[float], form: str) -> list[str]:
    return [
        *(f"to {form.format(limit)}" for limit in limits),
        f"over {form.format(limits[-1])}",
    ]
