"""Fits the network with MXNet: soft targets over the cells around the true one.

The usual Gluon loop spends its time on per-row indexing and one update per parameter; here all
parameters are one vector with one fused ``adam_update`` a step, batches are slices of a shuffled
array, and the graph is bound once. What may go wrong: a diverging fit, which is refused by the
bundle's loader; and thread pools, see :mod:`trainer.localization.mxnet_loader`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices, Positions
from trainer.localization.features import FeatureParameters, featurize
from trainer.localization.mxnet_loader import load_mxnet
from trainer.localization.network import Dense, FloatVector, Network
from trainer.localization.network_mxnet import LayerSymbols, logits
from trainer.localization.readings import FloatMatrix
from trainer.training.dataset import TrainingSet
from trainer.training.hyperparameters import Hyperparameters
from trainer.training.weights import Weights, row_weights

_ADAM_BETA1, _ADAM_BETA2 = 0.9, 0.999
_PART_ROWS = 4096
"""Rows whose features are in memory at once: 104 features of a million rows would take 0.5 GB."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where each layer lies in the one parameter vector."""

    widths: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        return list(zip(self.widths, self.widths[1:], strict=False))

    @property
    def size(self) -> int:
        return sum(inputs * outputs + outputs for inputs, outputs in self.layers)

    def slices(self) -> list[tuple[slice, slice]]:
        """Where the weights and the biases of each layer lie."""
        found, start = [], 0
        for inputs, outputs in self.layers:
            middle = start + inputs * outputs
            found.append((slice(start, middle), slice(middle, middle + outputs)))
            start = middle + outputs
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What is learnt from, as small as it is: features and targets are made part by part."""

    rssi: FloatMatrix
    cells: CellIndices
    weights: Weights
    targets: FloatMatrix
    """(cells, cells): what the network should answer for each true cell."""
    parameters: FeatureParameters

    def in_parts(
        self, order: npt.NDArray[np.intp], batch: int
    ) -> Iterator[tuple[FloatMatrix, FloatMatrix]]:
        """Features and weighted targets of the rows in this order, some whole batches at a time."""
        size = max(1, _PART_ROWS // batch) * batch
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            # A row's loss is linear in its target, so its weight goes there.
            wanted = self.targets[self.cells[rows]] * self.weights[rows, np.newaxis]
            yield featurize(self.rssi[rows], self.parameters), wanted


def fit(
    data: TrainingSet,
    parameters: FeatureParameters,
    hyperparameters: Hyperparameters,
    told: Callable[[float], object] = lambda _: None,
) -> Network:
    """Train the network; deterministic for a seed, whatever the order of the rows.

    Args:
        data: the rows to train on; a cell without rows is never answered but stays in place.
        parameters: of the features.
        hyperparameters: of the recipe.
        told: the mean loss of each epoch, in nats, as it ends.

    Returns:
        The weights, as numpy arrays: one output for each of the data's cells.
    """
    order = _canonical_order(data.rssi, data.cells)
    rssi, cells, cell_count = data.rssi[order], data.cells[order], len(data.labels)
    rows = _Rows(
        rssi=rssi,
        cells=cells,
        weights=row_weights(data.stays[order], hyperparameters.visit_damping),
        targets=_targets(data.positions, cell_count, hyperparameters.target_sigma_m),
        parameters=parameters,
    )
    inputs = parameters.per_beacon * len(data.beacons)
    shape = _Shape((inputs, *hyperparameters.hidden, cell_count))
    random = np.random.default_rng(hyperparameters.seed)
    heard = ~np.isnan(rssi).all(axis=0)
    theta = _initial(shape, heard, parameters.per_beacon, random)
    trained = _Descent(shape, theta, hyperparameters).run(rows, random, told)
    return _network(shape, trained)


def _canonical_order(rssi: FloatMatrix, cells: CellIndices) -> npt.NDArray[np.intp]:
    """An order of the rows that depends on what they are, not on where they stood."""
    order: npt.NDArray[np.intp] = np.lexsort((*np.nan_to_num(rssi, nan=1.0).T, cells))
    return order


def _targets(positions: Positions | None, cell_count: int, sigma_m: float) -> FloatMatrix:
    """(cells, cells): for each true cell the distribution that the network should answer."""
    if positions is None:
        return np.eye(cell_count, dtype=np.float32)
    square = ((positions[:, np.newaxis] - positions) ** 2).sum(axis=2)
    weights = np.exp(square / (-2.0 * sigma_m**2))
    targets: FloatMatrix = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return targets


def _initial(
    shape: _Shape,
    heard: npt.NDArray[np.bool_],
    features_per_beacon: int,
    random: np.random.Generator,
) -> FloatVector:
    """He-normal weights and zero biases as one vector.

    A beacon that no row heard gets zeros and draws no random numbers: the model is the same as
    without it, and should it be heard one day, noise does not speak for it.
    """
    theta = np.zeros(shape.size, dtype=np.float32)
    for place, ((inputs, outputs), (weights, _)) in enumerate(
        zip(shape.layers, shape.slices(), strict=True)
    ):
        alive = np.tile(heard, features_per_beacon) if place == 0 else np.ones(inputs, dtype=bool)
        fan_in = max(int(alive.sum()), 1)
        drawn = random.normal(0.0, math.sqrt(2.0 / fan_in), size=(outputs, int(alive.sum())))
        matrix = np.zeros((outputs, inputs), dtype=np.float32)
        matrix[:, alive] = drawn
        theta[weights] = matrix.ravel()
    return theta


class _Descent:
    """One bound graph and Adam's state."""

    def __init__(self, shape: _Shape, theta: FloatVector, hyperparameters: Hyperparameters) -> None:
        self._mx = load_mxnet()
        self._shape = shape
        self._settings = hyperparameters
        batch, cells = hyperparameters.batch_size, shape.widths[-1]
        self._features = self._mx.nd.zeros((batch, shape.widths[0]))
        self._wanted = self._mx.nd.zeros((batch, cells))
        self._theta = self._mx.nd.array(theta)
        self._gradient = self._mx.nd.zeros(shape.size)
        self._mean = self._mx.nd.zeros(shape.size)
        self._variance = self._mx.nd.zeros(shape.size)
        self._losses = self._mx.nd.zeros(batch)
        self._executor = self._bind()

    def _bind(self) -> Any:  # an MXNet executor, which has no type
        mx = self._mx
        logarithms = mx.sym.log_softmax(
            logits(mx.sym.Variable("features"), _views(self._shape, mx.sym.Variable("theta")))
        )
        loss = mx.sym.MakeLoss(mx.sym.sum(logarithms * mx.sym.Variable("wanted"), axis=1) * -1.0)
        return loss.bind(
            mx.cpu(),
            {"features": self._features, "wanted": self._wanted, "theta": self._theta},
            args_grad={"theta": self._gradient},
            grad_req={"features": "null", "wanted": "null", "theta": "write"},
        )

    def run(
        self, rows: _Rows, random: np.random.Generator, told: Callable[[float], object]
    ) -> FloatVector:
        """All epochs; the last batch of each is filled up with rows from its start."""
        batch = self._settings.batch_size
        batches = -(-len(rows.cells) // batch)
        rates = learning_rates(self._settings, self._settings.epochs * batches)
        step = 0
        for _ in range(self._settings.epochs):
            self._losses[:] = 0.0
            order = np.resize(random.permutation(len(rows.cells)), batches * batch)
            for features, targets in rows.in_parts(order, batch):
                shuffled, wanted = self._mx.nd.array(features), self._mx.nd.array(targets)
                for start in range(0, len(features), batch):
                    self._features[:] = shuffled[start : start + batch]
                    self._wanted[:] = wanted[start : start + batch]
                    self._step(rates[step], step + 1)
                    step += 1
            told(float(self._losses.asnumpy().sum()) / (batches * batch))
        trained: FloatVector = self._theta.asnumpy()
        return trained

    def _step(self, rate: float, number: int) -> None:
        """One fused update; MXNet's operator leaves Adam's bias correction to the caller."""
        self._losses += self._executor.forward(is_train=True)[0]
        self._executor.backward()
        correction = math.sqrt(1.0 - _ADAM_BETA2**number) / (1.0 - _ADAM_BETA1**number)
        self._mx.nd.adam_update(
            self._theta,
            self._gradient,
            self._mean,
            self._variance,
            lr=rate * correction,
            beta1=_ADAM_BETA1,
            beta2=_ADAM_BETA2,
            wd=self._settings.weight_decay,
            rescale_grad=1.0 / self._settings.batch_size,
            out=self._theta,
        )


def learning_rates(settings: Hyperparameters, steps: int) -> list[float]:
    """A straight climb over the warm-up, then a cosine to zero; one rate for each step."""
    warmup = max(1, round(settings.warmup_share * steps))
    rates = []
    for step in range(steps):
        if step < warmup:
            rates.append(settings.learning_rate * (step + 1) / warmup)
        else:
            done = (step - warmup) / max(1, steps - warmup)
            rates.append(settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done)))
    return rates


def _views(shape: _Shape, theta: Any) -> Sequence[LayerSymbols]:
    """Each layer's weights and biases as views of the one parameter symbol."""
    mx = load_mxnet()

    def part(where: slice, *dimensions: int) -> Any:
        cut = mx.sym.slice_axis(theta, axis=0, begin=where.start, end=where.stop)
        return mx.sym.reshape(cut, shape=dimensions)

    return [
        LayerSymbols(
            weight=part(weights, outputs, inputs), bias=part(biases, outputs), outputs=outputs
        )
        for (inputs, outputs), (weights, biases) in zip(shape.layers, shape.slices(), strict=True)
    ]


def _network(shape: _Shape, theta: FloatVector) -> Network:
    return Network(
        tuple(
            Dense(weight=theta[weights].reshape(outputs, inputs), bias=theta[biases])
            for (inputs, outputs), (weights, biases) in zip(
                shape.layers, shape.slices(), strict=True
            )
        )
    )
