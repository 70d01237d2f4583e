"""Pivots files with one reading per row into one fingerprint per row.

A fingerprint is what was read at one place, by one device, within :data:`WINDOW_S`; a beacon that
is read again begins the next one. Read as it is, such a file would train a model of one beacon.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.training.errors import BadSurvey
from trainer.training.reading.formats.csv_blocks import LineBlock
from trainer.training.reading.formats.csv_text import CsvHeader, text_rows
from trainer.training.reading.times import read_times, time_column

WINDOW_S = 1.0
"""A scan of all channels takes a fraction of it; walkers move by a step meanwhile."""
MAX_BEACONS = 10_000


@dataclass(slots=True)
class _Fingerprint:
    others: tuple[str, ...]
    started_s: float
    readings: dict[str, str] = field(default_factory=dict)


def pivot(
    blocks: Iterator[LineBlock], header: CsvHeader, beacon: int, rssi: int, time: int | None
) -> tuple[CsvHeader, bytes]:
    """Give each beacon a column of its own.

    Args:
        blocks: a whole file with one reading per row.
        header: of the file.
        beacon: the index of the column that names the beacon.
        rssi: that of its reading.
        time: that of the time, if there is one.

    Returns:
        The new header, and a CSV that begins with it.

    Raises:
        BadSurvey: a row has more or fewer fields than the header, or there are too many beacons.
    """
    rows = [_whole(row, line, header) for row, line, _ in text_rows(blocks, header)]
    kept = [index for index in range(len(header.names)) if index not in {beacon, rssi}]
    seconds = _seconds(rows, time)
    order = np.argsort(seconds, kind="stable").tolist()
    fingerprints: list[_Fingerprint] = []
    latest: dict[tuple[str, ...], _Fingerprint] = {}
    for index in order:
        row, at = rows[index], float(seconds[index])
        others, name = tuple(row[column] for column in kept), row[beacon].strip()
        identity = tuple(row[column] for column in kept if column != time)
        found = latest.get(identity)
        if found is None or name in found.readings or at - found.started_s > WINDOW_S:
            found = latest[identity] = _Fingerprint(others, at)
            fingerprints.append(found)
        found.readings[name] = row[rssi]
    return _as_csv(header, [header.names[column] for column in kept], fingerprints)


def _whole(row: Sequence[str], line: int, header: CsvHeader) -> Sequence[str]:
    if len(row) != len(header.names):
        raise BadSurvey(
            f"Line {line} has {len(row)} fields, and the header names {len(header.names)} columns: "
            "correct the row."
        )
    return row


def _seconds(
    rows: Sequence[Sequence[str]], time: int | None
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """(rows,) 0 where no time is known, so that rows keep the file's order."""
    if time is None or not rows:
        return np.zeros(len(rows))
    times = read_times([time_column([row[time] for row in rows])])
    return np.zeros(len(rows)) if times is None else np.nan_to_num(times.seconds)


def _as_csv(
    header: CsvHeader, names: Sequence[str], fingerprints: Sequence[_Fingerprint]
) -> tuple[CsvHeader, bytes]:
    beacons = tuple(dict.fromkeys(name for found in fingerprints for name in found.readings))
    if len(beacons) > MAX_BEACONS:
        raise BadSurvey(
            f"The column of beacons holds {len(beacons)} different names, more than {MAX_BEACONS}: "
            "is it the right column?"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *beacons])
    writer.writerows(_lines(fingerprints, beacons))
    return CsvHeader((*names, *beacons), ",", header.decimal), text.getvalue().encode()


def _lines(
    fingerprints: Sequence[_Fingerprint], beacons: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    for found in fingerprints:
        yield (*found.others, *(found.readings.get(name, "") for name in beacons))
