"""Finds rows that are no measurement: impossible readings, points and labels, silence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions
from trainer.localization.readings import EXPECTED, is_rssi
from trainer.training.errors import ForeignColumns
from trainer.training.reading.columns import MAX_NAME_CHARACTERS, ColumnRoles
from trainer.training.reading.formats.port import CategoricalColumn, RowBatch
from trainer.training.reading.row_faults import FaultKind, RowFault

MAX_COORDINATE_M = 1e7
"""Larger than any projected coordinate on Earth."""
FEWEST_IMPOSSIBLE = 20
"""Fewer equal readings may be a typing error that was copied."""
FEWEST_FOREIGN = 5
MOST_FOREIGN = 0.5
"""Share of a column's numbers; with more that are no RSSI it is no beacon's."""
POSITION_TOLERANCE_M = 0.01
"""Positions of one label that are nearer than this count as the same, written differently."""


def without_bad_rows(batch: RowBatch, columns: ColumnRoles) -> RowBatch:
    """The batch without rows that hold impossible numbers or labels, which become its faults."""
    faults = {fault.line: fault for fault in _long_labels(batch)}
    for fault in (*_bad_points(batch, columns), *_out_of_range(batch, columns)):
        faults.setdefault(fault.line, fault)
    return batch.without(sorted(faults.values(), key=lambda fault: fault.line))


@dataclass(frozen=True, slots=True, eq=False)
class RangeCounts:
    """How many numbers of each beacon's column are there, and how many are no RSSI."""

    numbers: npt.NDArray[np.intp]
    impossible: npt.NDArray[np.intp]
    examples: npt.NDArray[np.float64]
    """One of the impossible, NaN where there is none."""

    def __add__(self, other: "RangeCounts") -> "RangeCounts":
        return RangeCounts(
            self.numbers + other.numbers,
            self.impossible + other.impossible,
            np.where(np.isnan(self.examples), other.examples, self.examples),
        )


def count_ranges(batch: RowBatch, columns: ColumnRoles) -> RangeCounts:
    """Count, before rows are dropped."""
    values = columns.readings(batch)
    wrong = ~is_rssi(values)
    return RangeCounts(
        np.count_nonzero(~np.isnan(values), axis=0),
        np.count_nonzero(wrong, axis=0),
        np.fmax.reduce(np.where(wrong, values, np.nan), axis=0, initial=np.nan),
    )


def check_columns(counts: RangeCounts, names: Sequence[str]) -> None:
    """Refuse a survey with columns of numbers that are no dBm.

    Raises:
        ForeignColumns: most numbers of a column are no RSSI.
    """
    foreign = counts.impossible > np.maximum(MOST_FOREIGN * counts.numbers, FEWEST_FOREIGN)
    if foreign.any():
        raise ForeignColumns(
            {names[beacon]: f"{counts.examples[beacon]:g}" for beacon in np.flatnonzero(foreign)}
        )


def without_impossible_sentinel(batch: RowBatch, columns: ColumnRoles) -> RowBatch:
    """The batch with a number that is no RSSI, such as 1 or -999, as missing values.

    Only where it is the one such number and frequent: a logger's own word for "not heard". Several
    different ones are errors of the rows.
    """
    values = columns.readings(batch)
    wrong = values[~is_rssi(values)]
    if len(wrong) < FEWEST_IMPOSSIBLE or (wrong != wrong[0]).any():
        return batch
    numbers = batch.numbers.copy()
    readings = numbers if columns.point is None else numbers[:, 2:]
    readings[readings == wrong[0]] = np.nan
    return replace(batch, numbers=numbers)


def _out_of_range(batch: RowBatch, columns: ColumnRoles) -> Iterator[RowFault]:
    values = columns.readings(batch)
    wrong = ~is_rssi(values)
    if not wrong.any():
        return
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        beacon = int(wrong[row].argmax())
        column = columns.names[columns.beacons[beacon]]
        line = int(batch.lines[row])
        yield RowFault(
            line,
            FaultKind.OUT_OF_RANGE,
            f"Line {line}, column {column!r}: {values[row, beacon]:g} is no RSSI; {EXPECTED}. "
            'A number that means "not heard" belongs into "not_heard" of site.json.',
        )


def _bad_points(batch: RowBatch, columns: ColumnRoles) -> Iterator[RowFault]:
    points = columns.points(batch)
    if columns.point is None or points is None:
        return
    given = ~np.isnan(points)
    half = ~given & given[:, ::-1]
    wrong = half | (given & ~(np.abs(points) <= MAX_COORDINATE_M))
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        column = columns.names[columns.point[int(wrong[row].argmax())]]
        line = int(batch.lines[row])
        yield RowFault(
            line,
            FaultKind.BAD_POINT,
            f"Line {line}, column {column!r}: x and y have to be metres, both or neither.",
        )


def _long_labels(batch: RowBatch) -> Iterator[RowFault]:
    if batch.locations is None:
        return
    lengths = np.array([len(word.strip()) for word in batch.locations.categories], dtype=np.intp)
    if not (lengths > MAX_NAME_CHARACTERS).any():
        return
    for row in np.flatnonzero((lengths > MAX_NAME_CHARACTERS)[batch.locations.codes]).tolist():
        line, word = int(batch.lines[row]), batch.locations.categories[batch.locations.codes[row]]
        yield RowFault(
            line,
            FaultKind.LONG_LABEL,
            f"Line {line}: the location has {len(word)} characters; at most "
            f"{MAX_NAME_CHARACTERS} are allowed.",
        )


def silent_rows(lines: npt.NDArray[np.intp]) -> Iterator[RowFault]:
    """The faults of rows that hear no beacon, by their lines."""
    for line in lines.tolist():
        yield RowFault(
            line,
            FaultKind.SILENT,
            f"Line {line} hears no beacon, so it says nothing about its location.",
        )


def misplaced_rows(
    labels: CategoricalColumn, points: Positions, lines: npt.NDArray[np.intp]
) -> list[RowFault]:
    """The faults of rows whose point differs from that of most rows of their label.

    Args:
        labels: of the rows, blank for a row without one.
        points: (rows, 2) in metres, NaN for a row without one.
        lines: (rows,) where each row begins.
    """
    labelled = np.array([bool(label) for label in labels.categories], dtype=bool)[labels.codes]
    placed = np.flatnonzero(labelled & ~np.isnan(points[:, 0]))
    codes, points = labels.codes[placed], points[placed]
    usual = _usual_points(codes, points, len(labels.categories))
    wrong = (np.abs(points - usual[codes]) > POSITION_TOLERANCE_M).any(axis=1)
    return [
        _misplaced(
            int(lines[placed[row]]),
            labels.categories[codes[row]],
            points[row].tolist(),
            usual[codes[row]].tolist(),
        )
        for row in np.flatnonzero(wrong).tolist()
    ]


def _usual_points(codes: npt.NDArray[np.int32], points: Positions, labels: int) -> Positions:
    """(labels, 2) the most frequent point of each label; in a tie, the first in the file."""
    _, firsts, counts = np.unique(
        np.column_stack([codes, points]), axis=0, return_index=True, return_counts=True
    )
    usual = np.full((labels, 2), np.nan)
    # The last assignment wins: the most rows, then the earliest.
    order = firsts[np.lexsort((-firsts, counts))]
    usual[codes[order]] = points[order]
    return usual


def _misplaced(line: int, label: str, point: Sequence[float], usual: Sequence[float]) -> RowFault:
    (x, y), (usual_x, usual_y) = point, usual
    return RowFault(
        line,
        FaultKind.MISPLACED,
        f"Line {line}: the location {label!r} lies in more than one place, here at "
        f"({x:g}, {y:g}) and mostly at ({usual_x:g}, {usual_y:g}) m: correct x and y, or give each "
        "place its own label.",
    )
