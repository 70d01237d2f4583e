"""The quick way through a JSON body of plain numbers: the same readings, or nothing at all."""

import json
import threading

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.serving.formats.parsing_plain import parse_plain

BEACONS = ("b1", "b2", "b3")
ROWS = 100
PLAIN = [[-70, -200, -55.5]] * ROWS

FEW_ROWS = st.lists(
    st.lists(st.integers(-200, -1) | st.floats(-200, -0.5, width=32), min_size=3, max_size=3),
    min_size=1,
    max_size=8,
)


def body(rows: object) -> bytes:
    return json.dumps({"instances": rows}).encode()


@given(FEW_ROWS)
def test_plain_readings_are_read_as_they_were_sent(few: list[list[float]]) -> None:
    rows = few * ROWS
    matrix = parse_plain(body(rows), BEACONS)

    assert matrix is not None
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, np.array(rows, dtype=np.float32))


@given(FEW_ROWS)
def test_it_does_not_matter_how_json_is_laid_out(few: list[list[float]]) -> None:
    rows = few * ROWS
    compact, spread = orjson.dumps({"instances": rows}), json.dumps({"instances": rows}, indent=3)

    one, other = (parse_plain(each, BEACONS) for each in (compact, spread.encode()))

    assert one is not None
    assert other is not None
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "sent",
    [
        body([*PLAIN, [-70, -71]]),
        body([*PLAIN, [-70, -71, -72, -73], [-70, -71]]),
        body([*PLAIN, -70, -71, -72]),
        body([*PLAIN, [[-70], -71, -72]]),
        body([*PLAIN, [-70, -71, None]]),
        body([*PLAIN, [-70, -71, True]]),
        body([*PLAIN, [-70, -71, "-72"]]),
        body([*PLAIN, [-70, -71, {}]]),
        body([*PLAIN, [-70, -71, 0]]),
        body([*PLAIN, [-70, -71, 100]]),
        body([*PLAIN, [-70, -71, -200.5]]),
        body([*PLAIN, [-70, -71, -1e300]]),
        body([*PLAIN, [-70, -71, -(10**30)]]),
        body([*PLAIN, {"b1": -70}]),
        body([{"b1": -70}] * ROWS),
        body([]) + b" " * 2000,
        body(PLAIN)[:-1],
        b"\xef\xbb\xbf" + body(PLAIN),
        body(PLAIN) + b"]",
        body(PLAIN).replace(b"-70,", b"-,", 1),
        body(PLAIN).replace(b"-70,", b"-070,", 1),
        body(PLAIN).replace(b"-70,", b"NaN,", 1),
        body(PLAIN).replace(b"-70,", b",", 1),
        body(PLAIN).replace(b"]]", b",]]"),
        body(PLAIN).replace(b"instances", b"rows"),
        body(PLAIN).replace(b'"instances"', b'"instances\xff"'),
        json.dumps(PLAIN).encode(),
        json.dumps(["instances", PLAIN]).encode(),
        json.dumps({"instances": PLAIN, "parameters": {"top_k": 2}}).encode(),
        b'{"instances":' + b"[" * 5000,
        b"\0" * 5000,
    ],
)
def test_any_other_body_is_left_to_the_general_parser(sent: bytes) -> None:
    assert parse_plain(sent, BEACONS) is None
    assert parse_plain(body(PLAIN), BEACONS) is not None


def test_bodies_that_are_short_or_large_go_the_long_way() -> None:
    assert parse_plain(body(PLAIN[:3]), BEACONS) is None
    assert parse_plain(body(PLAIN * 200), BEACONS) is None


def test_threads_read_beside_each_other() -> None:
    bodies = [body([[-1 - number, -2, -3]] * ROWS) for number in range(4)]
    wrong: list[int] = []

    def read(number: int) -> None:
        for _ in range(200):
            matrix = parse_plain(bodies[number], BEACONS)
            if matrix is None or matrix[0, 0] != -1 - number:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
