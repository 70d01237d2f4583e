"""Reads one survey, or says why it has to be set aside.

A survey is a CSV (comma, semicolon or tab; UTF-8, or UTF-16 with a byte-order mark) with a header
line. ``location`` names the reference point, or ``x`` and ``y`` give it in metres, or both;
``date``, ``time``, ``timestamp`` and ``datetime`` are read over, as time is no feature (the row
nearest in time would give the label away); every other column is a beacon, whatever it is called.
Rows whose location is blank or ``?`` are unlabelled: counted, not used. Where only ``x``
and ``y`` are given, each distinct point is a cell, labelled like ``x=1.5,y=3.0``.

A file is read some rows at a time, and of those only what a survey holds is kept, so that a file of
any size fits. What may go wrong: the file is anyone's. Rows that are no measurement are dropped and
listed, as far as the site's thresholds go; beyond them the survey is set aside whole, with a reason
that names the line and the column.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions
from trainer.localization.readings import (
    EXPECTED,
    LOWEST_READING,
    MISSING_WORDS,
    NOT_HEARD_BELOW,
    FloatMatrix,
    heard_only,
    is_rssi,
)
from trainer.training.errors import BadSurvey
from trainer.training.reading.csv_blocks import Blocks, read_blocks
from trainer.training.reading.csv_text import (
    Header,
    Numbers,
    Table,
    Wanted,
    Words,
    read_header,
    read_tables,
)
from trainer.training.reading.row_faults import FaultKind, RowFault, check_share
from trainer.training.reading.site_description import Position, SiteDescription
from trainer.training.reading.times import TimeColumn, read_times

TIME_COLUMNS = frozenset({"date", "time", "timestamp", "datetime"})
UNLABELLED_WORDS = frozenset({*MISSING_WORDS, "?"})
MAX_NAME_CHARACTERS = 128
MAX_COORDINATE_M = 1e7
"""Larger than any projected coordinate on Earth."""
POSITION_TOLERANCE_M = 0.01
"""Two positions of one label that are nearer than this are the same, written down twice."""
LARGE_BYTES = 4 * 1024 * 1024
"""Below it the standard library is done before Polars would be imported (0.3 s)."""


@dataclass(frozen=True, slots=True)
class FileFormat:
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
    file_format: FileFormat = FileFormat()
    not_heard_below: float = NOT_HEARD_BELOW
    """dBm. Higher than usual where the site's surveys together showed a number that stands for "not
    heard" (:mod:`trainer.training.reading.missing_values`)."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column plays which part, by its place in the header."""

    names: tuple[str, ...]
    location: int | None
    point: tuple[int, int] | None
    beacons: tuple[int, ...]
    time: int | None


def read_survey(source: Path | bytes, site: SiteDescription, name: str | None = None) -> Survey:
    """Read one survey.

    Args:
        source: the file, or its content.
        site: where the survey was taken; its described positions are binding.
        name: what to call the survey; the file's name by default.

    Raises:
        BadSurvey: it can't be used; the reason says where it is wrong and what would be right.
        OSError: the file can't be read.
    """
    called = name or ("survey" if isinstance(source, bytes) else source.name)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return read_from(read_blocks(source), called, site, large=size >= LARGE_BYTES)


def read_from(read: Blocks, name: str, site: SiteDescription, *, large: bool) -> Survey:
    """:func:`read_survey` for a file that is open already.

    Args:
        read: the file.
        name: what to call the survey.
        site: where it was taken.
        large: whether the fast reader is worth its import.
    """
    begin = next((block for block in read.blocks if block.content.strip()), None)
    if begin is None:
        raise BadSurvey("The file is empty: upload a CSV with a header line and labelled rows.")
    header = read_header(begin.content.decode())
    columns = _columns(header.names, site.ignored_columns)
    numeric = (*(columns.point or ()), *columns.beacons)
    wanted = Wanted(columns.location, numeric, columns.time)
    tables = read_tables(chain([begin], read.blocks), header, wanted, large=large)
    with ThreadPoolExecutor(1) as beside:
        # While the next rows are read; NumPy lets go of the interpreter.
        parts = list(beside.map(partial(_part, columns), tables))
    survey = _survey(name, columns, parts, _Origin(read.encoding, header, site))
    _check_against_site(survey, site)
    return survey


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


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a survey comes from, for its report and its thresholds."""

    encoding: str
    header: Header
    site: SiteDescription


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What is kept of some rows; those that hold impossible numbers or labels are left out."""

    labels: Words
    """Blank for rows without a label."""
    rssi: FloatMatrix
    points: Positions | None
    lines: npt.NDArray[np.intp]
    faults: tuple[RowFault, ...]
    not_heard: Counter[str]
    times: TimeColumn | None = None


def _part(columns: _Columns, table: Table) -> _Part:
    sound = _measured(columns, table)
    points = None if columns.point is None else sound.numbers[:, :2].copy()
    values = _values(columns, sound)
    return _Part(
        labels=_labels(sound, points),
        rssi=np.ascontiguousarray(heard_only(values)),
        points=points,
        lines=sound.lines,
        faults=sound.faults,
        not_heard=_ways_not_heard(values),
        times=sound.times,
    )


def _survey(name: str, columns: _Columns, parts: list[_Part], origin: _Origin) -> Survey:
    """The parts as one survey; they are used up, as two of a large one would fill the memory."""
    times = read_times([part.times for part in parts if part.times is not None])
    whole = _together(parts, len(columns.beacons))
    parts.clear()
    rows = len(whole.lines) + len(whole.faults)
    labelled = np.array([bool(label) for label in whole.labels.distinct], dtype=bool)[
        whole.labels.codes
    ]
    silent = labelled & np.isnan(whole.rssi).all(axis=1)
    misplaced = _misplaced(whole, columns, labelled)
    faults = [*whole.faults, *misplaced, *silent_rows(whole.lines[silent])]
    faults.sort(key=lambda fault: fault.line)
    check_share(faults, rows, origin.site.thresholds)
    kept = labelled & ~silent
    if misplaced:
        kept &= ~np.isin(whole.lines, [fault.line for fault in misplaced])
    if not kept.any():
        raise BadSurvey(
            f"None of the {rows} rows says where it was taken: fill in location, or x and y."
        )
    distinct = np.array(whole.labels.distinct, dtype=object)
    return Survey(
        name=name,
        beacons=tuple(columns.names[place] for place in columns.beacons),
        rssi=whole.rssi if kept.all() else whole.rssi[kept],
        labels=tuple(distinct[whole.labels.codes[kept]].tolist()),
        positions=None if whole.points is None else whole.points[kept],
        ignored_rows=int((~labelled).sum()),
        lines=whole.lines[kept],
        times=None if times is None else times.seconds[kept],
        faults=tuple(faults),
        file_format=FileFormat(
            encoding=origin.encoding,
            delimiter=origin.header.delimiter,
            time_format=None if times is None else times.form,
            not_heard=tuple(
                sorted(whole.not_heard.items(), key=lambda way: (way[0] == "blank", way[0]))
            ),
        ),
    )


def _together(parts: Sequence[_Part], beacons: int) -> _Part:
    """All of the parts but their times."""
    points = [part.points for part in parts if part.points is not None]
    rssi = np.empty((sum(len(part.lines) for part in parts), beacons), dtype=np.float32)
    np.concatenate([part.rssi for part in parts], out=rssi)
    return _Part(
        labels=_joined_words([part.labels for part in parts]),
        rssi=rssi,
        points=np.concatenate(points) if points else None,
        lines=np.concatenate([part.lines for part in parts]),
        faults=tuple(chain.from_iterable(part.faults for part in parts)),
        not_heard=sum((part.not_heard for part in parts), Counter()),
    )


def _joined_words(columns: Sequence[Words]) -> Words:
    known: dict[str, int] = {}
    codes = []
    for column in columns:
        mapped = [known.setdefault(word, len(known)) for word in column.distinct]
        codes.append(np.array(mapped, dtype=np.int32)[column.codes])
    return Words(tuple(known), np.concatenate(codes))


def _values(columns: _Columns, table: Table) -> Numbers:
    """(rows, beacons) as written."""
    return table.numbers[:, 2:] if columns.point is not None else table.numbers


def _measured(columns: _Columns, table: Table) -> Table:
    """The table without rows that hold impossible numbers or labels."""
    faults = {fault.line: fault for fault in _long_labels(table)}
    for fault in (*_bad_points(columns, table), *_out_of_range(columns, table)):
        faults.setdefault(fault.line, fault)
    return table.without(sorted(faults.values(), key=lambda fault: fault.line))


def _out_of_range(columns: _Columns, table: Table) -> Iterator[RowFault]:
    values = _values(columns, table)
    wrong = ~is_rssi(values)
    if not wrong.any():
        return
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
    if table.locations is None:
        return
    lengths = np.array([len(word.strip()) for word in table.locations.distinct], dtype=np.intp)
    if not (lengths > MAX_NAME_CHARACTERS).any():
        return
    for row in np.flatnonzero((lengths > MAX_NAME_CHARACTERS)[table.locations.codes]).tolist():
        line, word = int(table.lines[row]), table.locations.distinct[table.locations.codes[row]]
        yield RowFault(
            line,
            FaultKind.LONG_LABEL,
            f"Line {line}: the location has {len(word)} characters, and "
            f"{MAX_NAME_CHARACTERS} are the most.",
        )


def silent_rows(lines: npt.NDArray[np.intp]) -> Iterator[RowFault]:
    """What is wrong with rows that hear no beacon, by their lines."""
    for line in lines.tolist():
        yield RowFault(
            line,
            FaultKind.SILENT,
            f"Line {line} hears no beacon, so it tells nothing of its place.",
        )


def _misplaced(whole: _Part, columns: _Columns, labelled: npt.NDArray[np.bool_]) -> list[RowFault]:
    """Rows that lie elsewhere than most rows of their label."""
    if whole.points is None or columns.location is None:
        return []
    placed = np.flatnonzero(labelled & ~np.isnan(whole.points[:, 0]))
    codes, points = whole.labels.codes[placed], whole.points[placed]
    usual = _usual_points(codes, points, len(whole.labels.distinct))
    wrong = (np.abs(points - usual[codes]) > POSITION_TOLERANCE_M).any(axis=1)
    return [
        _elsewhere(
            int(whole.lines[placed[row]]),
            whole.labels.distinct[codes[row]],
            points[row].tolist(),
            usual[codes[row]].tolist(),
        )
        for row in np.flatnonzero(wrong).tolist()
    ]


def _usual_points(codes: npt.NDArray[np.int32], points: Positions, labels: int) -> Positions:
    """(labels, 2) where most rows of each label lie; of equally many, the first in the file."""
    _, firsts, counts = np.unique(
        np.column_stack([codes, points]), axis=0, return_index=True, return_counts=True
    )
    usual = np.full((labels, 2), np.nan)
    # The last one that is written stays: the most rows, then the earliest.
    order = firsts[np.lexsort((-firsts, counts))]
    usual[codes[order]] = points[order]
    return usual


def _elsewhere(line: int, label: str, point: Sequence[float], usual: Sequence[float]) -> RowFault:
    (x, y), (usual_x, usual_y) = point, usual
    return RowFault(
        line,
        FaultKind.MISPLACED,
        f"Line {line}: the location {label!r} lies in more than one place, here at "
        f"({x:g}, {y:g}) and mostly at ({usual_x:g}, {usual_y:g}) m: correct x and y, or give each "
        "place its own label.",
    )


def _ways_not_heard(values: Numbers) -> Counter[str]:
    """How rows write "not heard", and how often: -200, -199, 0, 100, blank."""
    counted: Counter[str] = Counter()
    for column in values.T:
        written = column[~((column >= NOT_HEARD_BELOW) & (column < 0.0))]
        usual = int(np.count_nonzero(written == LOWEST_READING))
        blank = int(np.count_nonzero(np.isnan(written)))
        counted[f"{LOWEST_READING:g}"] += usual
        counted["blank"] += blank
        if usual + blank < len(written):
            others = written[(written != LOWEST_READING) & ~np.isnan(written)]
            counted.update(f"{number:g}" for number in others.tolist())
    return +counted


def _labels(table: Table, points: Positions | None) -> Words:
    """The cell of each row, blank where it has none."""
    if table.locations is not None:
        return replace(
            table.locations, distinct=tuple(_label(word) for word in table.locations.distinct)
        )
    return _point_labels(table.numbers[:, :2] if points is None else points)


def _point_labels(points: Positions) -> Words:
    """Each distinct point as a label; blank where there is none."""
    # One complex number sorts ten times as fast as two columns; minus zero becomes zero.
    keys = (points[:, 0] + 0.0) + 1j * (points[:, 1] + 0.0)
    keys[np.isnan(points[:, 0])] = np.nan
    distinct, codes = np.unique(keys, return_inverse=True)
    labels = (
        "" if np.isnan(key) else f"x={float(key.real)!r},y={float(key.imag)!r}" for key in distinct
    )
    return Words(tuple(labels), codes.astype(np.int32))


def _label(word: str) -> str:
    label = word.strip()
    return "" if label in UNLABELLED_WORDS else label


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


def _check_against_site(survey: Survey, site: SiteDescription) -> None:
    for label, point in positions_by_label(survey).items():
        if label in site.positions:
            check_same_place(label, point, site.positions[label], "in the site's description")
