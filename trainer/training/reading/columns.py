"""Finds the role of each column of a survey, and the label of each row.

``location`` names the reference point, or ``x`` and ``y`` give it in metres, or both. Where those
names are missing, other common ones are taken if exactly one fits; ``columns`` in ``site.json`` has
the last word. Names that are known to be neither (floor, device, battery, an exported index, ...)
are never beacons; every other column is one. Where only ``x`` and ``y`` are given, each distinct
point is a cell, labelled like ``x=1.5,y=3.0``, or ``floor=2,x=1.5,y=3.0`` with a floor.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from trainer.localization.decoding import Positions
from trainer.localization.readings import MISSING_WORDS
from trainer.training.errors import BadSurvey
from trainer.training.reading.formats.port import (
    CategoricalColumn,
    ColumnSelection,
    Numbers,
    RowBatch,
)
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.storeys import StoreyColumn


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TIME_COLUMNS = _words("date time timestamp datetime")
LOCATION_NAMES = _words(
    "label room roomname zone sector rp point place spot target referencepoint locationid"
)
X_NAMES = _words("posx xpos positionx xposition coordx xcoord xcoordinate locx xm")
Y_NAMES = _words("posy ypos positiony yposition coordy ycoord ycoordinate locy ym")
LONGITUDE_NAMES = _words("lon lng longitude")
LATITUDE_NAMES = _words("lat latitude")
FLOOR_NAMES = _words("floor floorid floornumber level storey story")
BUILDING_NAMES = _words("building buildingid buildingname")
OTHER_NAMES = (
    FLOOR_NAMES
    | BUILDING_NAMES
    | _words(
        "z posz altitude height "
        "txpower battery batterylevel count numvisibleaps device deviceid phone phoneid user "
        "userid spaceid relativeposition index unnamed0 heading orientation"
    )
)
"""Columns of common logs that hold something else than the dBm of a beacon."""
BEACON_NAMES = _words("beacon beaconid ap apid mac macaddress bssid")
RSSI_NAMES = _words("rssi rss dbm rssidbm signalstrength")
PLACE_NAMES = LOCATION_NAMES | X_NAMES | Y_NAMES | LONGITUDE_NAMES | LATITUDE_NAMES
UNLABELLED_WORDS = frozenset({*MISSING_WORDS, "?"})
MAX_NAME_CHARACTERS = 128

METRES: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048}
_UNIT_WORDS: Mapping[str, str] = {
    **{unit: unit for unit in METRES},
    **dict.fromkeys(("feet", "foot", "'"), "ft"),
    **dict.fromkeys(("deg", "degree", "degrees", "\u00b0"), "degrees"),
}
_UNIT = re.compile(r"\s*[(\[][^)\]]*[)\]]\s*$")


@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """The role of each column, by its index in the header."""

    names: tuple[str, ...]
    location: int | None
    point: tuple[int, int] | None
    """Indices of x and y."""
    beacons: tuple[int, ...]
    time: int | None
    floor: int | None = None
    """Tells places apart that have the same x and y, or the same label."""
    building: int | None = None
    """The same."""
    unit: str = "m"
    """Of x and y: a key of :data:`METRES`, or degrees of longitude and latitude."""
    not_heard: tuple[float, ...] = ()
    """The site's own numbers for it."""

    @property
    def selection(self) -> ColumnSelection:
        """What to read of the file; x and y come before the beacons."""
        texts = tuple(index for index in (self.building, self.floor) if index is not None)
        numeric = (*(self.point or ()), *self.beacons)
        return ColumnSelection(self.location, numeric, self.time, texts)

    @property
    def beacon_names(self) -> tuple[str, ...]:
        """Names of the beacons, in the order of their columns."""
        return tuple(self.names[index] for index in self.beacons)

    @property
    def description(self) -> str:
        """Which columns were taken by another name than the documented one, and which ignored."""
        place = (("location", self.location), *zip("xy", self.point or (), strict=False))
        taken = [
            f"{role} is {self.names[index]!r}"
            for role, index in (*place, ("floor", self.floor), ("building", self.building))
            if index is not None and self.names[index].lower() != role
        ]
        read = {self.location, self.time, self.floor, self.building, *(self.point or ())}
        read |= {*self.beacons}
        ignored = [repr(name) for index, name in enumerate(self.names) if index not in read]
        if ignored:
            taken.append(f"ignored: {', '.join(ignored[:10])}" + ", ..." * (len(ignored) > 10))
        return "; ".join(taken)

    def readings(self, batch: RowBatch) -> Numbers:
        """(rows, beacons) as written, NaN for the site's own numbers for "not heard"."""
        written = batch.numbers if self.point is None else batch.numbers[:, 2:]
        return (
            np.where(np.isin(written, self.not_heard), np.nan, written)
            if self.not_heard
            else written
        )

    def points(self, batch: RowBatch) -> Positions | None:
        """(rows, 2) x and y in metres, or degrees, if there are any; no negative zeros."""
        return (
            None if self.point is None else batch.numbers[:, :2] * METRES.get(self.unit, 1.0) + 0.0
        )

    def storeys(self, batch: RowBatch) -> StoreyColumn | None:
        """The building and the floor of each row, if there are such columns."""
        if self.building is None and self.floor is None:
            return None
        nothing = CategoricalColumn(("",), np.zeros(len(batch.lines), dtype=np.int32))
        columns = list(batch.texts)
        building = nothing if self.building is None else columns.pop(0)
        return StoreyColumn.of(building, nothing if self.floor is None else columns.pop(0))


def find_columns(names: tuple[str, ...], site: SiteDescription) -> ColumnRoles:
    """Find the role of every column.

    Args:
        names: of all columns.
        site: may name the columns of roles, and patterns of columns to ignore.

    Raises:
        BadSurvey: a name is missing, ambiguous or too long, or there is no location or no beacon.
    """
    ignored = {index for index, name in enumerate(names) if _is_ignored(name, site)}
    _check_names(names, ignored)
    plain = [_plain(name) for name in names]
    named = {
        role: _named_column(names, role, name)
        for role, name in site.columns.by_role.items()
        if role not in {"beacon", "rssi"}
    }
    free = [index for index in range(len(names)) if index not in ignored | {*named.values()}]
    location, point, is_in_degrees = _find_place(names, plain, free, named)
    _check_wide(names, plain, free)
    time = named.get("time", _first(plain, free, TIME_COLUMNS))
    taken = {location, time, *(point or ()), *ignored, *named.values()}
    others = OTHER_NAMES | TIME_COLUMNS | PLACE_NAMES
    beacons = tuple(
        index for index, name in enumerate(plain) if index not in taken and name not in others
    )
    _check_unique(names, beacons)
    if not beacons:
        raise BadSurvey("The header names no beacon: add one column of dBm for each beacon.")
    unit: str = "degrees" if is_in_degrees else site.unit
    if unit == "m" and point is not None:
        unit = _unit_in(names[point[0]])
    floor, building = (
        named[role] if role in named else _only(names, plain, free, words, role)
        for role, words in (("floor", FLOOR_NAMES), ("building", BUILDING_NAMES))
    )
    return ColumnRoles(names, location, point, beacons, time, floor, building, unit, site.not_heard)


def _unit_in(name: str) -> str:
    """The unit in a name such as ``X (cm)``; metres if it says none that is known."""
    found = _UNIT.search(name)
    unit = found.group().strip(" ()[]").lower() if found else "m"
    return _UNIT_WORDS.get(unit, "m")


def _is_ignored(name: str, site: SiteDescription) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in site.ignored_columns)


def _plain(name: str) -> str:
    """A name without case, unit and separators: ``Pos X (m)`` is ``posx``."""
    return re.sub(r"[\s_\-.:]+", "", _UNIT.sub("", name).lower())


def _named_column(names: Sequence[str], role: str, name: str) -> int:
    for index, written in enumerate(names):
        if written.lower() == name.lower():
            return index
    raise BadSurvey(
        f"site.json names {name!r} as the column of {role}, and the header has no such column; it "
        f"has {_listed(names)}."
    )


def _find_place(
    names: Sequence[str], plain: Sequence[str], free: Sequence[int], named: Mapping[str, int]
) -> tuple[int | None, tuple[int, int] | None, bool]:
    """Indices of the location and of x and y, and whether those are degrees."""
    location = named.get("location", _first(plain, free, {"location"}))
    x = named.get("x", _first(plain, free, {"x"}))
    y = named.get("y", _first(plain, free, {"y"}))
    is_in_degrees = False
    if x is None or y is None:
        x, y = _only(names, plain, free, X_NAMES, "x"), _only(names, plain, free, Y_NAMES, "y")
    if x is None or y is None:
        x = _only(names, plain, free, LONGITUDE_NAMES, "x")
        y = _only(names, plain, free, LATITUDE_NAMES, "y")
        is_in_degrees = x is not None and y is not None
    point = None if x is None or y is None else (x, y)
    if location is None and point is None:
        location = _only(names, plain, free, LOCATION_NAMES, "location")
    if location is None and point is None:
        raise BadSurvey(_no_place(names))
    return location, point, is_in_degrees


def _first(
    plain: Sequence[str], free: Sequence[int], wanted: frozenset[str] | set[str]
) -> int | None:
    return next((index for index in free if plain[index] in wanted), None)


def _only(
    names: Sequence[str],
    plain: Sequence[str],
    free: Sequence[int],
    wanted: frozenset[str],
    role: str,
) -> int | None:
    """The one column with a common name of a role.

    Raises:
        BadSurvey: several have one.
    """
    fitting = [index for index in free if plain[index] in wanted]
    if len(fitting) > 1:
        candidates = [names[index] for index in fitting]
        raise BadSurvey(
            f"The columns {_listed(candidates)} may each be meant as {role}: write "
            f'"columns": {{"{role}": "{candidates[0]}"}} in site.json, or another of them.'
        )
    return fitting[0] if fitting else None


def _no_place(names: Sequence[str]) -> str:
    if not names:
        return "The header names no column: the first line has to name them."
    if any(_looks_like_data(name) for name in names):
        return (
            f"The first line holds data ({_listed(names[:4])}), not the columns' names: add a "
            "header line such as location,b1,b2."
        )
    return (
        "The header names no location column, nor x and y: it begins with "
        f'{", ".join(names[:3])!r}. Write which column it is, such as "columns": {{"location": '
        f'"{names[0]}"}}, in site.json, or call it location.'
    )


def _looks_like_data(name: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[0-9]+\.[0-9]+|-[0-9]+|[0-9-]+[ T][0-9:.]+Z?", name))


def find_long_form(
    names: tuple[str, ...], site: SiteDescription
) -> tuple[int, int, int | None] | None:
    """Indices of beacon, reading and time in a file with one reading per row; None for others.

    Without a word in ``site.json`` only a header that names a beacon, a reading and otherwise known
    columns is one.

    Raises:
        BadSurvey: ``site.json`` names a column that is not there.
    """
    plain = [_plain(name) for name in names]
    free = [index for index, name in enumerate(names) if not _is_ignored(name, site)]
    roles = site.columns.by_role
    time = _first(plain, free, TIME_COLUMNS)
    if "beacon" in roles and "rssi" in roles:
        beacon = _named_column(names, "beacon", roles["beacon"])
        return beacon, _named_column(names, "rssi", roles["rssi"]), time
    named_beacon = _first(plain, free, BEACON_NAMES)
    named_rssi = _first(plain, free, RSSI_NAMES)
    known = PLACE_NAMES | OTHER_NAMES | TIME_COLUMNS | {"location", "x", "y"}
    named = {name.lower() for name in roles.values()}
    unknown = [
        index
        for index in free
        if index not in {named_beacon, named_rssi}
        and plain[index] not in known
        and names[index].lower() not in named
    ]
    if named_beacon is None or named_rssi is None or unknown:
        return None
    return named_beacon, named_rssi, time


def _check_wide(names: Sequence[str], plain: Sequence[str], free: Sequence[int]) -> None:
    """Refuse a file with one reading per row: its readings would become those of one beacon."""
    beacon, rssi = _first(plain, free, BEACON_NAMES), _first(plain, free, RSSI_NAMES)
    if beacon is not None and rssi is not None:
        raise BadSurvey(
            f"The file seems to have one reading per row ({names[beacon]!r} and {names[rssi]!r}) "
            "beside columns of unknown meaning: write "
            f'"columns": {{"beacon": "{names[beacon]}", "rssi": "{names[rssi]}"}} in site.json.',
            advice={"columns": {"beacon": names[beacon], "rssi": names[rssi]}},
        )


def _listed(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names[:10]]
    return ", ".join(quoted) + (", ..." if len(names) > 10 else "")


def _check_names(names: Sequence[str], ignored: set[int]) -> None:
    for number, name in enumerate(names, start=1):
        if not name and number - 1 not in ignored:
            raise BadSurvey(
                f"Column {number} has no name in the header; the index of a table is often "
                "exported like this. Name the column or remove it, or write "
                '"ignored_columns": [""] in site.json.',
                advice={"ignored_columns": [""]},
            )
        if len(name) > MAX_NAME_CHARACTERS:
            raise BadSurvey(
                f"The name of column {number} has {len(name)} characters; "
                f"at most {MAX_NAME_CHARACTERS} are allowed: {name[:40]!r}..."
            )


def _check_unique(names: Sequence[str], beacons: Sequence[int]) -> None:
    """Beacons differ by more than case, and one column has the role of the location."""
    for name in _twice(names, beacons):
        raise BadSurvey(
            f"The header names {name!r} twice: which of the columns counts is ambiguous."
        )


def _twice(names: Sequence[str], beacons: Sequence[int]) -> Iterator[str]:
    before = Counter[str]()
    roles = {"location", "x", "y"}
    for index, name in enumerate(names):
        lowered = name.lower()
        before[lowered] += 1
        if before[lowered] > 1 and (index in beacons or lowered in roles):
            yield name


def labels_of(batch: RowBatch, columns: ColumnRoles) -> CategoricalColumn:
    """The cell of each row, blank for a row without one; from x and y if no location is given."""
    if columns.location is None:
        return _point_labels(batch.numbers[:, :2])
    if batch.locations is None:
        raise TypeError("the selected location was not read")
    categories = tuple(_label(word) for word in batch.locations.categories)
    return replace(batch.locations, categories=categories)


def _label(word: str) -> str:
    label = word.strip()
    return "" if label in UNLABELLED_WORDS else label


def _point_labels(points: Positions) -> CategoricalColumn:
    """Each distinct point as a label, blank for a row without one."""
    # Complex numbers sort ten times as fast as two columns; adding zero turns -0 into 0.
    keys = (points[:, 0] + 0.0) + 1j * (points[:, 1] + 0.0)
    keys[np.isnan(points[:, 0])] = np.nan
    distinct, codes = np.unique(keys, return_inverse=True)
    labels = (
        "" if np.isnan(key) else f"x={float(key.real)!r},y={float(key.imag)!r}" for key in distinct
    )
    return CategoricalColumn(tuple(labels), codes.astype(np.int32))
