"""Content types in and out, encodings, headers: what a client may send and what it gets back."""

import csv
import gzip
import io
import json

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.served import Served
from tests.serving.small_model import BEACONS, RELEASE, fingerprints
from trainer.serving.exchange import MAX_BODY_BYTES, HttpResponse

JSON, LINES, CSV, NPY = "application/json", "application/jsonlines", "text/csv", "application/x-npy"
ROWS = [[-70.0, -200.0, -80.5], [-60.0, -75.0, -200.0]]


def invoke(service: Served, body: bytes, content_type: str = JSON, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.ask("POST", service.path, body, {"content-type": content_type, **named})


def as_npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_json(rows: object = ROWS) -> bytes:
    return json.dumps({"instances": rows}).encode()


def predictions(reply: HttpResponse) -> list[dict[str, object]]:
    assert reply.status == 200, reply.body
    found: list[dict[str, object]] = orjson.loads(reply.body)["predictions"]
    return found


def lines(rows: object) -> bytes:
    assert isinstance(rows, list)
    return b"\n".join(json.dumps(row).encode() for row in rows)


SAME_ROWS = {
    "npy of float32": (NPY, as_npy(np.array(ROWS, np.float32))),
    "npy of float64 by columns": (NPY, as_npy(np.asfortranarray(np.array(ROWS)))),
    "npy of big-endian": (NPY, as_npy(np.array(ROWS, ">f4"))),
    "npy with NaN": (NPY, as_npy(np.where(np.array(ROWS) < -150, np.nan, ROWS))),
    "lines of lists": (LINES, lines(ROWS)),
    "lines of objects": (
        "application/x-ndjson",
        b'{"b3001":-70,"AA:BB:01":-80.5}\r\n\n{"b3001":-60,"b3002":-75}\n',
    ),
}


@pytest.mark.parametrize(("content_type", "body"), SAME_ROWS.values(), ids=SAME_ROWS.keys())
def test_every_content_type_gets_the_same_answers(
    service: Served, content_type: str, body: bytes
) -> None:
    assert predictions(invoke(service, body, content_type)) == predictions(
        invoke(service, as_json())
    )


def test_a_vector_of_npy_is_one_row(service: Served) -> None:
    assert len(predictions(invoke(service, as_npy(np.array(ROWS[0])), NPY))) == 1


BAD_NPY = {
    "empty": b"",
    "no npy": b"hello there",
    "cut short": as_npy(np.array(ROWS))[:-3],
    "too long": as_npy(np.array(ROWS)) + b"\0",
    "a promise of terabytes": as_npy(np.array(ROWS)).replace(b"(2, 3)", b"(9999999999, 3)"),
    "objects": as_npy(np.array([["a", None, 1.0]], dtype=object)),
    "text": as_npy(np.array([["a", "b", "c"]])),
    "complex": as_npy(np.array([[1j, 2, 3]])),
    "booleans": as_npy(np.array([[True, False, True]])),
    "a structure": as_npy(np.zeros(2, dtype=[("x", "f4")])),
    "wrong width": as_npy(np.zeros((2, 4))),
    "no rows": as_npy(np.zeros((0, 3))),
    "three dimensions": as_npy(np.zeros((1, 1, 3))),
    "a number": as_npy(np.array(-70.0)),
    "infinity": as_npy(np.array([[-np.inf, -70, -70]])),
    "out of range": as_npy(np.array([[-70, 12, -70]])),
}


@pytest.mark.parametrize("body", BAD_NPY.values(), ids=BAD_NPY.keys())
def test_a_bad_npy_is_refused_with_a_reason(service: Served, body: bytes) -> None:
    reply = invoke(service, body, NPY)

    assert reply.status == 400
    assert len(orjson.loads(reply.body)["error"]["message"]) > 10


def test_a_bad_line_is_named(service: Served) -> None:
    reply = invoke(service, b"[-70,-70,-70]\n[-70,", LINES)

    assert reply.status == 400
    assert orjson.loads(reply.body)["error"]["problems"][0]["row"] == 1


def test_csv_out_has_a_header_and_a_line_for_each_row(service: Served) -> None:
    reply = invoke(service, as_json(), accept=CSV)

    assert reply.content_type == CSV
    found = [*csv.DictReader(io.StringIO(reply.body.decode()))]
    expected = predictions(invoke(service, as_json()))
    assert [row["location"] for row in found] == [row["location"] for row in expected]
    assert [float(row["x"]) for row in found] == [row["x"] for row in expected]


def test_npy_out_is_opened_without_pickle_and_says_the_same(service: Served) -> None:
    reply = invoke(service, as_json(), accept=NPY)

    array = np.load(io.BytesIO(reply.body), allow_pickle=False)
    expected = predictions(invoke(service, as_json()))
    assert reply.content_type == NPY
    assert array["location"].tolist() == [row["location"] for row in expected]
    assert array["confidence"].tolist() == [row["confidence"] for row in expected]


def test_lines_out_are_the_predictions_one_a_line(service: Served) -> None:
    reply = invoke(service, as_json(), accept=LINES)

    assert [orjson.loads(line) for line in reply.body.splitlines()] == predictions(
        invoke(service, as_json())
    )


@pytest.mark.parametrize(
    ("accept", "given_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/*", CSV),
        ("application/x-npy;q=0.4, text/csv;q=0.9", CSV),
        ("text/html, application/json;q=0.1", JSON),
        ("Application/X-NPY", NPY),
        ("text/csv;q=0, application/x-npy;q=0.01", NPY),
    ],
)
def test_accept_decides_the_form(service: Served, accept: str, given_type: str) -> None:
    assert invoke(service, as_json(), accept=accept).content_type == given_type


@pytest.mark.parametrize("accept", ["text/html", "image/png, x/y", "text/csv;q=0", ";", "q"])
def test_what_can_not_be_accepted_is_refused_with_what_can(service: Served, accept: str) -> None:
    reply = invoke(service, as_json(), accept=accept)

    assert reply.status == 406
    assert all(form in reply.body.decode() for form in (JSON, CSV, NPY))


def test_an_unknown_content_type_is_refused_with_what_is_taken(service: Served) -> None:
    reply = invoke(service, b"<rssi/>", "application/xml")

    assert reply.status == 415
    assert all(form in reply.body.decode() for form in (JSON, CSV, NPY))


def test_gzip_is_unpacked(service: Served) -> None:
    packed = invoke(service, gzip.compress(as_json()), content_encoding="gzip")

    assert packed.body == invoke(service, as_json()).body


BAD_GZIP = {
    "no gzip": (as_json(), "gzip", 400),
    "cut short": (gzip.compress(as_json())[:-4], "gzip", 400),
    "damaged": (gzip.compress(as_json())[:-9] + b"123456789", "gzip", 400),
    "two members": (gzip.compress(as_json()) * 2, "gzip", 400),
    "a bomb": (gzip.compress(b" " * (MAX_BODY_BYTES + 1)), "gzip", 413),
    "brotli": (b"", "br", 415),
}


@pytest.mark.parametrize(("body", "encoding", "status"), BAD_GZIP.values(), ids=BAD_GZIP.keys())
def test_a_body_that_can_not_be_unpacked_is_refused(
    service: Served, body: bytes, encoding: str, status: int
) -> None:
    assert invoke(service, body, content_encoding=encoding).status == status


def test_top_k_puts_the_likeliest_cells_beside_each_answer(service: Served) -> None:
    body = json.dumps({"instances": ROWS, "parameters": {"top_k": 3}}).encode()

    for prediction in predictions(invoke(service, body)):
        top = prediction["top"]
        assert isinstance(top, list)
        assert len(top) == 3
        assert top[0] == {key: prediction[key] for key in ("location", "confidence")}
        assert [cell["confidence"] for cell in top] == sorted(
            (cell["confidence"] for cell in top), reverse=True
        )


def test_top_k_of_all_cells_sums_to_one(service: Served) -> None:
    reply = invoke(service, as_json(), x_amzn_sagemaker_custom_attributes="top_k=20")

    for prediction in predictions(reply):
        top = prediction["top"]
        assert isinstance(top, list)
        assert len(top) == len(service.model.cells)
        assert sum(cell["confidence"] for cell in top) == pytest.approx(1.0, abs=1e-5)


def test_top_k_of_csv_and_npy_are_columns(service: Served) -> None:
    wanted = "team=a; top_k=2"
    table = invoke(service, as_json(), accept=CSV, x_amzn_sagemaker_custom_attributes=wanted)
    array = invoke(service, as_json(), accept=NPY, x_amzn_sagemaker_custom_attributes=wanted)

    header = table.body.decode().splitlines()[0]
    assert header.endswith("top_1_location,top_1_confidence,top_2_location,top_2_confidence")
    names = np.load(io.BytesIO(array.body), allow_pickle=False).dtype.names
    assert ",".join(names) == header


@pytest.mark.parametrize("top_k", [0, 21, -1, 1.5, "3", None, True, [1]])
def test_an_impossible_top_k_is_refused(service: Served, top_k: object) -> None:
    body = json.dumps({"instances": ROWS, "parameters": {"top_k": top_k}}).encode()

    assert invoke(service, body).status == 400


@pytest.mark.parametrize("attributes", ["top_k=0", "top_k=x", "top_k=", "a=1,top_k=99999"])
def test_an_impossible_top_k_in_the_attributes_is_refused(service: Served, attributes: str) -> None:
    reply = invoke(service, as_json(), x_amzn_sagemaker_custom_attributes=attributes)

    assert reply.status == 400


def test_custom_attributes_come_back_behind_the_release_and_the_inference_id_as_it_was(
    service: Served,
) -> None:
    reply = invoke(
        service,
        as_json(),
        x_amzn_sagemaker_custom_attributes="trace=abc",
        x_amzn_sagemaker_inference_id="one-two",
    )

    headers = dict(reply.headers)
    ours = f"release={RELEASE};digest={service.model.digest}"
    assert headers["x-amzn-sagemaker-custom-attributes"] == f"{ours};trace=abc"
    assert headers["x-amzn-sagemaker-inference-id"] == "one-two"


@pytest.mark.parametrize("value", ["a" * 1024, "ä", "a\r\nset-cookie: b"])
def test_attributes_that_do_not_fit_into_a_header_are_refused(service: Served, value: str) -> None:
    assert invoke(service, as_json(), x_amzn_sagemaker_custom_attributes=value).status == 400


def test_unknown_beacons_are_counted_by_name(service: Served) -> None:
    rows = [{"b3001": -70, "other": -60}, {"other": -61, "third": "?"}]

    headers = dict(invoke(service, as_json(rows)).headers)

    assert headers["x-rssi-unknown-beacons"] == "2"
    assert ";unknown_beacons=2" in headers["x-amzn-sagemaker-custom-attributes"]


def test_unknown_columns_of_a_csv_are_counted_and_labels_are_not(service: Served) -> None:
    reply = invoke(service, b"location,date,b3001,b9999\nA01,today,-70,-60\n", CSV)

    assert dict(reply.headers)["x-rssi-unknown-beacons"] == "1"


def test_answers_are_the_same_bytes_alone_and_beside_others(service: Served) -> None:
    rows = np.where(np.isnan(fingerprints(300)), -200, fingerprints(300)).astype(np.float32)
    together = np.load(io.BytesIO(invoke(service, as_npy(rows), NPY, accept=NPY).body))

    for row in (0, 1, 150, 298, 299):
        alone = np.load(
            io.BytesIO(invoke(service, as_npy(rows[row : row + 1]), NPY, accept=NPY).body)
        )
        assert alone.tobytes() == together[row : row + 1].tobytes()


NUMBER = st.one_of(st.integers(-210, 110), st.floats(width=32))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(NUMBER, min_size=3, max_size=3), max_size=6),
    accept=st.sampled_from([JSON, CSV, NPY, LINES]),
)
def test_whatever_numbers_an_npy_holds_every_row_is_answered_or_none(
    service: Served, rows: list[list[float]], accept: str
) -> None:
    body = as_npy(np.array(rows, dtype=np.float64).reshape(-1, len(BEACONS)))

    reply = invoke(service, body, NPY, accept=accept)

    if reply.status == 200:
        counted = {
            JSON: lambda: len(orjson.loads(reply.body)["predictions"]),
            CSV: lambda: reply.body.count(b"\n") - 1,
            NPY: lambda: len(np.load(io.BytesIO(reply.body), allow_pickle=False)),
            LINES: lambda: reply.body.count(b"\n"),
        }
        assert counted[accept]() == len(rows)
    else:
        assert reply.status == 400


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda tail: as_npy(np.array(ROWS))[:90] + tail)
    | st.text('{}[]",:-0123456789.\nbA', max_size=60).map(str.encode),
    content_type=st.sampled_from([NPY, LINES, JSON, CSV, "application/x-ndjson"]),
    encoding=st.sampled_from(["", "identity", "gzip"]),
    accept=st.text(max_size=12) | st.sampled_from([JSON, NPY, "*/*"]),
    attributes=st.text(max_size=12),
)
def test_whatever_is_sent_there_is_an_answer_or_a_reason(
    service: Served, body: bytes, content_type: str, encoding: str, accept: str, attributes: str
) -> None:
    reply = invoke(
        service,
        body,
        content_type,
        content_encoding=encoding,
        accept=accept,
        x_amzn_sagemaker_custom_attributes=attributes,
    )

    assert reply.status in {200, 400, 406}
    if reply.status != 200:
        assert orjson.loads(reply.body)["error"]["message"]
