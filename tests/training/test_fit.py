"""What the fit comes to, held against the same steps in plain numpy, and what must not matter."""

import math

import numpy as np
import pytest

from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.dense.network import Network
from trainer.training.fitting import adam, encoded_rows
from trainer.training.fitting.adam import learning_rates
from trainer.training.fitting.fit import fit
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.row_weights import row_weights
from trainer.training.reading.training_set import TrainingSet

ROWS, BEACONS, CELLS = 200, 5, 6
SHORT = Hyperparameters(epochs=3, hidden=(16, 8), batch_size=32)


def made_up(step: float = 1.0) -> TrainingSet:
    """Random rows, some of them equal but of stays of another length."""
    random = np.random.default_rng(4)
    rssi = (random.integers(-95, -55, (ROWS, BEACONS)) * step).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.6] = np.nan
    rssi[ROWS // 2 : ROWS // 2 + 20] = rssi[:20]
    cells = random.integers(0, CELLS, ROWS)
    cells[ROWS // 2 : ROWS // 2 + 20] = cells[:20]
    stays = np.sqrt(np.arange(ROWS)).astype(np.intp)
    return TrainingSet(
        beacons=tuple(f"b{place}" for place in range(BEACONS)),
        labels=tuple(f"c{place}" for place in range(CELLS)),
        positions=random.uniform(0, 10, (CELLS, 2)),
        rssi=rssi,
        cells=cells,
        visits=stays,
        stays=stays,
    )


def trained(data: TrainingSet, settings: Hyperparameters = SHORT) -> Network:
    return fit(data, FeatureParameters(), settings)


def same(one: Network, other: Network) -> bool:
    return all(
        np.array_equal(mine.weight, yours.weight) and np.array_equal(mine.bias, yours.bias)
        for mine, yours in zip(one.layers, other.layers, strict=True)
    )


def close(one: Network, other: Network, within: float) -> bool:
    return all(
        np.allclose(mine.weight, yours.weight, atol=within)
        and np.allclose(mine.bias, yours.bias, atol=within)
        for mine, yours in zip(one.layers, other.layers, strict=True)
    )


def test_the_weights_are_the_same_to_the_bit_whatever_the_order_of_rows() -> None:
    data = made_up()
    order = np.random.default_rng(0).permutation(ROWS)

    assert same(trained(data), trained(data.take(order)))
    assert not same(trained(data), trained(data, SHORT.model_copy(update={"seed": 1})))


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_whole_and_fractional_readings_are_encoded_alike(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made_up(step)
    usual = trained(data)

    monkeypatch.setattr(encoded_rows, "_coded_whole", lambda _: None)

    assert same(usual, trained(data))


def test_a_batch_in_shares_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_up()
    whole = trained(data)

    monkeypatch.setattr(adam, "_SHARE_ROWS", 10)

    assert close(whole, trained(data), 1e-4)


def test_the_curve_falls_and_to_look_at_it_changes_nothing() -> None:
    data = made_up()
    curve: list[float] = []
    settings = SHORT.model_copy(update={"epochs": 12})

    looked_at = fit(data, FeatureParameters(), settings, curve.append)

    assert len(curve) == 12
    assert curve[-1] < curve[0]
    assert same(looked_at, trained(data, settings))


def test_the_steps_are_those_of_adam_on_the_weighted_cross_entropy() -> None:
    data = made_up()
    settings = Hyperparameters(epochs=4, hidden=(16,), batch_size=ROWS, weight_decay=1e-3)

    ours, known = (
        np.concatenate([np.r_[layer.weight.ravel(), layer.bias] for layer in network.layers])
        for network in (trained(data, settings), _in_numpy(data, settings))
    )

    # Where a gradient is all but nothing, Adam makes a step of its last bits; not so in most.
    assert np.median(np.abs(ours - known)) < 5e-6
    assert np.quantile(np.abs(ours - known), 0.95) < 1e-4


@pytest.mark.parametrize(
    ("rows", "epochs"), [(10, 20), (2_000, 20), (4_000, 10), (20_000, 7), (10**6, 7)]
)
def test_a_large_set_is_fitted_in_fewer_epochs(rows: int, epochs: int) -> None:
    assert Hyperparameters().epochs_for(rows) == epochs
    assert Hyperparameters(epochs=1).epochs_for(rows) == 1


def test_the_curve_has_a_point_for_each_epoch_that_was_fitted() -> None:
    data = made_up()
    curve: list[float] = []
    large = data.take(np.tile(np.arange(ROWS), 20))
    fit(large, FeatureParameters(), Hyperparameters(epochs=4, hidden=(4,)), curve.append)

    assert len(curve) == 2


def _in_numpy(data: TrainingSet, settings: Hyperparameters) -> Network:
    """The same fit where each batch is the whole set, so that its order does not matter."""
    start = fit(data, FeatureParameters(), settings.model_copy(update={"learning_rate": 1e-30}))
    vectors = [
        vector.astype(np.float64) for layer in start.layers for vector in (layer.weight, layer.bias)
    ]
    means, squares = ([np.zeros_like(vector) for vector in vectors] for _ in range(2))
    features = featurize(data.rssi, FeatureParameters())
    wanted = encoded_rows.soft_targets(data.positions, CELLS, settings.target_sigma_m)[data.cells]
    weights = row_weights(data.stays, settings.visit_damping)[:, np.newaxis]
    for step, rate in enumerate(learning_rates(settings, settings.epochs), start=1):
        first, first_bias, second, second_bias = vectors
        hidden = np.maximum(features @ first.T + first_bias, 0.0)
        answers = np.exp(hidden @ second.T + second_bias)
        wrong = (answers / answers.sum(axis=1, keepdims=True) - wanted) * weights / ROWS
        back = (wrong @ second) * (hidden > 0)
        gradients = [back.T @ features, back.sum(axis=0), wrong.T @ hidden, wrong.sum(axis=0)]
        correction = math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        for place, gradient in enumerate(gradients):
            decayed = gradient + settings.weight_decay * vectors[place]
            means[place] = 0.9 * means[place] + 0.1 * decayed
            squares[place] = 0.999 * squares[place] + 0.001 * decayed**2
            direction = means[place] / (np.sqrt(squares[place]) + 1e-8)
            vectors[place] = vectors[place] - rate * correction * direction
    layers = [
        type(layer)(weight=weight.astype(np.float32), bias=bias.astype(np.float32))
        for layer, weight, bias in zip(start.layers, vectors[::2], vectors[1::2], strict=True)
    ]
    return Network(tuple(layers))
