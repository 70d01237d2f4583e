"""Reads one survey, or says why it has to be quarantined.

A survey is a table of fingerprints in a known file format
(:mod:`trainer.training.reading.formats`) with the columns that
:mod:`trainer.training.reading.columns` describes. Rows whose location is blank or ``?`` are
unlabelled: counted, not used. A file is read in batches and only what a survey contains is kept, so
a file of any size fits into memory.

Files come from anyone. Rows that are no measurement are dropped and listed, up to the site's
thresholds; beyond them the whole survey is refused, with a reason that names line and column.
"""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import chain
from operator import add
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions
from trainer.localization.readings import (
    LOWEST_READING,
    NOT_HEARD_BELOW,
    FloatMatrix,
    heard_only,
)
from trainer.training.errors import BadSurvey, ForeignColumns
from trainer.training.reading.columns import (
    ColumnRoles,
    find_columns,
    find_long_form,
    labels_of,
)
from trainer.training.reading.formats.port import (
    CategoricalColumn,
    FileFormat,
    FileLayout,
    Numbers,
    RowBatch,
    SurveyFile,
)
from trainer.training.reading.formats.registry import open_survey
from trainer.training.reading.geography import in_metres
from trainer.training.reading.row_checks import (
    POSITION_TOLERANCE_M,
    RangeCounts,
    check_columns,
    count_ranges,
    misplaced_rows,
    silent_rows,
    without_bad_rows,
    without_impossible_sentinel,
)
from trainer.training.reading.row_faults import RowFault, check_share
from trainer.training.reading.site_description import Position, SiteDescription
from trainer.training.reading.storeys import StoreyColumn, joined_storeys, with_storeys
from trainer.training.reading.time_formats import TimeColumn
from trainer.training.reading.times import read_times


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
    """Number of rows without a label."""
    lines: npt.NDArray[np.intp]
    """(rows,) the line of the file on which each row begins."""
    times: npt.NDArray[np.float64] | None = None
    """(rows,) seconds since 1970 by the logger's own clock, NaN for a row without one."""
    faults: tuple[RowFault, ...] = ()
    """Dropped rows, in the order of lines."""
    file_format: FileFormat = field(default_factory=FileFormat)
    not_heard_below: float = NOT_HEARD_BELOW
    """dBm. Higher than the default if the site's surveys contain a sentinel for "not heard"
    (:mod:`trainer.training.reading.missing_values`)."""
    is_labelled_by_points: bool = False
    """Whether the labels were made from x and y, for lack of a location column."""
    storeys: StoreyColumn | None = None
    """The building and floor of each row; None if the file names none."""


def read_survey(source: Path | bytes, site: SiteDescription, name: str | None = None) -> Survey:
    """Read one survey.

    Args:
        source: the file, or its content.
        site: where the survey was taken; its described positions are binding.
        name: the survey's name; the file's name by default.

    Raises:
        BadSurvey: it can't be used; the reason says where it is wrong and what would be right.
        OSError: the file can't be read.
    """
    try:
        return _read(source, site, name)
    except ForeignColumns as error:
        # Once those are ignored, columns may show that the first reading did not get to.
        patterns = (*site.ignored_columns, *map(_escaped, error.columns))
        try:
            _read(source, site.model_copy(update={"ignored_columns": patterns}), name)
        except ForeignColumns as further:
            raise ForeignColumns({**further.columns, **error.columns}) from error
        except BadSurvey:
            raise error from None
        raise


def _escaped(name: str) -> str:
    """A pattern that matches a name alone."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _read(source: Path | bytes, site: SiteDescription, name: str | None) -> Survey:
    survey_name = name or ("survey" if isinstance(source, bytes) else source.name)
    layout = FileLayout(site.delimiter, site.decimal)
    file = open_survey(source, survey_name, layout)
    long_form = find_long_form(file.column_names, site)
    if long_form is not None:
        file = file.pivoted(*long_form)
    return read_open_survey(file, survey_name, site)


def read_open_survey(file: SurveyFile, name: str, site: SiteDescription) -> Survey:
    """:func:`read_survey` for a file that is open already.

    Raises:
        BadSurvey: it can't be used.
    """
    columns = find_columns(file.column_names, site)
    with ThreadPoolExecutor(1) as pool:
        # In parallel to reading the next batch; NumPy releases the interpreter's lock.
        parts = list(pool.map(partial(_usable, columns), file.batches(columns.selection)))
    survey = _survey(name, columns, parts, file.file_format, site)
    _check_against_site(survey, site)
    return survey


@dataclass(frozen=True, slots=True, eq=False)
class _UsableRows:
    """Some rows of a survey, without those that hold impossible numbers or labels."""

    labels: CategoricalColumn
    """Blank for rows without a label."""
    rssi: FloatMatrix
    points: Positions | None
    lines: npt.NDArray[np.intp]
    faults: tuple[RowFault, ...]
    not_heard: Counter[str]
    ranges: RangeCounts
    times: TimeColumn | None = None
    storeys: StoreyColumn | None = None


def _usable(columns: ColumnRoles, batch: RowBatch) -> _UsableRows:
    batch = without_impossible_sentinel(batch, columns)
    ranges = count_ranges(batch, columns)
    batch = without_bad_rows(batch, columns)
    points, readings = columns.points(batch), columns.readings(batch)
    points = None if points is None else points.copy()
    return _UsableRows(
        labels=labels_of(batch, columns),
        storeys=columns.storeys(batch),
        rssi=np.ascontiguousarray(heard_only(readings)),
        points=points,
        lines=batch.lines,
        faults=batch.faults,
        not_heard=_count_not_heard(readings),
        ranges=ranges,
        times=batch.times,
    )


def _survey(
    name: str,
    columns: ColumnRoles,
    parts: list[_UsableRows],
    file_format: FileFormat,
    site: SiteDescription,
) -> Survey:
    """Join the parts; they are cleared on the way, as a large survey does not fit twice."""
    times = read_times([part.times for part in parts if part.times is not None])
    whole = _joined(parts, len(columns.beacons))
    parts.clear()
    check_columns(whole.ranges, columns.beacon_names)
    if whole.points is not None:
        whole = replace(whole, points=in_metres(whole.points, columns.unit))
    if whole.storeys is not None:
        by_points = columns.location is None
        named = with_storeys(whole.labels, whole.storeys, always=by_points)
        whole = replace(whole, labels=named)
    rows = len(whole.lines) + len(whole.faults)
    labelled = np.array([bool(label) for label in whole.labels.categories], dtype=bool)[
        whole.labels.codes
    ]
    silent = labelled & np.isnan(whole.rssi).all(axis=1)
    misplaced = (
        []
        if whole.points is None or columns.location is None
        else misplaced_rows(whole.labels, whole.points, whole.lines)
    )
    faults = [*whole.faults, *misplaced, *silent_rows(whole.lines[silent])]
    faults.sort(key=lambda fault: fault.line)
    check_share(faults, rows, site.thresholds)
    kept = labelled & ~silent
    if misplaced:
        kept &= ~np.isin(whole.lines, [fault.line for fault in misplaced])
    if not kept.any():
        raise BadSurvey(
            f"None of the {rows} rows says where it was taken: fill in location, or x and y."
        )
    categories = np.array(whole.labels.categories, dtype=object)
    return Survey(
        name=name,
        beacons=columns.beacon_names,
        rssi=whole.rssi if kept.all() else whole.rssi[kept],
        labels=tuple(categories[whole.labels.codes[kept]].tolist()),
        positions=None if whole.points is None else whole.points[kept],
        ignored_rows=int((~labelled).sum()),
        lines=whole.lines[kept],
        times=None if times is None else times.seconds[kept],
        is_labelled_by_points=columns.location is None,
        storeys=None if whole.storeys is None else whole.storeys.filter(kept),
        faults=tuple(faults),
        file_format=replace(
            file_format,
            columns=columns.description,
            time_format=None if times is None else times.time_format,
            not_heard=tuple(
                sorted(whole.not_heard.items(), key=lambda way: (way[0] == "blank", way[0]))
            ),
        ),
    )


def _joined(parts: Sequence[_UsableRows], beacons: int) -> _UsableRows:
    """The parts as one, without their times."""
    points = [part.points for part in parts if part.points is not None]
    storeys = [part.storeys for part in parts if part.storeys is not None]
    rssi = np.empty((sum(len(part.lines) for part in parts), beacons), dtype=np.float32)
    np.concatenate([part.rssi for part in parts], out=rssi)
    return _UsableRows(
        labels=_joined_categories([part.labels for part in parts]),
        rssi=rssi,
        points=np.concatenate(points) if points else None,
        lines=np.concatenate([part.lines for part in parts]),
        faults=tuple(chain.from_iterable(part.faults for part in parts)),
        not_heard=sum((part.not_heard for part in parts), Counter()),
        storeys=joined_storeys(storeys) if storeys else None,
        ranges=reduce(add, (part.ranges for part in parts)),
    )


def _joined_categories(columns: Sequence[CategoricalColumn]) -> CategoricalColumn:
    known: dict[str, int] = {}
    codes = []
    for column in columns:
        mapped = [known.setdefault(word, len(known)) for word in column.categories]
        codes.append(np.array(mapped, dtype=np.int32)[column.codes])
    return CategoricalColumn(tuple(known), np.concatenate(codes))


def _count_not_heard(readings: Numbers) -> Counter[str]:
    """How often each way to write "not heard" occurs: -200, -199, 0, 100, blank."""
    counted: Counter[str] = Counter()
    for column in readings.T:
        written = column[~((column >= NOT_HEARD_BELOW) & (column < 0.0))]
        usual = int(np.count_nonzero(written == LOWEST_READING))
        blank = int(np.count_nonzero(np.isnan(written)))
        counted[f"{LOWEST_READING:g}"] += usual
        counted["blank"] += blank
        if usual + blank < len(written):
            others = written[(written != LOWEST_READING) & ~np.isnan(written)]
            counted.update(f"{number:g}" for number in others.tolist())
    return +counted


def positions_by_label(survey: Survey) -> dict[str, Position]:
    """The survey's own positions of its labels, in metres; empty without x and y.

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
    for index in np.flatnonzero((highest - lowest > POSITION_TOLERANCE_M).any(axis=1)):
        (west, south), (east, north) = lowest[index], highest[index]
        raise BadSurvey(
            f"The location {labels[index]!r} lies in more than one place, from ({west:g}, "
            f"{south:g}) to ({east:g}, {north:g}) m: correct x and y, or give each place its own "
            "label."
        )
    return {str(label): (float(x), float(y)) for label, (x, y) in zip(labels, lowest, strict=True)}


def check_same_place(label: str, one: Position, other: Position, whose: str) -> None:
    """Refuse a position that contradicts an earlier one.

    Raises:
        BadSurvey: they are further apart than :data:`POSITION_TOLERANCE_M`.
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
