"""A survey is the same training set in whatever supported form it is written."""

import csv
import gzip
import io
import json
import random
from collections.abc import Sequence

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import combine

BEACONS = ("b1", "b2", "b3", "b4")
Row = dict[str, str | float | None]


def survey_rows(seed: int) -> list[Row]:
    """Rows of six rooms; a third of the readings is missing, one in each row is there."""
    chosen = random.Random(seed)
    rows: list[Row] = []
    for number in range(60):
        row: Row = {"time": f"2026-05-01 10:{number:02}:00", "location": f"R{number % 6}"}
        for beacon in BEACONS:
            heard = beacon == "b1" or chosen.random() > 1 / 3
            row[beacon] = chosen.randint(-180, -80) / 2 if heard else None
        rows.append(row)
    return rows


def written(value: str | float | None, missing: str, decimal: str) -> str:
    if value is None:
        return missing
    return value if isinstance(value, str) else str(value).replace(".", decimal)


def as_csv(
    rows: Sequence[Row], names: Sequence[str], delimiter: str, decimal: str, missing: str
) -> bytes:
    text = io.StringIO()
    lines = csv.writer(text, delimiter=delimiter)
    lines.writerow(names)
    lines.writerows([[written(row[name], missing, decimal) for name in names] for row in rows])
    return text.getvalue().encode()


def as_long(rows: Sequence[Row]) -> list[Row]:
    return [
        {"time": row["time"], "location": row["location"], "beacon": beacon, "rssi": row[beacon]}
        for row in rows
        for beacon in BEACONS
        if row[beacon] is not None
    ]


def as_parquet(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame([{name: row[name] for name in names} for row in rows]).write_parquet(file)
    return file.getvalue()


def training_rows(content: bytes, site: SiteDescription) -> tuple[object, ...]:
    """Everything of the training set that is learnt from, in an order of its own."""
    data = combine([read_survey(content, site, "survey")], site)
    rows = sorted(
        (data.labels[cell], row.tobytes())
        for cell, row in zip(data.cells, np.nan_to_num(data.rssi), strict=True)
    )
    return data.beacons, data.labels, rows


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    form=st.sampled_from(["csv", "jsonl", "parquet"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    missing=st.sampled_from(["", "-200", "100", "-110", "-999", "NaN"]),
    is_long=st.booleans(),
    is_packed=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_a_survey_in_any_form_is_the_same_training_set(
    seed: int,
    form: str,
    delimiter: str,
    decimal: str,
    missing: str,
    *,
    is_long: bool,
    is_packed: bool,
    order: random.Random,
) -> None:
    site = SiteDescription(not_heard=(float(missing),)) if missing in {"-110", "-999"} else None
    site = site or SiteDescription()
    plain = survey_rows(seed)
    names = ["time", "location", *BEACONS]
    expected = training_rows(as_csv(plain, names, ",", ".", ""), SiteDescription())
    rows = as_long(plain) if is_long else plain
    names = [*rows[0]]
    order.shuffle(rows)
    order.shuffle(names)
    if form == "csv":
        decimal = "." if delimiter == "," else decimal
        content = as_csv(rows, names, delimiter, decimal, missing)
    elif form == "jsonl":
        content = b"\n".join(
            json.dumps({name: row[name] for name in names}).encode() for row in rows
        )
    else:
        content = as_parquet(rows, names)

    assert training_rows(gzip.compress(content) if is_packed else content, site) == expected
