"""The model's arithmetic: features, forward pass, decoding."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from trainer.localization.decoding import decode, geometric_median
from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.dense.network import Dense, Network, probabilities

PARAMETERS = FeatureParameters()
GRID = np.array([(x, y) for x in range(5) for y in range(4)], dtype=np.float64) * 3.0

Matrix = npt.NDArray[Any]


def network(inputs: int, outputs: int, seed: int = 0) -> Network:
    random = np.random.default_rng(seed)
    widths = (inputs, 24, 17, outputs)
    return Network(
        tuple(
            Dense(
                weight=random.normal(size=(after, before)).astype(np.float32),
                bias=random.normal(size=after).astype(np.float32),
            )
            for before, after in pairwise(widths)
        )
    )


def fingerprints(rows: int, beacons: int = 6, seed: int = 0) -> Matrix:
    random = np.random.default_rng(seed)
    rssi = random.integers(-95, -50, size=(rows, beacons)).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.6] = np.nan
    return rssi


def test_a_beacon_yields_its_strength_six_bumps_and_a_mask() -> None:
    rssi = np.array([[-80.0, np.nan]], dtype=np.float32)

    features = featurize(rssi, PARAMETERS).reshape(8, 2)

    bumps = np.exp(-0.5 * ((-80 - np.array(PARAMETERS.bump_centres_dbm)) / 5) ** 2)
    np.testing.assert_allclose(features[:, 0], [20 / 45, *bumps, 1.0], rtol=1e-6)
    assert not features[:, 1].any()


def test_probabilities_are_those_of_the_formula() -> None:
    made, features = network(48, 20), featurize(fingerprints(50), PARAMETERS)
    hidden = features.astype(np.float64)
    for layer in made.layers[:-1]:
        hidden = np.maximum(hidden @ layer.weight.T + layer.bias, 0)
    logits = hidden @ made.layers[-1].weight.T + made.layers[-1].bias
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(probabilities(made, features), expected, atol=1e-5)


def test_a_certain_posterior_is_answered_with_its_very_cell() -> None:
    certain = np.eye(len(GRID), dtype=np.float32)

    predictions = decode(certain, GRID)

    assert predictions.cells.tolist() == list(range(len(GRID)))
    assert predictions.points is not None
    np.testing.assert_allclose(predictions.points, GRID, atol=1e-3)
    assert predictions.confidences.tolist() == [1.0] * len(GRID)


def test_the_point_is_the_median_and_does_not_run_after_a_far_outlier() -> None:
    line = np.array([[0.0, 0.0], [1.0, 0.0], [100.0, 0.0]])
    posterior = np.array([[0.3, 0.4, 0.3]], dtype=np.float32)

    assert geometric_median(posterior, line)[0] == pytest.approx([1.0, 0.0], abs=0.15)


def test_the_point_is_nearly_as_good_as_any_other() -> None:
    posteriors = np.random.default_rng(1).dirichlet(np.full(len(GRID), 0.4), 50).astype("f4")
    found = geometric_median(posteriors, GRID)
    tried = np.stack(np.meshgrid(np.arange(0, 12.1, 0.2), np.arange(0, 9.1, 0.2)), -1)

    def cost(points: Matrix) -> Matrix:
        expected: Matrix = np.linalg.norm(points[:, None] - GRID, axis=2) @ posteriors.T
        return expected

    best = cost(tried.reshape(-1, 2)).min(axis=0)
    assert (np.diag(cost(found)) - best).max() < 0.15


def test_answers_in_a_far_frame_are_as_exact_as_near_the_origin() -> None:
    posteriors = np.random.default_rng(2).dirichlet(np.ones(len(GRID)), 9).astype("f4")
    away = np.array([4.5e5, 5.4e6])

    shifted = geometric_median(posteriors, GRID + away)

    np.testing.assert_allclose(shifted - away, geometric_median(posteriors, GRID), atol=1e-3)


def test_without_positions_there_is_a_cell_and_no_point() -> None:
    predictions = decode(np.array([[0.2, 0.8]], dtype=np.float32), None)

    assert (predictions.cells.tolist(), predictions.points) == ([1], None)
