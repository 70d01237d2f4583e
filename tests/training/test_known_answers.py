"""Sites that a radio model made up, so that what should be found is known beforehand.

Log-distance path loss with shadowing that belongs to the place: the positions of beacons and
measurements, and which beacon was turned, weakened or switched off, are the test's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.training.audits import audited
from trainer.training.evaluation.evaluate import evaluate_bundle
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.train import train_files
from trainer.training.quality.audit import Audit
from trainer.training.quality.drift import FEWEST_READINGS, beacon_drifts, choose_windows
from trainer.training.quality.findings import Severity
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import combine

PITCH_M = 3.0
COLUMNS, ROWS, BEACONS = 6, 4, 8
POWER_DBM, EXPONENT, SHADOWING_DB, FADING_DB, DEAF_DBM = -59.0, 2.6, 3.0, 4.0, -90.0
OFFICE = SiteDescription(name="office", cell_size_m=PITCH_M)
LABELS = [f"{'ABCDEF'[column]}{row:02d}" for column in range(COLUMNS) for row in range(ROWS)]
SETTINGS = Hyperparameters(epochs=25, hidden=(48,), batch_size=64)

Decibels = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class World:
    """An office whose radio map is drawn once; every survey of it measures the same map."""

    seed: int = 0
    mean: Decibels = field(init=False)
    """(places, beacons) dBm."""

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        places = np.array([OFFICE.grid_position(label) for label in LABELS])
        size = places.max(axis=0)
        beacons = random.uniform(0, 1, (BEACONS, 2)) * size
        distances = np.linalg.norm(places[:, None] - beacons[None], axis=2)
        mean = POWER_DBM - 10 * EXPONENT * np.log10(np.maximum(distances, 1.0))
        shadowing = random.normal(0, SHADOWING_DB, mean.shape)
        object.__setattr__(self, "mean", mean + shadowing)

    def survey(
        self,
        seed: int,
        rounds: int,
        change: Callable[[Decibels], Decibels] = lambda dbm: dbm,
        labels: list[str] = LABELS,
    ) -> str:
        """A walk over the floor, ``rounds`` rows at each place; a CSV."""
        random = np.random.default_rng((self.seed, seed))
        lines = ["location,date," + ",".join(f"b{beacon}" for beacon in range(BEACONS))]
        for place, label in enumerate(LABELS):
            if label not in labels:
                continue
            for _ in range(rounds):
                dbm = change(self.mean[place] + random.normal(0, FADING_DB, BEACONS))
                heard = [f"{value:.0f}" if value > DEAF_DBM else "-200" for value in dbm]
                lines.append(",".join([label, f"2026-11-{seed + 1:02d} 10:00:00", *heard]))
        return "\n".join(lines) + "\n"


def read(text: str, name: str = "walk.csv") -> Survey:
    return read_survey(text.encode(), OFFICE, name=name)


def audit_of(*texts: str, known: tuple[bool, ...] = ()) -> Audit:
    surveys = [read(text, f"{number}.csv") for number, text in enumerate(texts)]
    return audited(surveys, OFFICE, known)


def warned(report: Audit) -> dict[str, str]:
    return {
        finding.topic: finding.seen
        for finding in report.findings
        if finding.weight is Severity.WARNING
    }


def with_beacon(beacon: int, value: Callable[[float], float]) -> Callable[[Decibels], Decibels]:
    def changed(dbm: Decibels) -> Decibels:
        dbm[beacon] = value(dbm[beacon])
        return dbm

    return changed


def test_the_error_falls_as_data_grow(tmp_path: Path) -> None:
    world = World(3)
    unseen = tmp_path / "unseen.csv"
    unseen.write_text(world.survey(seed=20, rounds=10))
    errors = []
    for rounds in (1, 3, 9):
        known = tmp_path / f"{rounds}.csv"
        known.write_text(world.survey(seed=1, rounds=rounds))
        bundle = train_files([known], tmp_path / f"{rounds}", 0, OFFICE, SETTINGS).bundle
        errors.append(evaluate_bundle(bundle, unseen, OFFICE).mean_error_m)

    assert errors[0] > 1.1 * errors[1] > 1.1 * errors[2], errors
    assert errors[2] < PITCH_M, "most answers are then in the right cell or next to it"


def test_a_beacon_that_is_off_is_found_and_no_other() -> None:
    report = audit_of(World().survey(1, 8, with_beacon(2, lambda _: -200.0)))

    assert warned(report).keys() == {"dead beacons"}
    assert warned(report)["dead beacons"].startswith("b2:")


@pytest.mark.parametrize("seed", range(4))
def test_a_site_that_did_not_change_does_not_drift(seed: int) -> None:
    world = World(seed)

    report = audit_of(world.survey(1, 4), world.survey(2, 4), known=(True, False))

    assert "drift" not in warned(report)
    assert "one survey that the champion has not learnt from" in report.drift_between


@pytest.mark.parametrize("seed", range(4))
def test_a_beacon_that_lost_power_is_found_against_the_champion_s_data(seed: int) -> None:
    world = World(seed)
    weak = with_beacon(5, lambda dbm: dbm - 10.0)

    report = audit_of(world.survey(1, 6), world.survey(2, 6, weak), known=(True, False))

    assert warned(report).keys() == {"drift"}
    named = warned(report)["drift"].split(":")[0]
    assert [part.split(" ")[0] for part in named.split(", ")] == ["b5"]


def test_a_beacon_that_fell_silent_since_is_the_largest_drift() -> None:
    world = World(1)
    off = with_beacon(4, lambda _: -200.0)

    report = audit_of(world.survey(1, 6), world.survey(2, 6, off), known=(True, False))

    assert report.beacons[4].drift == 1.0
    assert "b4 (1.00)" in warned(report)["drift"]


def test_another_wing_is_no_drift_where_some_places_are_in_both() -> None:
    world = World(2)
    both = [label for label in LABELS if label[0] in "CD"]
    west = [label for label in LABELS if label[0] in "ABCD"]
    east = [label for label in LABELS if label[0] in "CDEF"]
    surveys = [
        read(world.survey(1, 8, labels=west), "west.csv"),
        read(world.survey(2, 8, labels=east), "east.csv"),
    ]
    data = combine(surveys, OFFICE)

    drifts = beacon_drifts(data, choose_windows([len(survey.labels) for survey in surveys], ()))

    assert len(both) * 8 >= FEWEST_READINGS
    measured = [drift for drift in drifts if drift is not None]
    assert measured
    assert all(drift.at_common_locations for drift in measured)
    assert not [drift for drift in measured if drift.is_notable]


def test_without_a_champion_the_newest_survey_is_compared_with_the_earlier_ones() -> None:
    world = World(1)
    weak = with_beacon(5, lambda dbm: dbm - 10.0)

    report = audit_of(world.survey(1, 6), world.survey(2, 6), world.survey(3, 6, weak))

    assert report.drift_between == "Compared: the newest survey, with 2 surveys before it."
    assert "b5" in warned(report)["drift"]


@pytest.mark.parametrize(
    ("known", "said"),
    [((), "There is one survey"), ((True,), "has learnt from every survey")],
)
def test_the_audit_says_why_nothing_is_compared(known: tuple[bool, ...], said: str) -> None:
    report = audit_of(World().survey(1, 4), known=known)

    assert said in report.drift_between
    assert all(beacon.drift is None for beacon in report.beacons)
    assert any("Not measured" in finding.seen for finding in report.findings)


def test_an_isolated_lowest_reading_is_reported() -> None:
    # A row that reads -99 makes the gap a narrow one, and fewer than half are the lowest.
    text = (
        World().survey(1, 4).replace("-200", "-106") + "A00,2026-11-01 10:00:00" + ",-99" * BEACONS
    )

    assert "-106 dBm" in warned(audit_of(text))["a lowest reading apart"]
    assert "a lowest reading apart" not in warned(audit_of(World().survey(1, 4)))


def test_the_audit_says_how_the_files_are_written() -> None:
    text = World().survey(1, 2)
    surveys = [
        read_survey(text.encode("utf-16"), OFFICE, name="a.csv"),
        read_survey(text.replace(",", ";").encode(), OFFICE, name="b.csv"),
    ]

    report = audited(surveys, OFFICE)

    [said] = [found.seen for found in report.findings if found.topic == "how it is written"]
    assert (
        "utf-16-le, columns separated by commas, times as %Y-%m-%d %H:%M:%S (1 of 2 surveys)"
        in said
    )
    assert "utf-8, columns separated by semicolons" in said
