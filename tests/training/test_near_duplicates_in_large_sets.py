"""Near-duplicates in sets too large to compare all rows, and honest visits that resemble them."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from trainer.training.evaluation.hold_out import hold_out
from trainer.training.quality.audit import audit
from trainer.training.quality.chains import (
    REFERENCE_PAIRS,
    SIGNIFICANT_BITS,
    Order,
    Rows,
    significant_bits,
)
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet

CELLS, BEACONS, DWELL = 105, 13, 10
LARGE = 30_000

Signals = npt.NDArray[np.float64]
Floor = Callable[[Rows, np.random.Generator], Signals]


def many_beacons(visits: Rows, random: np.random.Generator) -> Signals:
    """Most beacons are heard everywhere, each reading with its own noise."""
    signals = random.uniform(-100, -60, size=(CELLS, BEACONS))
    heard: Signals = signals[visits % CELLS] + random.normal(0, 3, size=(len(visits), BEACONS))
    return heard


def one_beacon(visits: Rows, random: np.random.Generator) -> Signals:
    """Each place hears one beacon, a few another now and then."""
    signals = np.full((CELLS, BEACONS), -200.0)
    signals[np.arange(CELLS), np.arange(CELLS) % BEACONS] = random.uniform(-80, -60, size=CELLS)
    signals[:30, -1] = -88
    heard: Signals = signals[visits % CELLS] + random.normal(0, 3, size=(len(visits), BEACONS))
    return heard


def slow_fading(visits: Rows, random: np.random.Generator) -> Signals:
    """Signals hardly change within a visit, and differ between visits."""
    signals = random.uniform(-80, -60, size=(CELLS, BEACONS))
    signals[:, 4:] = -200
    of_visit = random.normal(0, 3, size=(visits.max() + 1, BEACONS))
    noise = random.normal(0, 0.6, size=(len(visits), BEACONS))
    heard: Signals = signals[visits % CELLS] + of_visit[visits] + noise
    return heard


def steady_beacon(visits: Rows, random: np.random.Generator) -> Signals:
    """Each place hears one beacon, always within 2 dB."""
    signals = np.full((CELLS, BEACONS), -200.0)
    signals[np.arange(CELLS), np.arange(CELLS) % BEACONS] = random.uniform(-80, -60, size=CELLS)
    heard: Signals = signals[visits % CELLS] + random.uniform(-1, 1, size=(len(visits), BEACONS))
    return heard


def walked(floor: Floor, rows: int = LARGE, seed: int = 0) -> TrainingSet:
    """One route, walked repeatedly, with ten rows at each place."""
    visits = np.arange(rows) // DWELL
    dbm = np.round(floor(visits, np.random.default_rng(seed)))
    rssi = np.where(dbm < -92, np.nan, dbm).astype(np.float32)
    return training_set(rssi, visits % CELLS, visits)


def training_set(rssi: npt.NDArray[np.float32], cells: Rows, visits: Rows) -> TrainingSet:
    return TrainingSet(
        beacons=tuple(f"b{number}" for number in range(rssi.shape[1])),
        labels=tuple(f"c{number}" for number in range(cells.max() + 1)),
        positions=None,
        rssi=rssi,
        cells=cells,
        visits=visits,
        stays=visits,
    )


def with_copies(
    data: TrainingSet, block: range, order: Order, seed: int = 1
) -> tuple[TrainingSet, set[tuple[int, int]]]:
    """A set with a block repeated at the front, up to 2 dB off, and the pairs of copies."""
    rows = np.array(block)[:: order.step]
    noise = np.random.default_rng(seed).integers(-2, 3, size=(len(rows), len(data.beacons)))
    visits = np.r_[data.visits[rows], data.visits + data.visits.max() + 1]
    planted = training_set(
        np.concatenate([data.rssi[rows] + noise.astype(np.float32), data.rssi]),
        np.concatenate([data.cells[rows], data.cells]),
        np.cumsum(np.diff(visits, prepend=visits[0]) != 0),
    )
    return planted, {(place, int(row) + len(rows)) for place, row in enumerate(rows)}


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("floor", [many_beacons, one_beacon])
def test_a_short_block_of_a_large_survey_is_found(floor: Floor, order: Order) -> None:
    data, planted = with_copies(walked(floor), range(12_345, 12_845), order)

    found = find_near_duplicates(data)

    pairs = {(row, source) for row, source in found.pairs.tolist()}
    assert len(pairs & planted) >= 0.97 * len(planted)
    assert len(pairs - planted) <= 0.02 * len(pairs)
    assert {block.order for block in found.blocks} == {order}


@pytest.mark.parametrize("order", list(Order))
def test_a_block_with_rows_missing_here_and_there_is_found(order: Order) -> None:
    data, planted = with_copies(walked(many_beacons), range(12_000, 15_000), order)
    block, random = len(planted), np.random.default_rng(2)
    copied = np.array(sorted(planted)).ravel()
    kept = np.ones(len(data), dtype=bool)
    kept[random.choice(copied, len(copied) // 50, replace=False)] = False

    pairs = np.flatnonzero(kept)[find_near_duplicates(data.take(np.flatnonzero(kept))).pairs]

    found = {(row, source) for row, source in pairs.tolist()}
    left = {(row, source) for row, source in planted if kept[row] and kept[source]}
    assert len(left) < 0.97 * block
    assert len(found & left) >= 0.97 * len(left)
    assert len(found - left) <= 0.02 * len(found)


@pytest.mark.parametrize("order", list(Order))
def test_rows_of_a_large_block_stay_with_their_copies(order: Order) -> None:
    data, planted = with_copies(walked(many_beacons), range(5_000, 25_000), order)

    pairs = find_near_duplicates(data).pairs
    sides = hold_out(data, 0.2, 0, pairs)

    held = np.zeros(len(data), dtype=bool)
    held[sides.held_out] = True
    assert {(row, source) for row, source in pairs.tolist()} == planted
    assert (held[pairs[:, 0]] == held[pairs[:, 1]]).all()


@pytest.mark.parametrize("rows", [3_000, LARGE])
@pytest.mark.parametrize("floor", [many_beacons, one_beacon, slow_fading, steady_beacon])
def test_a_route_that_is_walked_repeatedly_is_no_copy(floor: Floor, rows: int) -> None:
    for seed in range(2):
        assert len(find_near_duplicates(walked(floor, rows, seed)).pairs) == 0


def test_the_audit_counts_rows_that_are_too_common_to_be_searched() -> None:
    data = walked(steady_beacon)

    found = find_near_duplicates(data)

    assert found.unsearched_rows > 0.9 * len(data)
    [finding] = [
        each
        for each in audit(data, [], SiteDescription(), found).findings
        if each.topic == "copies"
    ]
    assert f"{found.unsearched_rows} rows were not searched for near copies" in finding.seen


@pytest.mark.parametrize("rows", [9_000, LARGE])
def test_two_places_with_many_rows_take_little_memory(rows: int) -> None:
    random = np.random.default_rng(0)
    visits = np.arange(rows) // 100
    data = training_set(
        np.round(random.normal(-65, 3, size=(rows, 5))).astype(np.float32), visits % 2, visits
    )

    tracemalloc.start()
    found = find_near_duplicates(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 50e6
    assert len(found.pairs) == 0


def test_twice_the_pairs_require_another_bit_of_a_chain() -> None:
    def of(rows: int) -> TrainingSet:
        cells = np.zeros(rows, dtype=np.intp)
        return training_set(np.zeros((rows, 1), dtype=np.float32), cells, np.arange(rows))

    assert significant_bits(of(100)) == SIGNIFICANT_BITS
    assert REFERENCE_PAIRS > 100 * 99 / 2
    assert significant_bits(of(2_000)) - significant_bits(of(1_000)) == pytest.approx(2, abs=0.01)
