"""Reads one survey, or says why it has to be set aside.

A survey is a CSV (comma, semicolon or tab; UTF-8, or UTF-16 with a byte-order mark) with a header
line. ``location`` names the reference point, or ``x`` and ``y`` give it in metres, or both;
``date``, ``time``, ``timestamp`` and ``datetime`` are read over, as time is no feature (the row
nearest in time would give the label away); every other column is a beacon, whatever it is called.
Rows whose location is blank or ``?`` are unlabelled: counted, not used. Where only ``x``
and ``y`` are given, each distinct point is a cell, labelled like ``x=1.5,y=3.0``.

What may go wrong: the file is anyone's. Rows that are no measurement are dropped and listed, as far
as the site's thresholds go; beyond them the survey is set aside whole, with a reason that names the
line and the column.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions
from trainer.localization.readings import (
    EXPECTED,
    MISSING_WORDS,
    NOT_HEARD_BELOW,
    FloatMatrix,
    heard_only,
    is_rssi,
)
from trainer.training.csv_text import (
    Numbers,
    Table,
    Wanted,
    decode,
    encoding_of,
    read_header,
    read_table,
)
from trainer.training.errors import BadSurvey
from trainer.training.faults import FaultKind, RowFault, check_share
from trainer.training.site import Position, Site
from trainer.training.times import read_times

TIME_COLUMNS = frozenset({"date", "time", "timestamp", "datetime"})
UNLABELLED_WORDS = frozenset({*MISSING_WORDS, "?"})
MAX_NAME_CHARACTERS = 128
MAX_COORDINATE_M = 1e7
"""Larger than any projected coordinate on Earth."""
POSITION_TOLERANCE_M = 0.01
"""Two positions of one label that are nearer than this are the same, written down twice."""


@dataclass(frozen=True, slots=True)
class Found:
    """How a file turned out to be written; for the report, nothing depends on it."""

    encoding: str = "utf-8"
    delimiter: str = ","
    time_format: str | None = None
    """As for ``strptime``; None if there is no time or none that is understood."""
    not_heard: tuple[tuple[str, int], ...] = ()
    """Each way that "not heard" is written, with how many readings say it so."""


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
    lines: npt.NDArray[np.intp]
    """(rows,) the line of the file that each row begins on."""
    times: npt.NDArray[np.float64] | None = None
    """(rows,) seconds since 1970 by the logger's own clock, NaN where none is told."""
    faults: tuple[RowFault, ...] = ()
    """Rows that were dropped, in the order of lines."""
    found: Found = Found()


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column plays which part, by its place in the header."""

    names: tuple[str, ...]
    location: int | None
    point: tuple[int, int] | None
    beacons: tuple[int, ...]
    time: int | None


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
    encoding = encoding_of(content)
    called = name or ("survey" if isinstance(source, bytes) else source.name)
    text = decode(content)
    del content
    header = read_header(text)
    columns = _columns(header.names, site.ignored_columns)
    numeric = (*(columns.point or ()), *columns.beacons)
    table = read_table(text, header, Wanted(columns.location, numeric, columns.time))
    survey = _survey(called, columns, table, site)
    _check_against_site(survey, site)
    found = replace(survey.found, encoding=encoding, delimiter=header.delimiter)
    return replace(survey, found=found)


def _columns(names: tuple[str, ...], ignored: Sequence[str]) -> _Columns:
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
        if place not in taken and name not in TIME_COLUMNS and names[place] not in ignored
    )
    _check_unique(names, lowered, beacons)
    if not beacons:
        raise BadSurvey("The header names no beacon: add one column of dBm for each beacon.")
    time = next((place for place, name in enumerate(lowered) if name in TIME_COLUMNS), None)
    return _Columns(names=names, location=location, point=point, beacons=beacons, time=time)


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


def _survey(name: str, columns: _Columns, table: Table, site: Site) -> Survey:
    rows = len(table.lines) + len(table.faults)
    table = _measured(columns, table)
    points = None if columns.point is None else table.numbers[:, :2]
    labels = _labels(table, points)
    labelled = np.array([label is not None for label in labels], dtype=bool)
    values = _values(columns, table)
    faults = [
        *table.faults,
        *_misplaced(table, labels, points),
        *_silent(table, labelled & ~_hears(values)),
    ]
    faults.sort(key=lambda fault: fault.line)
    check_share(faults, rows, site.thresholds)
    kept = labelled & ~np.isin(table.lines, [fault.line for fault in faults])
    if not kept.any():
        raise BadSurvey(
            f"None of the {rows} rows says where it was taken: fill in location, or x and y."
        )
    times = None if table.times is None else read_times(table.times)
    return Survey(
        name=name,
        beacons=tuple(columns.names[place] for place in columns.beacons),
        rssi=heard_only(values if kept.all() else values[kept]),
        labels=tuple(
            label for label, used in zip(labels, kept.tolist(), strict=True) if used and label
        ),
        positions=None if points is None else points[kept],
        ignored_rows=int((~labelled).sum()),
        lines=table.lines[kept],
        times=None if times is None else times.seconds[kept],
        faults=tuple(faults),
        found=Found(
            time_format=None if times is None else times.form,
            not_heard=_ways_not_heard(values),
        ),
    )


def _values(columns: _Columns, table: Table) -> Numbers:
    """(rows, beacons) as written."""
    return table.numbers[:, 2:] if columns.point is not None else table.numbers


def _hears(values: Numbers) -> npt.NDArray[np.bool_]:
    heard: npt.NDArray[np.bool_] = ((values >= NOT_HEARD_BELOW) & (values < 0.0)).any(axis=1)
    return heard


def _measured(columns: _Columns, table: Table) -> Table:
    """The table without rows that hold impossible numbers or labels."""
    faults = {fault.line: fault for fault in _long_labels(table)}
    for fault in (*_bad_points(columns, table), *_out_of_range(columns, table)):
        faults.setdefault(fault.line, fault)
    return table.without(sorted(faults.values(), key=lambda fault: fault.line))


def _out_of_range(columns: _Columns, table: Table) -> Iterator[RowFault]:
    values = _values(columns, table)
    wrong = ~is_rssi(values)
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        place = int(wrong[row].argmax())
        column = columns.names[columns.beacons[place]]
        line = int(table.lines[row])
        yield RowFault(
            line,
            FaultKind.OUT_OF_RANGE,
            f"Line {line}, column {column!r}: {values[row, place]:g} is no RSSI; {EXPECTED}.",
        )


def _bad_points(columns: _Columns, table: Table) -> Iterator[RowFault]:
    if columns.point is None:
        return
    points: Positions = table.numbers[:, :2]
    given = ~np.isnan(points)
    half = ~given & given[:, ::-1]
    wrong = half | (given & ~(np.abs(points) <= MAX_COORDINATE_M))
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        column = columns.names[columns.point[int(wrong[row].argmax())]]
        line = int(table.lines[row])
        yield RowFault(
            line,
            FaultKind.BAD_POINT,
            f"Line {line}, column {column!r}: x and y have to be metres, both or neither.",
        )


def _long_labels(table: Table) -> Iterator[RowFault]:
    words = table.locations or []
    long = {word for word in set(words) if len(word.strip()) > MAX_NAME_CHARACTERS}
    if not long:
        return
    for word, line in zip(words, table.lines.tolist(), strict=True):
        if word in long:
            yield RowFault(
                line,
                FaultKind.LONG_LABEL,
                f"Line {line}: the location has {len(word)} characters, and "
                f"{MAX_NAME_CHARACTERS} are the most.",
            )


def _silent(table: Table, silent: npt.NDArray[np.bool_]) -> Iterator[RowFault]:
    for line in table.lines[silent].tolist():
        yield RowFault(
            line,
            FaultKind.SILENT,
            f"Line {line} hears no beacon, so it tells nothing of its place.",
        )


def _misplaced(
    table: Table, labels: Sequence[str | None], points: Positions | None
) -> Iterator[RowFault]:
    """Rows that lie elsewhere than most rows of their label."""
    if points is None or table.locations is None:
        return
    usual = {
        label: Counter(places).most_common(1)[0][0]
        for label, places in _places_by_label(labels, points).items()
    }
    for row, label in enumerate(labels):
        if label is None or label not in usual or np.isnan(points[row, 0]):
            continue
        (x, y), (usual_x, usual_y) = points[row].tolist(), usual[label]
        if max(abs(x - usual_x), abs(y - usual_y)) > POSITION_TOLERANCE_M:
            line = int(table.lines[row])
            yield RowFault(
                line,
                FaultKind.MISPLACED,
                f"Line {line}: the location {label!r} lies in more than one place, here at "
                f"({x:g}, {y:g}) and mostly at ({usual_x:g}, {usual_y:g}) m: correct x and y, or "
                "give each place its own label.",
            )


def _places_by_label(
    labels: Sequence[str | None], points: Positions
) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for label, (x, y) in zip(labels, points.tolist(), strict=True):
        if label is not None and x == x:  # noqa: PLR0124 - the cheap way to leave out NaN
            found.setdefault(label, []).append((x, y))
    return found


def _ways_not_heard(values: Numbers) -> tuple[tuple[str, int], ...]:
    """How the file writes "not heard", and how often: -200, -199, 0, 100, blank."""
    counted: Counter[str] = Counter()
    # Column by column: all such readings of a large file at once would be a copy of most of it.
    for column in values.T:
        written = column[(column < NOT_HEARD_BELOW) | (column >= 0.0)]
        numbers, times = np.unique(written, return_counts=True)
        for number, count in zip(numbers.tolist(), times.tolist(), strict=True):
            counted[f"{number:g}"] += count
        blank = int(np.isnan(column).sum())
        if blank:
            counted["blank"] += blank
    return tuple(sorted(counted.items(), key=lambda way: (way[0] == "blank", way[0])))


def _labels(table: Table, points: Positions | None) -> list[str | None]:
    """The cell of each row, None where it has none."""
    if table.locations is None:
        return [None if label == _NOWHERE else label for label in _point_labels(points)]
    known = {word: _label(word) for word in set(table.locations)}
    return [known[word] for word in table.locations]


_NOWHERE = "x=nan,y=nan"


def _point_labels(points: Positions | None) -> list[str]:
    if points is None:
        return []
    return [f"x={x!r},y={y!r}" for x, y in (points + 0.0).tolist()]


def _label(word: str) -> str | None:
    label = word.strip()
    return None if label in UNLABELLED_WORDS else label


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
