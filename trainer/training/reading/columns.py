"""Finds the role of each column of a survey, and the label of each row.

``location`` names the reference point, or ``x`` and ``y`` give it in metres, or both; ``floor`` and
``building`` belong to it. ``date``, ``time``, ``timestamp`` and ``datetime`` are no features; every
other column is a beacon, whatever its name. Where only ``x`` and ``y`` are given, each distinct
point is a cell, labelled like ``x=1.5,y=3.0``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from trainer.training.reading.storeys import StoreyColumn

TIME_COLUMNS = frozenset({"date", "time", "timestamp", "datetime"})
BUILDING_COLUMNS = frozenset({"building", "buildingid", "building_id"})
FLOOR_COLUMNS = frozenset({"floor", "floorid", "floor_id", "level", "storey", "story"})
UNLABELLED_WORDS = frozenset({*MISSING_WORDS, "?"})
MAX_NAME_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """The role of each column, by its index in the header."""

    names: tuple[str, ...]
    location: int | None
    point: tuple[int, int] | None
    """Indices of x and y."""
    beacons: tuple[int, ...]
    time: int | None
    building: int | None = None
    floor: int | None = None

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

    def readings(self, batch: RowBatch) -> Numbers:
        """(rows, beacons) as written."""
        return batch.numbers if self.point is None else batch.numbers[:, 2:]

    def points(self, batch: RowBatch) -> Positions | None:
        """(rows, 2) x and y in metres, if there are any."""
        return None if self.point is None else batch.numbers[:, :2]

    def storeys(self, batch: RowBatch) -> StoreyColumn | None:
        """The building and the floor of each row, if there are such columns."""
        if self.building is None and self.floor is None:
            return None
        rows = len(batch.lines)
        nothing = CategoricalColumn(("",), np.zeros(rows, dtype=np.int32))
        columns = list(batch.texts)
        building = nothing if self.building is None else columns.pop(0)
        return StoreyColumn.of(building, nothing if self.floor is None else columns.pop(0))


def find_columns(names: tuple[str, ...], ignored: Sequence[str]) -> ColumnRoles:
    """Find the role of every column.

    Args:
        names: of all columns.
        ignored: names of columns that are no beacons.

    Raises:
        BadSurvey: a name is missing, ambiguous or too long, or there is no location or no beacon.
    """
    _check_names(names)
    lowered = [name.lower() for name in names]
    location = lowered.index("location") if "location" in lowered else None
    point = (lowered.index("x"), lowered.index("y")) if {"x", "y"} <= set(lowered) else None
    if location is None and point is None:
        raise BadSurvey(
            "The header names no location column, nor x and y: the first line has to name the "
            f"columns, and it begins with {', '.join(names[:3])!r}."
        )
    building = _only(BUILDING_COLUMNS, names, ignored, "building")
    floor = _only(FLOOR_COLUMNS, names, ignored, "floor")
    taken = {location, building, floor, *(point or ())}
    beacons = tuple(
        index
        for index, name in enumerate(lowered)
        if index not in taken and name not in TIME_COLUMNS and names[index] not in ignored
    )
    _check_unique(names, lowered, beacons)
    if not beacons:
        raise BadSurvey("The header names no beacon: add one column of dBm for each beacon.")
    time = next((index for index, name in enumerate(lowered) if name in TIME_COLUMNS), None)
    return ColumnRoles(names, location, point, beacons, time, building, floor)


def _only(
    words: frozenset[str], names: Sequence[str], ignored: Sequence[str], role: str
) -> int | None:
    """The one column with such a name.

    Raises:
        BadSurvey: there are several.
    """
    found = [
        index for index, name in enumerate(names) if name.lower() in words and name not in ignored
    ]
    if len(found) > 1:
        listed = " and ".join(repr(names[index]) for index in found)
        raise BadSurvey(
            f"The columns {listed} may each name the {role}: list the others under "
            "ignored_columns in site.json."
        )
    return found[0] if found else None


def _check_names(names: Sequence[str]) -> None:
    for number, name in enumerate(names, start=1):
        if not name:
            raise BadSurvey(
                f"Column {number} has no name in the header: name it, or remove it (the "
                "index of a table is often exported like this)."
            )
        if len(name) > MAX_NAME_CHARACTERS:
            raise BadSurvey(
                f"The name of column {number} has {len(name)} characters; "
                f"at most {MAX_NAME_CHARACTERS} are allowed: {name[:40]!r}..."
            )


def _check_unique(names: Sequence[str], lowered: Sequence[str], beacons: Sequence[int]) -> None:
    """Beacons may differ by case only; ``Location`` and ``location`` would be one column twice."""
    counted = [
        names[index] if index in set(beacons) else lowered[index] for index in range(len(names))
    ]
    twice = [name for name, times in Counter(counted).items() if times > 1]
    ambiguous = [names[index] for index in beacons if lowered[index] == "location"]
    for name in (*twice, *ambiguous):
        raise BadSurvey(
            f"The header names {name!r} twice: which of the columns counts is ambiguous."
        )


def labels_of(batch: RowBatch) -> CategoricalColumn:
    """The cell of each row, blank for a row without one; from x and y if no location is given."""
    if batch.locations is not None:
        categories = tuple(_label(word) for word in batch.locations.categories)
        return replace(batch.locations, categories=categories)
    return _point_labels(batch.numbers[:, :2])


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
