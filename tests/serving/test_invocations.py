"""What /invocations makes of a body: every row answered in order, or nothing and why."""

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.served import Served
from tests.serving.small_model import BEACONS, RELEASE, fingerprints
from trainer.serving.exchange import HttpResponse
from trainer.serving.formats.parsing import MAX_ROWS

JSON, CSV = "application/json", "text/csv"


def invoke(
    service: Served,
    body: bytes | str | object,
    content_type: str = JSON,
    headers: dict[str, str] | None = None,
) -> HttpResponse:
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    asked = {"content-type": content_type, **(headers or {})}
    return service.ask("POST", service.path, body, asked)


def predictions(reply: HttpResponse) -> list[dict[str, object]]:
    assert reply.status == 200, reply.body
    found: list[dict[str, object]] = orjson.loads(reply.body)["predictions"]
    return found


def expected(service: Served, *rows: list[float]) -> list[dict[str, object]]:
    model = service.model
    return [
        {"location": answer.location, "x": answer.x, "y": answer.y, "confidence": answer.confidence}
        for answer in model.answers(np.array(rows, dtype=np.float32))
    ]


def test_an_answer_names_its_release_and_digest_in_body_and_header(service: Served) -> None:
    reply = invoke(service, {"instances": [{"b3001": -70}]})
    digest = service.model.digest

    document = orjson.loads(reply.body)
    assert (document["schema_version"], document["release"]) == (1, RELEASE)
    assert document["digest"] == digest
    assert dict(reply.headers) == {
        "x-amzn-sagemaker-custom-attributes": f"release={RELEASE};digest={digest}",
        "x-rssi-release": RELEASE,
        "x-rssi-digest": digest,
        "x-rssi-schema-version": "1",
        "x-rssi-unknown-beacons": "0",
    }


NAN = math.nan
SAME_ROW = {
    "object": (JSON, {"instances": [{"b3001": -70, "AA:BB:01": -80.5}]}),
    "object alone": (JSON, {"AA:BB:01": -80.5, "b3001": -70}),
    "list": (JSON, {"instances": [[-70, -200, -80.5]]}),
    "null": (JSON, {"instances": [[-70, None, -80.5]]}),
    "hundred": (JSON, {"instances": [{"b3001": -70, "b3002": 100, "AA:BB:01": -80.5}]}),
    "zero": (JSON, {"instances": [[-70, 0, -80.5]]}),
    "other beacons in the air": (
        JSON,
        {"instances": [{"b3001": -70, "AA:BB:01": -80.5, "q": "?"}]},
    ),
    "charset": ("Application/JSON; charset=utf-8", {"instances": [[-70, -199, -80.5]]}),
    "csv": (CSV, "-70,-200,-80.5\n"),
    "csv without a last newline": (CSV, "-70,,-80.5"),
    "csv with a header": (CSV, "b3001,b3002,AA:BB:01\n-70,NaN,-80.5\n"),
    "csv in another order": (CSV, "AA:BB:01,location,date,b3001\r\n-80.5,A01,10-18-2016,-70\r\n"),
    "csv with foreign columns": (CSV, "x,y,b3001,b9999,AA:BB:01\n1,2,-70,-60,-80.5\n"),
    "csv with quotes and a mark": (CSV, '\ufeff"b3001","AA:BB:01"\n"-70"," -80.5"\n'),
    "csv of a survey": (CSV, "location,b3001,b3002,AA:BB:01\n?,-70,100,-80.5\n\n"),
}


@pytest.mark.parametrize(("content_type", "body"), SAME_ROW.values(), ids=SAME_ROW.keys())
def test_every_way_to_write_a_row_gets_the_same_answer(
    service: Served, content_type: str, body: object
) -> None:
    assert predictions(invoke(service, body, content_type)) == expected(service, [-70, NAN, -80.5])


def test_rows_are_answered_in_order_and_as_if_alone(service: Served) -> None:
    rows = [
        {beacon: float(dbm) for beacon, dbm in zip(BEACONS, row, strict=True) if not np.isnan(dbm)}
        for row in fingerprints(100)
    ]

    together = predictions(invoke(service, {"instances": rows}))

    alone = [predictions(invoke(service, {"instances": [row]}))[0] for row in rows]
    assert together == alone
    assert len({str(answer) for answer in together}) > 20


def test_a_row_that_hears_nothing_is_answered_too(service: Served) -> None:
    assert predictions(invoke(service, {"instances": [{}, {"elsewhere": -60, "b3001": None}]})) == (
        expected(service, [NAN] * 3, [NAN] * 3)
    )


BAD = {
    "empty": (JSON, b"", 400),
    "no json": (JSON, b"hello", 400),
    "truncated": (JSON, b'{"instances": [{"b3001": -7', 400),
    "not utf-8": (JSON, b'{"instances": [{"b3001\xff": -70}]}', 400),
    "a list": (JSON, [[-70, -70, -70]], 400),
    "a number": (JSON, 7, 400),
    "null": (JSON, None, 400),
    "an empty object": (JSON, {}, 400),
    "no instances": (JSON, {"instances": []}, 400),
    "instances no list": (JSON, {"instances": {"b3001": -70}}, 400),
    "instances of text": (JSON, {"instances": ["-70"]}, 400),
    "instances of null": (JSON, {"instances": [None]}, 400),
    "too narrow": (JSON, {"instances": [[-70, -70]]}, 400),
    "too wide": (JSON, {"instances": [[-70] * 4]}, 400),
    "nested": (JSON, {"instances": [[[-70], -70, -70]]}, 400),
    "deeply nested": (JSON, b'{"instances":' + b"[" * 100_000, 400),
    "deeply nested and closed": (JSON, b"[" * 5000 + b"]" * 5000, 400),
    "NaN": (JSON, b'{"instances": [[NaN, -70, -70]]}', 400),
    "infinity": (JSON, b'{"instances": [[-Infinity, -70, -70]]}', 400),
    "overflow": (JSON, b'{"instances": [[-1e999, -70, -70]]}', 400),
    "a huge integer": (JSON, b'{"instances": [[-' + b"9" * 400 + b", -70, -70]]}", 400),
    "text": (JSON, {"instances": [{"b3001": "-70"}]}, 400),
    "a boolean": (JSON, {"instances": [{"b3001": True}]}, 400),
    "a list for dBm": (JSON, {"instances": [{"b3001": [-70]}]}, 400),
    "above zero": (JSON, {"instances": [{"b3001": 12}]}, 400),
    "below -200": (JSON, {"instances": [{"b3001": -200.5}]}, 400),
    "only foreign beacons": (JSON, {"instances": [{"c1": -70}, {"c2": -70}]}, 400),
    "csv empty": (CSV, b"", 400),
    "csv header only": (CSV, b"b3001,b3002,AA:BB:01\n", 400),
    "csv text": (CSV, b"b3001\nstrong\n", 400),
    "csv text without header": (CSV, b"-70,strong,-70\n", 400),
    "csv foreign header": (CSV, b"location,c1,c2\nA01,-70,-70\n", 400),
    "csv beacon twice": (CSV, b"b3001,b3001\n-70,-70\n", 400),
    "csv infinity": (CSV, b"-inf,-70,-70\n", 400),
    "csv overflow": (CSV, b"-1e999,-70,-70\n", 400),
    "csv above zero": (CSV, b"-70,-70,5\n", 400),
    "csv ragged": (CSV, b"-70,-70,-70\n-70,-70\n", 400),
    "csv wrong width": (CSV, b"-70,-70\n", 400),
    "csv not utf-8": (CSV, b"b3001\n\xff\xfe\n", 400),
    "csv nul": (CSV, b"-70,\x00,-70\n", 400),
    "csv endless field": (CSV, b"b3001\n" + b"7" * 200_000 + b"\n", 400),
    "no content type": ("", b"{}", 415),
    "a form": ("application/x-www-form-urlencoded", b"b3001=-70", 415),
    "a pickle": ("application/octet-stream", b"\x80\x04", 415),
}


@pytest.mark.parametrize(("content_type", "body", "status"), BAD.values(), ids=BAD.keys())
def test_a_bad_body_is_refused_with_a_reason(
    service: Served, content_type: str, body: object, status: int
) -> None:
    reply = invoke(service, body, content_type)

    assert reply.status == status, reply.body
    assert len(orjson.loads(reply.body)["error"]["message"]) > 10


def test_a_refusal_names_the_first_few_rows_and_columns(service: Served) -> None:
    rows = [{"b3001": -70}, {"b3002": "far"}, *[{"b3002": "far"}] * 100]

    error = orjson.loads(invoke(service, {"instances": rows}).body)["error"]

    assert [(found["row"], found["column"]) for found in error["problems"]] == [
        (row, "b3002") for row in range(1, 6)
    ]
    assert "'far' is no number" in error["problems"][0]["problem"]
    assert error["message"].startswith("Row 1, b3002: ")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, {"instances": [{}] * (MAX_ROWS + 1)}), (CSV, "-70,,\n" * (MAX_ROWS + 1))],
)
def test_more_rows_than_an_answer_can_hold_are_refused(
    service: Served, content_type: str, body: object
) -> None:
    reply = invoke(service, body, content_type)

    assert reply.status == 400
    assert str(MAX_ROWS) in orjson.loads(reply.body)["error"]["message"]


READING = st.one_of(
    st.integers(-210, 110), st.floats(), st.none(), st.text(max_size=3), st.booleans()
)
ROW = st.one_of(
    st.dictionaries(st.sampled_from([*BEACONS, "other"]), READING, max_size=4),
    st.lists(READING, min_size=2, max_size=4),
    READING,
)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(ROW, max_size=5))
def test_whatever_is_sent_every_row_is_answered_or_none(
    service: Served, rows: list[object]
) -> None:
    reply = invoke(service, {"instances": rows})

    if reply.status == 200:
        assert len(predictions(reply)) == len(rows)
    else:
        assert reply.status == 400


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=80)
    | st.text('b3001,AB:-.e\n\r"; 7\ufeff', max_size=80).map(str.encode),
    content_type=st.sampled_from([JSON, CSV]),
)
def test_whatever_bytes_are_sent_there_is_an_answer_or_a_reason(
    service: Served, body: bytes, content_type: str
) -> None:
    assert invoke(service, body, content_type).status in {200, 400}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/ping", 405),
        ("GET", "/invocations", 405),
        ("GET", "/ping", 200),
    ],
)
def test_other_paths_and_methods_are_refused(
    service: Served, method: str, path: str, status: int
) -> None:
    path = path.replace("/invocations", service.path)
    assert service.ask(method, path).status == status


SENT = {
    "integers": [-70, -200, -81],
    "floats": [-70.0, -200.0, -81.0],
    "both": [-70, -200.0, -81],
    "nothing for what was not heard": [-70, None, -81],
    "a hundred for it": [-70, 100, -81],
    "zero for it": [-70, 0, -81],
    "a hair below": [-70, -150.0000001, -81],
    "a hair below zero": [-70, -1e-46, -81],
    "a boolean": [-70, False, -81],
    "text": [-70, "-81", -81],
    "too much for a float": [-70, -(10**400), -81],
    "more than two bytes hold": [-70, -70_000, -81],
}


@pytest.mark.parametrize("row", SENT.values(), ids=SENT.keys())
@pytest.mark.parametrize("beside", [[-70, -75, -80], [-70.5, -75, -80], [-70, None, -80]])
def test_a_row_means_the_same_alone_and_among_many_of_other_kinds(
    service: Served, row: list[object], beside: list[object]
) -> None:
    alone = invoke(service, {"instances": [row]})
    among = invoke(service, {"instances": [row, *[beside] * 40]})

    assert alone.status == among.status
    if alone.status == 200:
        assert predictions(among)[0] == predictions(alone)[0]
