"""Times of rows: one format for all of them, and the same from either implementation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from trainer.training.reading.time_formats import (
    EPOCH_MILLISECONDS,
    EPOCH_SECONDS,
    EPOCHS,
    TIME_FORMATS,
)
from trainer.training.reading.times import read_times, time_column
from trainer.training.reading.times_polars import PolarsTimeColumn

BEGUN = datetime(2016, 10, 18, 11, 15, 21, 500_000, tzinfo=UTC)


def written(form: str, rows: int) -> list[str]:
    moments = [BEGUN + timedelta(seconds=977 * row) for row in range(rows)]
    if form == EPOCH_SECONDS:
        return [str(int(moment.timestamp())) for moment in moments]
    if form == EPOCH_MILLISECONDS:
        return [str(int(moment.timestamp() * 1000)) for moment in moments]
    return [moment.strftime(form) for moment in moments]


@pytest.mark.parametrize("form", [*TIME_FORMATS, *EPOCHS])
def test_both_implementations_parse_alike(form: str) -> None:
    words = written(form, 300)
    words[3:7] = ["", " ", "noon", f" {words[6]} "]

    few, many = time_column(words).seconds(form), PolarsTimeColumn.of(words).seconds(form)

    np.testing.assert_array_equal(few, many)
    assert np.flatnonzero(np.isnan(many)).tolist() == [3, 4, 5]


@pytest.mark.parametrize("form", ["%m-%d-%Y %H:%M:%S", "%H:%M:%S", EPOCH_SECONDS])
def test_large_columns_are_parsed(form: str) -> None:
    words = written(form, 25_000)

    times = read_times([time_column(words)])

    assert times is not None
    assert times.time_format == form
    assert len(set(np.diff(times.seconds).round().tolist()) - {977.0, 977.0 - 86_400.0}) == 0


def test_a_format_has_to_fit_the_samples_of_every_part() -> None:
    early, late = written("%d-%m-%Y %H:%M:%S", 2), ["31-10-2016 09:00:00"]

    times = read_times([time_column(["05-10-2016 09:00:00"]), time_column(late)])

    assert times is not None
    assert times.time_format == "%d-%m-%Y %H:%M:%S"
    assert read_times([time_column(early), time_column(["noon"])]) is None


def test_rows_that_are_dropped_take_their_times_along() -> None:
    words = written(TIME_FORMATS[0], 4)
    kept = np.array([True, False, False, True])

    few, many = time_column(words).filter(kept), PolarsTimeColumn.of(words).filter(kept)

    assert many.sample(9) == [words[0], words[3]]
    np.testing.assert_array_equal(few.seconds(TIME_FORMATS[0]), many.seconds(TIME_FORMATS[0]))


def test_a_sparse_column_is_sampled_where_it_has_times() -> None:
    words = ["", " "] * 12_000
    words[4_001] = "2016-10-18 11:15:21"

    times = read_times([time_column(words)])

    assert times is not None
    assert np.flatnonzero(~np.isnan(times.seconds)).tolist() == [4_001]


def test_blank_times_are_no_times() -> None:
    assert read_times([]) is None
    assert read_times([time_column(["", " "]), PolarsTimeColumn.of([" ", ""])]) is None
