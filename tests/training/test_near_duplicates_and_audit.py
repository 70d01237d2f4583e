"""The audit of a simulated floor with planted faults."""

import numpy as np
import pytest

from tests.training.audits import audited
from tests.training.made_up_floor import BEACONS, CELLS, HALL, survey_lines, survey_text
from trainer.training.evaluation.hold_out import hold_out
from trainer.training.quality.audit import Audit
from trainer.training.quality.chains import Order
from trainer.training.quality.findings import Severity
from trainer.training.quality.near_duplicates import find_near_duplicates
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import TrainingSet, combine


def surveys_of(*texts: str, site: SiteDescription = HALL) -> list[Survey]:
    return [
        read_survey(text.encode(), site, name=f"{number}.csv") for number, text in enumerate(texts)
    ]


def dataset(lines: list[str]) -> TrainingSet:
    return combine(surveys_of(survey_text(lines)), HALL)


def audit_of(*texts: str, site: SiteDescription = HALL) -> Audit:
    surveys = surveys_of(*texts, site=site)
    return audited(surveys, site)


def warnings_of(report: Audit) -> set[str]:
    return {finding.topic for finding in report.findings if finding.weight is Severity.WARNING}


def shifted(line: str, by: int) -> str:
    label, date, *readings = line.split(",")
    moved = [value if value == "-200" else str(int(value) + by) for value in readings]
    return ",".join([label, date, *moved])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("visits", [2, 4, 6])
def test_honest_visits_are_not_taken_for_copies(seed: int, visits: int) -> None:
    assert len(find_near_duplicates(dataset(survey_lines(seed=seed, visits=visits))).pairs) == 0


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("by", [0, 1, -2])
def test_a_planted_block_of_copies_is_found_in_either_order(order: Order, by: int) -> None:
    lines = survey_lines(seed=5, visits=4)
    block = [shifted(line, by) for line in lines[100:160]]
    planted = block if order is Order.FORWARD else block[::-1]

    found = find_near_duplicates(dataset([*planted, *lines]))

    assert {each.order for each in found.blocks} == {order}
    copied = set(found.pairs[:, 0].tolist())
    assert len(copied & set(range(60))) >= 58
    assert len(copied - set(range(60))) <= 2


def test_copies_stay_on_one_side_of_the_hold_out() -> None:
    lines = survey_lines(seed=5, visits=4)
    data = dataset([*(shifted(line, 1) for line in reversed(lines[100:160])), *lines])
    pairs = find_near_duplicates(data).pairs

    sides = hold_out(data, 0.2, 0, pairs)

    held = np.zeros(len(data), dtype=bool)
    held[sides.held_out] = True
    assert len(pairs) >= 58
    assert (held[pairs[:, 0]] == held[pairs[:, 1]]).all()


def test_a_survey_that_is_uploaded_twice_is_one_block_and_its_exact_copies_are_counted() -> None:
    lines = survey_lines(visits=3)

    report = audit_of(survey_text([*lines, *lines]))

    assert (report.copied_pairs, report.exact_copies) == (len(lines), 2 * len(lines))
    assert "copies" in warnings_of(report)


def test_a_dead_beacon_is_found() -> None:
    header, *rows = survey_text(survey_lines()).splitlines()

    report = audit_of("\n".join([f"{header},b9", *(f"{row},-200" for row in rows)]))

    assert warnings_of(report) == {"dead beacons"}
    assert report.beacons[-1].heard_share == 0.0


def test_a_stuck_beacon_is_found() -> None:
    header, *rows = survey_text(survey_lines()).splitlines()

    report = audit_of("\n".join([f"{header},b9", *(f"{row},-61" for row in rows)]))

    assert warnings_of(report) == {"stuck beacons"}


def test_a_beacon_that_grew_weaker_is_found_and_no_other() -> None:
    weaker = []
    for line in survey_lines(seed=2):
        fields = line.split(",")
        fields[3] = fields[3] if fields[3] == "-200" else str(int(fields[3]) - 9)
        weaker.append(",".join(fields))

    report = audit_of(survey_text(survey_lines(seed=1)), survey_text(weaker))

    [finding] = [found for found in report.findings if found.topic == "drift"]
    assert finding.seen.startswith(f"{BEACONS[1]} (")
    assert sum(beacon.drift is not None and beacon.drift >= 0.25 for beacon in report.beacons) == 1


def test_an_unchanged_site_does_not_drift() -> None:
    report = audit_of(survey_text(survey_lines(seed=1)), survey_text(survey_lines(seed=2)))

    assert warnings_of(report) == set()


def test_sentinels_that_are_off_by_one_are_found() -> None:
    report = audit_of(survey_text([*survey_lines(), "A01,,-70,-199,-200,,"]))

    assert warnings_of(report) == {"off-by-one sentinels"}


def test_described_locations_without_a_row_are_named() -> None:
    positions = {cell: HALL.grid_position(cell) or (0.0, 0.0) for cell in CELLS}
    site = SiteDescription(name="hall", positions={**positions, "attic": (50.0, 50.0)})

    report = audit_of(survey_text(survey_lines()), site=site)

    assert report.empty_cells == ("attic",)
    assert warnings_of(report) == {"locations without data"}


def test_dropped_rows_are_counted_by_reason() -> None:
    report = audit_of(survey_text([*survey_lines(), "A01,,12,,,,", "A01,,,,,,"]))

    assert dict(report.dropped) == {"a number that is no RSSI": 1, "no beacon heard": 1}
    assert "dropped rows" in warnings_of(report)


def test_a_long_pause_separates_two_visits_of_one_location() -> None:
    rows = [f"A01,2026-11-01 1{hour}:00:0{row},-60,,,," for hour in (0, 1) for row in range(3)]
    others = [f"B01,2026-11-01 12:00:0{row},,-70,,," for row in range(5)]

    data = dataset([*rows, *others])

    assert data.visits.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert data.stays.tolist() == data.visits.tolist()


def test_stays_do_not_depend_on_the_order_of_rows() -> None:
    rows = [f"A01,2026-11-01 1{hour}:00:0{row},-6{row},,,," for hour in (0, 1) for row in range(3)]
    others = [f"B01,2026-11-01 12:00:0{row},,-70,,," for row in range(5)]
    lines = [*rows, *others]
    order = np.random.default_rng(0).permutation(len(lines))

    straight, mixed = dataset(lines), dataset([lines[place] for place in order])

    together = straight.stays[order][:, np.newaxis] == straight.stays[order]
    np.testing.assert_array_equal(together, mixed.stays[:, np.newaxis] == mixed.stays)
