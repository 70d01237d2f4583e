"""Walks and scattered points: cells of a grid, errors from the points, bounded memory."""

from collections.abc import Sequence

import numpy as np
import pytest

from trainer.localization.decoding import most_mass_within, near_spots
from trainer.localization.dense.features import FeatureParameters
from trainer.training.evaluation.hold_out_evaluation import measure_hold_out
from trainer.training.fitting import encoded_rows
from trainer.training.fitting.fit import fit
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.quality.survey_findings import on_scattered_points
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine

SITE = SiteDescription(name="hall")
BEACONS = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0], [20.0, 20.0], [10.0, 10.0]])


def walked(points: Sequence[Sequence[float]], *, shuffled: bool = False) -> bytes:
    """A survey of one row at each point, by a radio model without noise."""
    lines = []
    for x, y in points:
        distances = np.linalg.norm(BEACONS - (x, y), axis=1)
        readings = -40.0 - 25.0 * np.log10(np.maximum(distances, 1.0))
        lines.append(",".join([f"{x!r}", f"{y!r}", *(f"{dbm:.0f}" for dbm in readings)]))
    if shuffled:
        lines = [lines[row] for row in np.random.default_rng(1).permutation(len(lines))]
    header = ",".join(["x", "y", *(f"b{number}" for number in range(len(BEACONS)))])
    return "\n".join([header, *lines, ""]).encode()


def scattered(rows: int = 600) -> list[list[float]]:
    random = np.random.default_rng(0)
    points: list[list[float]] = random.uniform(0.0, 20.0, size=(rows, 2)).round(3).tolist()
    return points


def read(content: bytes, site: SiteDescription = SITE) -> TrainingSet:
    return combine([read_survey(content, site)], site)


def test_scattered_points_become_cells_and_the_audit_states_their_size() -> None:
    data = read(walked(scattered()))

    assert data.snapped is not None
    assert data.snapped.is_default
    assert data.snapped.points == 600
    assert len(data.labels) == data.snapped.cells <= 300
    [finding] = on_scattered_points(data)
    assert f"{data.snapped.cells} cells of {data.snapped.cell_size_m:g} m" in finding.done


def test_a_row_keeps_its_own_point_and_a_cell_lies_amid_its_points() -> None:
    points = scattered()
    data = read(walked(points))

    places = data.places_of(slice(None))
    assert places is not None
    assert data.positions is not None
    np.testing.assert_array_equal(places, points)
    assert data.snapped is not None
    apart = np.abs(data.positions[data.cells] - places)
    assert apart.max() <= data.snapped.cell_size_m


def test_the_size_that_a_site_names_counts() -> None:
    data = read(walked(scattered()), SiteDescription(name="hall", cell_size_m=5.0))

    assert len(data.labels) == 16
    assert data.labels[0] == "x=2.5,y=2.5"
    assert data.snapped is not None
    assert not data.snapped.is_default


@pytest.mark.parametrize(
    "points",
    [
        [[x, y] for x in range(0, 20, 2) for y in range(0, 20, 2)],
        [[x, y] for x in range(5) for y in range(5)] * 4,
        [[x * 0.5, 3.0] for x in range(8)] * 5,
    ],
    ids=["a grid that is visited once", "a grid that is visited often", "half a metre apart"],
)
def test_points_that_are_places_stay_as_they_are(points: list[list[float]]) -> None:
    data = read(walked([[float(x), float(y)] for x, y in points]))

    assert data.snapped is None
    assert data.points is None
    assert len(data.labels) == len({tuple(point) for point in points})


def test_cells_do_not_depend_on_the_order_of_rows() -> None:
    one, other = read(walked(scattered())), read(walked(scattered(), shuffled=True))

    assert one.labels == other.labels
    np.testing.assert_array_equal(one.positions, other.positions)
    assert sorted(one.keys.tolist()) == sorted(other.keys.tolist())


def test_surveys_with_and_without_locations_share_a_model() -> None:
    labelled = b"location,x,y,b0\n" + b"kitchen,30.0,30.0,-50\n" * 12
    data = combine([read_survey(each, SITE) for each in (walked(scattered()), labelled)], SITE)

    assert "kitchen" in data.labels
    np.testing.assert_array_equal(data.places_of(np.array([len(data) - 1])), [[30.0, 30.0]])


def test_errors_are_measured_from_the_points_themselves() -> None:
    data = read(walked(scattered()), SiteDescription(name="hall", cell_size_m=4.0))
    rows = np.arange(len(data))
    measured = measure_hold_out(data, rows[::2], rows[1::2], SITE, Hyperparameters(epochs=60))

    assert measured.scores.errors_m is not None
    # Cells of 4 m would be 1.5 m off on average if each row were answered with its own cell.
    assert 0.0 < float(measured.scores.errors_m.mean()) < 1.3


def test_targets_of_near_cells_fit_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = [[float(x), float(y)] for x in range(0, 20, 2) for y in range(0, 20, 2)] * 4
    data, settings = read(walked(grid)), Hyperparameters(epochs=10)
    whole = fit(data, FeatureParameters(), settings)
    monkeypatch.setattr(encoded_rows, "MOST_FULL_TARGETS", 0)
    near = fit(data, FeatureParameters(), settings)

    for one, other in zip(whole.layers, near.layers, strict=True):
        np.testing.assert_allclose(one.weight, other.weight, atol=0.02)


def test_labels_without_positions_need_no_square_of_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = b"location,b1,b2\n" + b"kitchen,-50,-70\nhall,-70,-50\n" * 20
    data = read(content)
    whole = fit(data, FeatureParameters(), Hyperparameters())
    monkeypatch.setattr(encoded_rows, "MOST_FULL_TARGETS", 0)
    near = fit(data, FeatureParameters(), Hyperparameters())

    for one, other in zip(whole.layers, near.layers, strict=True):
        np.testing.assert_allclose(one.weight, other.weight, atol=1e-4)


def test_near_cells_are_those_within_reach_and_the_nearest_always() -> None:
    spots = np.random.default_rng(0).uniform(0.0, 50.0, size=(300, 2))
    places = np.vstack([spots[:20], [[500.0, 500.0]]])
    near, squares = near_spots(places, spots, 5.0)

    between = np.linalg.norm(places[:, np.newaxis] - spots, axis=2)
    for row, distances in enumerate(between):
        within = np.flatnonzero(distances <= max(5.0, distances.min()))
        found = near[row] < len(spots)
        assert near[row][found].tolist() == within.tolist()
        np.testing.assert_allclose(squares[row][found], distances[within] ** 2)


def test_the_most_mass_around_a_cell_is_the_same_for_many_cells() -> None:
    random = np.random.default_rng(0)
    spots = random.uniform(0.0, 60.0, size=(1100, 2))
    masses = random.dirichlet(np.full(len(spots), 0.01), size=30).astype(np.float32)
    between = np.linalg.norm(spots[:, np.newaxis] - spots, axis=2)
    expected = (masses @ (between <= 3.0)).max(axis=1)

    chosen = most_mass_within(masses, spots, 3.0)

    achieved = [
        float(row @ (between[cell] <= 3.0)) for row, cell in zip(masses, chosen, strict=True)
    ]
    np.testing.assert_allclose(achieved, expected, rtol=1e-5)
