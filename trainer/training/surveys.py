"""Reads one survey, or says why it has to be set aside.

A survey is a CSV (comma, semicolon or tab; UTF-8, or UTF-16 with a byte-order mark) with a header
line. ``location`` names the reference point, or ``x`` and ``y`` give it in metres, or both;
``date``, ``time``, ``timestamp`` and ``datetime`` are read over, as time is no feature (the row
nearest in time would give the label away); every other column is a beacon, whatever it is called.
Rows whose location is blank or ``?`` are unlabelled: counted, not used. Where only ``x``
and ``y`` are given, each distinct point is a cell, labelled like ``x=1.5,y=3.0``.

What may go wrong: the file is anyone's. It is read whole or not at all, since a part of a broken
file could be as wrong as the rest; the reason names the line and the column.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.localization.decoding import Positions
from trainer.localization.readings import (
    EXPECTED,
    MISSING_WORDS,
    FloatMatrix,
    heard_only,
    is_rssi,
)
from trainer.training.csv_text import Table, decode, read_header, read_table
from trainer.training.errors import BadSurvey
from trainer.training.site import Position, Site

TIME_COLUMNS = frozenset({"date", "time", "timestamp", "datetime"})
UNLABELLED_WORDS = frozenset({*MISSING_WORDS, "?"})
MAX_NAME_CHARACTERS = 128
MAX_COORDINATE_M = 1e7
"""Larger than any projected coordinate on Earth."""
POSITION_TOLERANCE_M = 0.01
"""Two positions of one label that are nearer than this are the same, written down twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """The labelled rows of one file."""

    name: str
    beacons: tuple[str, ...]
    rssi: FloatMatrix
    """(rows, beacons) in dBm, NaN where a beacon was not heard."""
    labels: tuple[str, ...]
    """The cell of each row."""
    positions: Positions | None
    """(rows, 2) in metres; None if the file has no x and y."""
    ignored_rows: int
    """How many rows had no label."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column plays which part, by its place in the header."""

    names: tuple[str, ...]
    location: int | None
    point: tuple[int, int] | None
    beacons: tuple[int, ...]


def read_survey(source: Path | bytes, site: Site, name: str | None = None) -> Survey:
    """Read one survey.

    Args:
        source: the file, or its content.
        site: where the survey was taken; its described positions are binding.
        name: what to call the survey; the file's name by default.

    Raises:
        BadSurvey: it can't be used; the reason says where it is wrong and what would be right.
        OSError: the file can't be read.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    called = name or ("survey" if isinstance(source, bytes) else source.name)
    text = decode(content)
    header = read_header(text)
    columns = _columns(header.names)
    numeric = (*(columns.point or ()), *columns.beacons)
    table = read_table(text, header, columns.location, numeric)
    survey = _survey(called, columns, table)
    _check_against_site(survey, site)
    return survey


def _columns(names: tuple[str, ...]) -> _Columns:
    """Give every column its part, or refuse the header."""
    _check_names(names)
    lowered = [name.lower() for name in names]
    location = lowered.index("location") if "location" in lowered else None
    point = (lowered.index("x"), lowered.index("y")) if {"x", "y"} <= set(lowered) else None
    if location is None and point is None:
        raise BadSurvey(
            "The header names no location column, nor x and y: the first line has to name the "
            f"columns, and it begins with {', '.join(names[:3])!r}."
        )
    taken = {location, *(point or ())}
    beacons = tuple(
        place
        for place, name in enumerate(lowered)
        if place not in taken and name not in TIME_COLUMNS
    )
    _check_unique(names, lowered, beacons)
    if not beacons:
        raise BadSurvey("The header names no beacon: add one column of dBm for each beacon.")
    return _Columns(names=names, location=location, point=point, beacons=beacons)


def _check_names(names: Sequence[str]) -> None:
    for place, name in enumerate(names, start=1):
        if not name:
            raise BadSurvey(
                f"Column {place} has no name in the header: name it, or remove it (a table's index "
                "is often exported so)."
            )
        if len(name) > MAX_NAME_CHARACTERS:
            raise BadSurvey(
                f"The name of column {place} has {len(name)} characters, and "
                f"{MAX_NAME_CHARACTERS} are the most: {name[:40]!r} and so on."
            )


def _check_unique(names: Sequence[str], lowered: Sequence[str], beacons: Sequence[int]) -> None:
    """Beacons differ by case at will; ``Location`` and ``location`` would be one column twice."""
    counted = [
        names[place] if place in set(beacons) else lowered[place] for place in range(len(names))
    ]
    twice = [name for name, times in Counter(counted).items() if times > 1]
    ambiguous = [names[place] for place in beacons if lowered[place] == "location"]
    for name in (*twice, *ambiguous):
        raise BadSurvey(f"The header names {name!r} twice: which column counts is anyone's guess.")


def _survey(name: str, columns: _Columns, table: Table) -> Survey:
    points = None
    if columns.point is not None:
        points = _points(columns, table)
    rssi = _readings(columns, table)
    labels = _labels(table, points)
    labelled = np.array([label is not None for label in labels], dtype=bool)
    if not labelled.any():
        raise BadSurvey(
            f"None of the {len(labels)} rows says where it was taken: fill in location, or x and y."
        )
    return Survey(
        name=name,
        beacons=tuple(columns.names[place] for place in columns.beacons),
        rssi=rssi[labelled],
        labels=tuple(label for label in labels if label is not None),
        positions=None if points is None else points[labelled],
        ignored_rows=int((~labelled).sum()),
    )


def _readings(columns: _Columns, table: Table) -> FloatMatrix:
    """(rows, beacons) dBm with NaN for every way to say "not heard"."""
    values = table.numbers[:, 2:] if columns.point is not None else table.numbers
    wrong = ~is_rssi(values)
    if wrong.any():
        row, place = (int(found) for found in np.argwhere(wrong)[0])
        column = columns.names[columns.beacons[place]]
        raise BadSurvey(
            f"Line {table.lines[row]}, column {column!r}: {values[row, place]:g} is no RSSI; "
            f"{EXPECTED}."
        )
    return heard_only(values)


def _points(columns: _Columns, table: Table) -> Positions:
    """(rows, 2) metres, NaN in rows that have none."""
    points: Positions = table.numbers[:, :2]
    given = ~np.isnan(points)
    half = ~given & given[:, ::-1]
    wrong = half | (given & ~(np.abs(points) <= MAX_COORDINATE_M))
    if wrong.any():
        row, place = (int(found) for found in np.argwhere(wrong)[0])
        column = columns.names[(columns.point or ())[place]]
        raise BadSurvey(
            f"Line {table.lines[row]}, column {column!r}: x and y have to be metres, both or "
            "neither."
        )
    return points


def _labels(table: Table, points: Positions | None) -> list[str | None]:
    """The cell of each row, None where it has none."""
    if table.locations is None:
        return [None if label == _NOWHERE else label for label in _point_labels(points)]
    known: dict[str, str | None] = {}
    for row, word in enumerate(table.locations):
        if word not in known:
            known[word] = _label(word, int(table.lines[row]))
    return [known[word] for word in table.locations]


_NOWHERE = "x=nan,y=nan"


def _point_labels(points: Positions | None) -> list[str]:
    if points is None:
        return []
    return [f"x={x!r},y={y!r}" for x, y in (points + 0.0).tolist()]


def _label(word: str, line: int) -> str | None:
    label = word.strip()
    if label in UNLABELLED_WORDS:
        return None
    if len(label) > MAX_NAME_CHARACTERS:
        raise BadSurvey(
            f"Line {line}: the location has {len(label)} characters, and {MAX_NAME_CHARACTERS} are "
            "the most."
        )
    return label


def positions_by_label(survey: Survey) -> dict[str, Position]:
    """Where the survey itself says that its labels lie, in metres; empty without x and y.

    Raises:
        BadSurvey: a label lies in two places.
    """
    if survey.positions is None:
        return {}
    placed = ~np.isnan(survey.positions[:, 0])
    points = survey.positions[placed]
    labels, cells = np.unique(np.array(survey.labels)[placed], return_inverse=True)
    lowest = np.full((len(labels), 2), np.inf)
    highest = np.full((len(labels), 2), -np.inf)
    np.minimum.at(lowest, cells, points)
    np.maximum.at(highest, cells, points)
    for place in np.flatnonzero((highest - lowest > POSITION_TOLERANCE_M).any(axis=1)):
        (west, south), (east, north) = lowest[place], highest[place]
        raise BadSurvey(
            f"The location {labels[place]!r} lies in more than one place, from ({west:g}, "
            f"{south:g}) to ({east:g}, {north:g}) m: correct x and y, or give each place its own "
            "label."
        )
    return {str(label): (float(x), float(y)) for label, (x, y) in zip(labels, lowest, strict=True)}


def check_same_place(label: str, one: Position, other: Position, whose: str) -> None:
    """Refuse a position that contradicts an earlier one.

    Raises:
        BadSurvey: they are further apart than what is written down twice would be.
    """
    if max(abs(one[0] - other[0]), abs(one[1] - other[1])) > POSITION_TOLERANCE_M:
        raise BadSurvey(
            f"The location {label!r} lies at ({one[0]:g}, {one[1]:g}) m here and at "
            f"({other[0]:g}, {other[1]:g}) m {whose}: correct x and y."
        )


def _check_against_site(survey: Survey, site: Site) -> None:
    for label, point in positions_by_label(survey).items():
        if label in site.positions:
            check_same_place(label, point, site.positions[label], "in the site's description")
