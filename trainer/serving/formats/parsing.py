"""From a request's body to fingerprints, or to the list of what is wrong with it.

A request is answered as a whole or not at all. Which numbers are readings is decided by
:mod:`trainer.localization.readings`, as in training.
"""

import csv
import io
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, product, repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from trainer.localization.errors import BadReadings, ReadingProblem
from trainer.localization.readings import (
    EXPECTED,
    LOWEST_READING,
    FloatMatrix,
    Floats,
    all_plain,
    heard_only,
    is_rssi,
    number_in,
)
from trainer.serving.formats.parsing_npy import parse_npy
from trainer.serving.formats.parsing_plain import parse_plain

MAX_ROWS = 50_000
"""Keeps the response, some 80 bytes a row, within SageMaker's 6 MB too."""
MAX_PROBLEMS = 5
"""The first few show the pattern; nobody reads a whole survey's worth."""
IGNORED_COLUMNS = frozenset({"location", "x", "y", "date", "time", "timestamp", "datetime"})

_NOT_HEARD = LOWEST_READING
_FEW = 64
"""Up to so many numbers, a loop takes less time than numpy's overhead."""
_NUMERIC = frozenset({int, float, type(None)})


class Readings(NamedTuple):
    """The content of a request."""

    rssi: FloatMatrix
    """(rows, beacons) in dBm, NaN or below -150 where a beacon was not heard."""
    unknown: int = 0
    """How many beacons the model does not know; they were left out."""
    top_k: int | None = None
    """How many of the likeliest cells the body asks for, if any."""


def parse_json(body: bytes, beacons: Sequence[str]) -> Readings:
    """Read ``{"instances": [...]}`` or a single object of beacons.

    Args:
        body: the request's; ``{"parameters": {"top_k": 3}}`` may stand beside the instances.
        beacons: the model's, in order.

    Raises:
        BadReadings: something is wrong; the message says what and where.
    """
    plain = parse_plain(body, beacons)
    if plain is not None:
        _check_count(len(plain))
        return Readings(plain)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadReadings(f"The body is no JSON: {error}.") from error
    instances = _instances(document)
    if not instances:
        raise BadReadings('There are no rows: send {"instances": [...]} with one at least.')
    return _readings(instances, beacons, _requested_top_k(document))


def parse_json_lines(body: bytes, beacons: Sequence[str]) -> Readings:
    """Read one object of beacons, or list of dBm, per line; blank lines are skipped.

    Raises:
        BadReadings: something is wrong; the message says what and where.
    """
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise BadReadings("There are no rows: send one line of JSON at least.")
    _check_count(len(lines))
    return _readings([_line(row, line) for row, line in enumerate(lines)], beacons, None)


def _line(row: int, line: bytes) -> object:
    try:
        instance: object = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = ReadingProblem(row, None, f"the line is no JSON: {error}")
        raise BadReadings(f"Row {row} is no JSON: {error}.", [problem]) from error
    return instance


def _readings(instances: Sequence[Any], beacons: Sequence[str], top_k: int | None) -> Readings:
    _check_count(len(instances))
    kinds = set(map(type, instances))
    _check_shapes(instances, kinds, len(beacons))
    if kinds == {list}:
        return Readings(_rssi([*chain.from_iterable(instances)], beacons), 0, top_k)
    unknown = _unknown_beacons(instances, kinds, beacons)
    in_order = [
        map(instance.get, beacons, repeat(_NOT_HEARD)) if type(instance) is dict else instance
        for instance in instances
    ]
    return Readings(_rssi([*chain.from_iterable(in_order)], beacons), unknown, top_k)


def _requested_top_k(document: object) -> int | None:
    parameters = None
    if isinstance(document, dict) and "instances" in document:
        parameters = document.get("parameters")
    if parameters is None:
        return None
    if not isinstance(parameters, dict) or set(parameters) != {"top_k"}:
        raise BadReadings('"parameters" may be {"top_k": NUMBER} and nothing else.')
    top_k = parameters["top_k"]
    if type(top_k) is not int:
        raise BadReadings(f'"top_k" is {_shown(top_k)}, and has to be a whole number.')
    return top_k


def _instances(document: object) -> list[object]:
    if isinstance(document, dict):
        rows = document.get("instances", [document] if document else [])
        if isinstance(rows, list):
            return rows
    raise BadReadings(
        'Send {"instances": [...]} with objects of beacon and dBm, or lists of dBm in the model\'s '
        "order; or a single such object."
    )


def _check_count(rows: int) -> None:
    if rows > MAX_ROWS:
        raise BadReadings(f"{rows} rows are too many for one request: send {MAX_ROWS} at most.")


def _check_shapes(instances: Sequence[Any], kinds: set[type], width: int) -> None:
    if kinds == {dict}:
        return
    if kinds <= {dict, list}:
        lists = (
            instances if len(kinds) == 1 else (one for one in instances if isinstance(one, list))
        )
        if set(map(len, lists)) == {width}:
            return
    _refuse(
        ReadingProblem(row, None, problem)
        for row, instance in enumerate(instances)
        if (problem := _shape_problem(instance, width))
    )


def _shape_problem(instance: object, width: int) -> str | None:
    if isinstance(instance, dict):
        return None
    if not isinstance(instance, list):
        return "expected an object of beacons, or a list of dBm"
    if len(instance) != width:
        return f"expected {width} numbers, one for each of the model's beacons; got {len(instance)}"
    return None


def _unknown_beacons(instances: Sequence[Any], kinds: set[type], beacons: Sequence[str]) -> int:
    """How many unknown beacons there are; other beacons can be heard everywhere.

    Raises:
        BadReadings: all of them are unknown, so this is another site.
    """
    only_objects = len(kinds) == 1
    if only_objects and all(map(frozenset(beacons).issuperset, instances)):
        return 0
    named = instances if only_objects else [one for one in instances if isinstance(one, dict)]
    names = set[str]().union(*named)
    unknown = len(names.difference(beacons))
    if unknown == len(names) > 0 and only_objects:
        raise BadReadings(
            f"No row names any of this model's {len(beacons)} beacons ({_some(beacons)}): is it "
            "another site's model, or are the beacons called otherwise?"
        )
    return unknown


def _rssi(flat: list[Any], beacons: Sequence[str]) -> FloatMatrix:
    """(rows, beacons) from the values of all rows, one after another."""
    plain = _few_plain(flat) if len(flat) <= _FEW else _many_plain(flat)
    if plain is None:
        return _checked(_numbers(flat, beacons).reshape(-1, len(beacons)), beacons)
    return plain.reshape(-1, len(beacons))


def _few_plain(flat: list[Any]) -> FloatMatrix | None:
    """The numbers, if all are plain dBm; booleans are not, as they are not below zero."""
    try:
        numbers = array("f", flat)
    except (TypeError, OverflowError):
        return None
    plain = min(numbers) >= LOWEST_READING and max(numbers) < 0.0
    return np.frombuffer(numbers, dtype=np.float32) if plain else None


def _many_plain(flat: list[Any]) -> FloatMatrix | None:
    """The same for many; integers, which most dBm are, in a third of the time."""
    try:
        packed = struct.pack(f"{len(flat)}h", *flat)
        numbers = np.frombuffer(packed, dtype=np.int16).astype(np.float32)
    except struct.error:
        try:
            numbers = np.frombuffer(array("f", flat), dtype=np.float32)
        except (TypeError, OverflowError):
            return None
    return numbers if all_plain(numbers) else None


def _numbers(flat: list[Any], beacons: Sequence[str]) -> npt.NDArray[np.float64]:
    """The numbers of all rows one after another, NaN for null."""
    if not set(map(type, flat)) <= _NUMERIC:
        places = product(range(len(flat) // len(beacons)), beacons)
        _refuse(
            ReadingProblem(row, beacon, f"{_shown(value)} is no number; {EXPECTED}")
            for (row, beacon), value in zip(places, flat, strict=True)
            if type(value) not in _NUMERIC
        )
    return np.array(flat, dtype=np.float64)


def parse_matrix(body: bytes, beacons: Sequence[str]) -> Readings:
    """Read an npy file: (rows, beacons) of dBm in the model's order.

    Raises:
        BadReadings: something is wrong; the message says what and where.
    """
    values = parse_npy(body, len(beacons))
    _check_count(len(values))
    return Readings(_checked(values, beacons))


def _checked(sent: Floats, columns: Sequence[str]) -> FloatMatrix:
    """The readings in single precision, as the model takes them, if all of them are valid.

    Precision is reduced before the check: otherwise -150.00000001 would count as heard or not
    depending on the values beside it.
    """
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(sent, dtype=np.float32)
    if all_plain(values):
        return values
    wrong = ~is_rssi(values)
    if wrong.any():
        places = np.argwhere(wrong)[:MAX_PROBLEMS].tolist()
        _refuse(
            ReadingProblem(row, columns[place], f"{sent[row, place]:g} is no RSSI; {EXPECTED}")
            for row, place in places
        )
    return heard_only(values)


def parse_csv(body: bytes, beacons: Sequence[str]) -> Readings:
    """Read CSV: with a header in any order of columns, or without one in the model's order.

    Args:
        body: the request's, UTF-8.
        beacons: the model's, in order.

    Raises:
        BadReadings: something is wrong; the message says what and where.
    """
    rows = _csv_rows(body)
    header: list[str] | None = None
    if rows and _is_header(rows[0], beacons):
        header, rows = [name.strip() for name in rows[0]], rows[1:]
    if not rows:
        raise BadReadings("There are no rows: send one line of dBm at least.")
    _check_count(len(rows))
    columns = header or list(beacons)
    _check_columns(columns, beacons)
    _refuse(
        ReadingProblem(
            place, None, f"expected {len(columns)} fields, {_width_of(header)}; got {len(row)}"
        )
        for place, row in enumerate(rows)
        if len(row) != len(columns)
    )
    unknown = {
        name for name in set(columns).difference(beacons) if name.lower() not in IGNORED_COLUMNS
    }
    return Readings(_csv_matrix(rows, columns, beacons), len(unknown))


def _csv_rows(body: bytes) -> list[list[str]]:
    try:
        text = body.decode("utf-8-sig")
        return [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadReadings(f"The body is no CSV in UTF-8: {error}.") from error


def _is_header(row: Sequence[str], beacons: Sequence[str]) -> bool:
    names = {field.strip() for field in row}
    return bool(names & set(beacons)) or any(name.lower() in IGNORED_COLUMNS for name in names)


def _width_of(header: Sequence[str] | None) -> str:
    return "one for each of the model's beacons" if header is None else "as the header has"


def _check_columns(columns: Sequence[str], beacons: Sequence[str]) -> None:
    times = Counter(columns)
    for beacon in beacons:
        if times[beacon] > 1:
            raise BadReadings(
                f"The header names {beacon} twice.", [ReadingProblem(None, beacon, "named twice")]
            )
    if not times.keys() & set(beacons):
        raise BadReadings(
            f"The header names none of this model's {len(beacons)} beacons ({_some(beacons)}): is "
            "it another site's model, or are the beacons called otherwise?"
        )


def _csv_matrix(
    rows: Sequence[Sequence[str]], columns: Sequence[str], beacons: Sequence[str]
) -> FloatMatrix:
    fields = list(zip(*rows, strict=True))
    values = np.full((len(rows), len(beacons)), np.nan)
    for place, beacon in enumerate(beacons):
        if beacon in columns:
            values[:, place] = _csv_numbers(fields[columns.index(beacon)], beacon)
    return _checked(values, beacons)


def _csv_numbers(fields: Sequence[str], beacon: str) -> list[float]:
    numbers = {field: number_in(field) for field in set(fields)}
    _refuse(
        ReadingProblem(row, beacon, f"{_shown(field)} is no number; {EXPECTED}")
        for row, field in enumerate(fields)
        if numbers[field] is None
    )
    return [number for field in fields if (number := numbers[field]) is not None]


def _refuse(problems: Iterable[ReadingProblem]) -> None:
    """Raise if there is any problem at all, with the first few."""
    found = [problem for problem, _ in zip(problems, range(MAX_PROBLEMS), strict=False)]
    if found:
        first = found[0]
        where = f"Row {first.row}" + (f", {first.column}" if first.column else "")
        raise BadReadings(f"{where}: {first.problem}. Nothing was answered.", found)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _some(beacons: Sequence[str]) -> str:
    return ", ".join(beacons[:3]) + (", ..." if len(beacons) > 3 else "")
