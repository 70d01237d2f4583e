"""A fingerprint is answered with the same bits in any batch."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from trainer.localization.bundle.description import ErrorRadius, ModelDescription
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.decoding import decode, expected_errors
from trainer.localization.dense import serving
from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.dense.network import Dense, Network, probabilities
from trainer.localization.dense.serving import is_batch_invariant
from trainer.localization.runtime import engine
from trainer.localization.runtime.engine import PART_ROWS
from trainer.localization.runtime.graph_runner import GraphRunner

BEACONS, CELLS = 13, 105
Matrix = npt.NDArray[np.float32]


def recipe_a() -> Network:
    """Random weights in the shapes of recipe A for the UCI library."""
    random = np.random.default_rng(0)
    widths = (8 * BEACONS, 128, 128, CELLS)
    return Network(
        tuple(
            Dense(
                weight=(random.normal(size=(after, before)) * 0.15).astype(np.float32),
                bias=random.normal(size=after).astype(np.float32),
            )
            for before, after in pairwise(widths)
        )
    )


def model(
    *,
    placed: bool = True,
    far_m: float = 0.0,
    wide_m: float = 60.0,
    temperature: float | None = 1.4,
) -> LoadedModel:
    places = np.random.default_rng(2).uniform(0, wide_m, size=(CELLS, 2)) + far_m
    description = ModelDescription(
        release="hall-0123456789ab",
        site="hall",
        beacons=tuple(f"b{number}" for number in range(BEACONS)),
        cells=tuple(f"C{number}" for number in range(CELLS)),
        positions=tuple((float(x), float(y)) for x, y in places) if placed else None,
        features=FeatureParameters(),
        radius=ErrorRadius(share=0.9, scale=1.7),
        confidence_temperature=temperature,
    )
    return LoadedModel(description, recipe_a(), (), "")


def fingerprints(rows: int) -> Matrix:
    random = np.random.default_rng(1)
    rssi = random.uniform(-95, -50, size=(rows, BEACONS)).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.6] = np.nan
    return rssi


def raw_outputs(model: LoadedModel, rssi: Matrix) -> Matrix:
    """(rows, numbers) of all outputs, not rounded."""
    found = model._engine.measure(rssi)
    calibrated = model._engine.answer(rssi, probabilities=True).probabilities
    cells = found.cells[:, np.newaxis].astype(np.float32)
    return np.concatenate([cells, found.numbers, found.probabilities, calibrated], axis=1)


@pytest.fixture(scope="module")
def answering() -> LoadedModel:
    return model()


def test_every_batch_size_gives_the_bits_of_each_row_alone(answering: LoadedModel) -> None:
    rssi = fingerprints(600)
    alone = np.concatenate([raw_outputs(answering, rssi[row : row + 1]) for row in range(600)])

    for rows in range(2, 601):
        # From another row each, so that a fingerprint stands at every place of a batch.
        start = rows * 37 % (601 - rows)
        together = raw_outputs(answering, rssi[start : start + rows])
        assert together.tobytes() == alone[start : start + rows].tobytes(), rows


@pytest.mark.parametrize("beacons", [1, 3, 40, 520])
@pytest.mark.parametrize("cells", [2, 7, 1000])
def test_models_of_other_shapes_keep_their_bits_too(beacons: int, cells: int) -> None:
    widths = (8 * beacons, 128, 128, cells)

    assert is_batch_invariant(widths, FeatureParameters(), placed=True, tempered=True)


def test_concurrent_callers_have_a_copy_of_the_runtime_each_and_the_same_bits() -> None:
    answering, rssi = model(), fingerprints(1000)
    alone = raw_outputs(answering, rssi)
    begun = Barrier(3)

    def ask(rows: slice) -> bool:
        begun.wait()
        return all(
            raw_outputs(answering, rssi[rows]).tobytes() == alone[rows].tobytes() for _ in range(20)
        )

    with ThreadPoolExecutor(3) as users:
        same = [*users.map(ask, (slice(1), slice(7, 400), slice(1000)))]

    assert same == [True] * 3
    assert 1 <= len(answering._engine._idle) <= 3


def test_a_failing_caller_loses_only_its_own_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    answering, rssi = model(), fingerprints(3)
    before = raw_outputs(answering, rssi)
    run = GraphRunner.run

    def failing(self: GraphRunner, dbm: Matrix, wanted: list[int]) -> list[npt.NDArray[Any]]:
        run(self, dbm[:1], wanted)
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(GraphRunner, "run", failing)
        with pytest.raises(MemoryError):
            answering.predict(rssi)

    assert raw_outputs(answering, rssi).tobytes() == before.tobytes()


@pytest.mark.parametrize("shell", ['exec "$@"', 'exec "$@" 2>&-'], ids=["open", "closed"])
def test_the_runtime_writes_nothing_to_standard_error(shell: str) -> None:
    script = (
        "from trainer.localization.dense.serving import is_batch_invariant\n"
        "from trainer.localization.dense.features import FeatureParameters\n"
        "print(is_batch_invariant((8, 4, 2), FeatureParameters(), placed=True))\n"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("True\n", "")


def test_every_row_is_run_by_itself_if_bits_depend_on_the_batch(
    monkeypatch: pytest.MonkeyPatch, answering: LoadedModel
) -> None:
    monkeypatch.setattr(serving, "is_batch_invariant", lambda *_, **__: False)
    careful = model()
    rssi = fingerprints(20)
    sizes = []
    run = GraphRunner.run

    def watched(self: GraphRunner, dbm: Matrix, wanted: list[int]) -> list[npt.NDArray[Any]]:
        sizes.append(len(dbm))
        return run(self, dbm, wanted)

    monkeypatch.setattr(GraphRunner, "run", watched)

    assert raw_outputs(careful, rssi).tobytes() == raw_outputs(answering, rssi).tobytes()
    assert sizes == [1] * 40 + [20] * 2


def test_the_probe_notices_a_runtime_whose_bits_depend_on_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure = engine.Engine.measure

    def uneven(self: engine.Engine, rssi: Matrix) -> engine.Outputs:
        found = measure(self, rssi)
        found.numbers[-1, 0] += np.float32(1e-3) * (len(rssi) % 2)
        return found

    widths = (8 * BEACONS, 24, CELLS)
    assert is_batch_invariant.__wrapped__(widths, FeatureParameters(), placed=True)
    monkeypatch.setattr(engine.Engine, "measure", uneven)
    assert not is_batch_invariant.__wrapped__(widths, FeatureParameters(), placed=True)


@pytest.mark.parametrize("temperature", [None, 0.1, 1.4, 5.0])
@pytest.mark.parametrize("far_m", [0.0, 500_000.0], ids=["near", "far from the origin"])
def test_what_is_served_is_what_evaluation_computes(
    far_m: float, temperature: float | None
) -> None:
    answering = model(far_m=far_m, temperature=temperature)
    rssi = fingerprints(2 * PART_ROWS + 3)
    served = answering.predict(rssi)
    table = answering.table(rssi, probabilities=True)

    posterior = probabilities(answering.network, featurize(rssi, FeatureParameters()))
    expected = decode(posterior, answering.positions, temperature)

    assert expected.points is not None
    assert served.points is not None
    assert answering.positions is not None
    radii = 1.7 * expected_errors(posterior, expected.points, answering.positions)
    np.testing.assert_allclose(served.probabilities, posterior, atol=1e-6)
    np.testing.assert_array_equal(served.cells, expected.cells)
    np.testing.assert_allclose(served.points, expected.points, atol=2e-3)
    np.testing.assert_allclose(table.numbers[:, :2], expected.points, atol=3e-3)
    np.testing.assert_allclose(table.numbers[:, 2], expected.confidences, atol=1e-5)
    np.testing.assert_allclose(table.numbers[:, 3], radii, atol=5e-3)
    np.testing.assert_allclose(served.confidences, expected.confidences, atol=1e-5)
    np.testing.assert_array_equal(
        table.probabilities.max(axis=1).astype(np.float64).round(6), table.numbers[:, 2]
    )


@pytest.mark.parametrize("wide_m", [200.0, 1000.0])
def test_on_a_wide_floor_points_are_served_to_the_centimetre(wide_m: float) -> None:
    answering = model(wide_m=wide_m)
    rssi = fingerprints(500)

    posterior = probabilities(answering.network, featurize(rssi, FeatureParameters()))
    expected = decode(posterior, answering.positions, 1.4).points
    served = answering.predict(rssi).points

    assert expected is not None
    assert served is not None
    apart = np.linalg.norm(served - expected, axis=1)
    # Beside a cell that holds about half of all, single precision decides which way a step goes.
    assert np.quantile(apart, 0.99) < 0.01


@pytest.mark.parametrize("temperature", [0.1, 0.3, 1.4, 5.0])
def test_a_temperature_changes_how_sure_an_answer_is_and_nothing_else(temperature: float) -> None:
    rssi = fingerprints(PART_ROWS)
    plain, tempered = model(temperature=None), model(temperature=temperature)
    before, after = plain.table(rssi), tempered.table(rssi)

    calibrated = tempered.table(rssi, probabilities=True).probabilities
    raw = tempered.predict(rssi).probabilities

    np.testing.assert_array_equal(after.cells, before.cells)
    np.testing.assert_array_equal(after.numbers[:, [0, 1, 3]], before.numbers[:, [0, 1, 3]])
    np.testing.assert_array_equal(raw, plain.predict(rssi).probabilities)
    surer = after.numbers[:, 2] > before.numbers[:, 2]
    assert surer.all() if temperature < 1 else not surer.any()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0, atol=1e-5)
    for row in range(0, PART_ROWS, 50):
        rising = raw[row].argsort(kind="stable")
        assert (np.diff(calibrated[row, rising]) >= 0).all()


def test_without_positions_there_is_a_cell_and_no_point() -> None:
    [answer] = model(placed=False).answers(fingerprints(1))

    assert answer.location in model(placed=False).cells
    assert (answer.x, answer.y, answer.radius_m) == (None, None, None)
    assert 0.0 < answer.confidence < 1.0


def test_a_network_without_bumps_answers_as_evaluation_computes() -> None:
    random = np.random.default_rng(0)
    parameters = FeatureParameters(bump_centres_dbm=(), not_heard_below_dbm=-107.5)
    network = Network((Dense(random.normal(size=(5, 6)).astype("f4"), np.zeros(5, np.float32)),))
    description = ModelDescription(
        release="hall-0123456789ab",
        site="hall",
        beacons=("a", "b", "c"),
        cells=tuple("ABCDE"),
        positions=None,
        features=parameters,
    )
    rssi = np.array([[-60, np.nan, -107], [-110, -90, -107.5]], dtype=np.float32)

    served = LoadedModel(description, network, (), "").predict(rssi)

    expected = probabilities(network, featurize(rssi, parameters))
    np.testing.assert_allclose(served.probabilities, expected, atol=1e-6)


def test_no_rows_have_no_answers(answering: LoadedModel) -> None:
    assert answering.answers(fingerprints(0)) == []
