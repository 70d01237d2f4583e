"""Fits the network with MXNet: soft targets over the cells around the true one.

The usual Gluon loop spends its time on per-row indexing and one update per parameter. Here the
readings lie in MXNet once, as numbers of a small table of levels; a step is told only which rows
to take, and one graph looks up their features and targets. All parameters are one vector with one
fused ``adam_update`` a step, a few for large batches, and the layers are views of it. Python only
queues steps, and MXNet's engine works them off beside it. What may go wrong: a diverging fit, which
is refused by the bundle's loader; and thread pools, see :mod:`trainer.localization.mxnet_loader`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions
from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.dense.mxnet_graph import LayerSymbols, logits
from trainer.localization.dense.network import Dense, FloatVector, Network, probabilities
from trainer.localization.mxnet_loader import load_mxnet
from trainer.localization.readings import LOWEST_READING, FloatMatrix
from trainer.training.fitting.device import device
from trainer.training.fitting.distributed import worker_group
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.row_weights import row_weights
from trainer.training.reading.row_keys import mixed
from trainer.training.reading.training_set import TrainingSet

_ADAM_BETA1, _ADAM_BETA2 = 0.9, 0.999
"""The defaults of ``adam_update``: to write out what need not be costs as much as the call."""
_SHARE_ROWS = 512
"""Rows of a batch that are worth a thread of their own."""
_MOST_SHARES = 4
_WATCHED_ROWS = 256
"""Rows that the training curve is measured on, the same after each epoch; it costs nothing so."""

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """Where each layer lies in the one parameter vector."""

    widths: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        return list(pairwise(self.widths))

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
class TrainingRows:
    """What is learnt from, as small as it is; features and targets are looked up by the graph."""

    codes: Codes
    """(rows, beacons): which level each beacon was heard at."""
    levels: FloatMatrix
    """(levels, features per beacon): the features of one beacon heard so."""
    kinds: npt.NDArray[np.int32]
    """(rows,) which target each row has; rows of one cell and one weight have the same."""
    targets: FloatMatrix
    """(kinds, cells): what the network should answer, times the row's weight."""

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def inputs(self) -> int:
        return int(self.codes.shape[1] * self.levels.shape[1])


def fit(
    data: TrainingSet,
    parameters: FeatureParameters,
    hyperparameters: Hyperparameters,
    told: Callable[[float], object] | None = None,
) -> Network:
    """Train the network; deterministic for a seed, whatever the order of the rows.

    Args:
        data: the rows to train on; a cell without rows is never answered but stays in place.
        parameters: of the features.
        hyperparameters: of the recipe.
        told: the mean loss of up to 256 of the rows, in nats, after each epoch.

    Returns:
        The weights, as numpy arrays: one output for each of the data's cells.
    """
    rows = _rows(data, parameters, hyperparameters)
    shape = ParameterLayout((rows.inputs, *hyperparameters.hidden, len(data.labels)))
    random = np.random.default_rng(hyperparameters.seed)
    theta = _initial(shape, _heard(data.rssi), parameters.per_beacon, random)
    by_beacon = _by_beacon(shape, len(data.beacons))
    with device():
        descent = _Optimizer(shape, theta[by_beacon], rows, hyperparameters)
        for _ in descent.epochs(random):
            if told is not None:
                told(_loss(_network(shape, descent.parameters()), rows))
    ordered = np.empty_like(theta)
    ordered[by_beacon] = descent.parameters()
    return _network(shape, ordered)


def _rows(
    data: TrainingSet, parameters: FeatureParameters, hyperparameters: Hyperparameters
) -> TrainingRows:
    """The rows in an order that depends on what they are, not on where they stood."""
    weights = row_weights(data.stays, hyperparameters.visit_damping)
    order = np.argsort(mixed(data.keys + weights.view(np.uint32)), kind="stable")
    codes, dbm = _coded(data.rssi)
    targets = _targets(data.positions, len(data.labels), hyperparameters.target_sigma_m)
    _, firsts, kinds = np.unique(
        weights.view(np.uint32).astype(np.int64) * len(data.labels) + data.cells,
        return_index=True,
        return_inverse=True,
    )
    return TrainingRows(
        codes=codes[order],
        levels=np.ascontiguousarray(featurize(dbm[:, np.newaxis], parameters)),
        kinds=kinds[order].astype(np.int32),
        targets=targets[data.cells[firsts]] * weights[firsts, np.newaxis],
    )


def _coded(rssi: FloatMatrix) -> tuple[Codes, FloatMatrix]:
    """Each reading as the number of a level, and the levels in dBm, the first of them NaN."""
    whole = _coded_whole(rssi)
    if whole is not None:
        return whole
    levels = np.unique(np.concatenate([np.unique(column) for column in rssi.T]))
    levels = np.concatenate([[np.float32(np.nan)], levels[~np.isnan(levels)]])
    codes = np.empty(rssi.shape, dtype=np.int32)
    for place, column in enumerate(rssi.T):
        codes[:, place] = np.searchsorted(levels[1:], column) + 1
        codes[np.isnan(column), place] = 0
    return codes, levels


def _coded_whole(rssi: FloatMatrix) -> tuple[Codes, FloatMatrix] | None:
    """The same where all readings are whole numbers, as receivers give them: one byte each."""
    codes = np.empty(rssi.shape, dtype=np.uint8)
    for place, column in enumerate(rssi.T):
        heard = np.nan_to_num(-column, nan=0.0)
        codes[:, place] = heard
        if not np.array_equal(codes[:, place], heard):
            return None
    levels = -np.arange(-int(LOWEST_READING), dtype=np.float32)
    levels[0] = np.nan
    return codes, levels


def _heard(rssi: FloatMatrix) -> npt.NDArray[np.bool_]:
    """(beacons,) which of them any row heard."""
    return np.array([not np.isnan(column).all() for column in rssi.T], dtype=bool)


def _by_beacon(shape: ParameterLayout, beacons: int) -> npt.NDArray[np.intp]:
    """Where each parameter comes from if a row's features stand beacon by beacon.

    The graph looks up all features of a beacon at once; the network is served with the features
    grouped the other way (:func:`featurize`).
    """
    inputs, outputs = shape.layers[0]
    first = np.arange(inputs * outputs).reshape(outputs, inputs // beacons, beacons)
    order = np.arange(shape.size)
    order[: first.size] = first.transpose(0, 2, 1).ravel()
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
    shape: ParameterLayout,
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


@dataclass(frozen=True, slots=True, eq=False)
class _ParameterBlock:
    """The parameters of some layers as one vector, and what its update needs, as MXNet's arrays."""

    shape: ParameterLayout
    theta: Any
    mean: Any
    variance: Any
    gradients: list[Any]
    """One for each share of the batch; the first becomes their sum."""


class _Optimizer:
    """The data, one bound graph for each share of a batch, and Adam's state, all inside MXNet."""

    def __init__(
        self,
        shape: ParameterLayout,
        theta: FloatVector,
        rows: TrainingRows,
        hyperparameters: Hyperparameters,
    ) -> None:
        self._mx = load_mxnet()
        self._shape = shape
        self._settings = hyperparameters
        self._count = len(rows)
        self._ours = worker_group().part(hyperparameters.batch_size)
        self._taken = self._mx.nd.zeros(_length(self._ours), dtype=np.int32)
        shares = _shares(_length(self._ours))
        self._parts = self._split(theta, len(shares))
        # What a row counts is what its target sums to; as wide as the answers, because MXNet
        # multiplies two arrays of one shape faster.
        counts = np.broadcast_to(rows.targets.sum(axis=1, keepdims=True), rows.targets.shape)
        data = {
            "codes": self._mx.nd.array(rows.codes, dtype=rows.codes.dtype),
            "levels": self._mx.nd.array(rows.levels),
            "kinds": self._mx.nd.array(rows.kinds, dtype=np.int32),
            "wanted": self._mx.nd.array(rows.targets / hyperparameters.batch_size),
            "counts": self._mx.nd.array(counts / hyperparameters.batch_size),
        }
        graph = _graph(self._mx, shape)
        self._executors = [
            self._bind(graph, {**data, "rows": self._taken[share]}, number)
            for number, share in enumerate(shares)
        ]

    def _split(self, theta: FloatVector, shares: int) -> list[_ParameterBlock]:
        """The parameters in their parts; how many follows from the batch, as for all workers."""
        parts = _parts(self._shape, len(_shares(self._settings.batch_size)))
        ends = np.cumsum([part.size for part in parts])[:-1]
        zeros = self._mx.nd.zeros
        return [
            _ParameterBlock(
                shape=part,
                theta=self._mx.nd.array(values),
                mean=zeros(part.size),
                variance=zeros(part.size),
                gradients=[zeros(part.size) for _ in range(shares)],
            )
            for part, values in zip(parts, np.split(theta, ends), strict=True)
        ]

    def _bind(self, graph: Any, data: dict[str, Any], share: int) -> Any:  # MXNet has no types
        """The graph of a step: from which rows to take to the gradient of the parameters."""
        gradients = _views([(part.shape, part.gradients[share]) for part in self._parts])
        arguments = {**data, **_views([(part.shape, part.theta) for part in self._parts])}
        return graph.bind(
            self._mx.context.current_context(),
            arguments,
            args_grad=gradients,
            grad_req={name: "write" if name in gradients else "null" for name in arguments},
        )

    def epochs(self, random: np.random.Generator) -> Iterator[None]:
        """Queue one epoch after the other; the last batch of each is filled up from its start."""
        batch = self._settings.batch_size
        batches = -(-self._count // batch)
        rates = learning_rates(self._settings, self._settings.epochs * batches)
        order = self._mx.nd.zeros(batches * batch, dtype=np.int32)
        steps = [
            order[start + self._ours.start : start + self._ours.stop]
            for start in range(0, batches * batch, batch)
        ]
        with ExitStack() as stack:
            sums = [
                stack.enter_context(worker_group().adding_up(part.gradients[0]))
                for part in self._parts
            ]
            for epoch in range(self._settings.epochs):
                # Waits for the steps that read the order before: no more than an epoch is queued.
                order[:] = np.resize(random.permutation(self._count), batches * batch)
                for number, rows in enumerate(steps, start=epoch * batches):
                    rows.copyto(self._taken)
                    self._step(rates[number], number + 1, sums)
                yield

    def parameters(self) -> FloatVector:
        """What the queued steps come to, once they are done."""
        return np.concatenate([part.theta.asnumpy() for part in self._parts])

    def _step(self, rate: float, number: int, sums: list[Callable[[], None]]) -> None:
        """Gradients and one fused update; MXNet's leaves Adam's bias correction to the caller."""
        for executor in self._executors:
            _, wrong = executor.forward(is_train=True)
            executor.backward([wrong, wrong])
        correction = math.sqrt(1.0 - _ADAM_BETA2**number) / (1.0 - _ADAM_BETA1**number)
        for part, add_up in zip(self._parts, sums, strict=True):
            if len(part.gradients) > 1:
                self._mx.nd.add_n(*part.gradients, out=part.gradients[0])
            add_up()
            self._mx.nd.adam_update(
                part.theta,
                part.gradients[0],
                part.mean,
                part.variance,
                lr=rate * correction,
                wd=self._settings.weight_decay,
                out=part.theta,
            )


def _shares(rows: int) -> list[slice]:
    """Which rows of a batch a thread takes; whatever the machine, so that sums are the same.

    Threads within a product wait for each other at its end, which costs more than it saves unless
    all cores are free; threads with shares of a batch do so once a step.
    """
    count = max(1, min(_MOST_SHARES, rows // _SHARE_ROWS))
    ends = np.linspace(0, rows, count + 1).astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _parts(shape: ParameterLayout, count: int) -> list[ParameterLayout]:
    """The layers in about so many parts: threads that have shares of a batch update one each.

    A small batch has one part, as an update's call takes about as long as the half that it saves.
    """
    layers = len(shape.layers)
    ends = np.linspace(0, layers, min(count, layers) + 1).astype(int).tolist()
    return [ParameterLayout(shape.widths[start : stop + 1]) for start, stop in pairwise(ends)]


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def _graph(mx: Any, shape: ParameterLayout) -> Any:
    """What the network says to some rows before its softmax, and what is sent back through it.

    The gradient of the weighted cross-entropy is the answers, by the row's weight, less its target.
    It is written out because MXNet's own, through ``log_softmax``, computes each exponential again,
    one by one; so no loss has to be computed either.
    """
    rows = mx.sym.Variable("rows")
    said = _last_layer(mx, shape, rows)
    kinds = mx.sym.take(mx.sym.Variable("kinds"), rows)
    counts, wanted = (mx.sym.take(mx.sym.Variable(name), kinds) for name in ("counts", "wanted"))
    wrong = mx.sym.softmax(mx.sym.BlockGrad(said)) * counts - wanted
    return mx.sym.Group([said, wrong])


def _last_layer(mx: Any, shape: ParameterLayout, rows: Any) -> Any:
    """What the network says before its softmax; its first product takes (rows, beacons, each)."""
    codes = mx.sym.take(mx.sym.Variable("codes"), rows)
    features = mx.sym.take(mx.sym.Variable("levels"), codes)
    layers = [
        LayerSymbols(
            weight=mx.sym.Variable(f"weight{place}"),
            bias=mx.sym.Variable(f"bias{place}"),
            outputs=outputs,
        )
        for place, (_, outputs) in enumerate(shape.layers)
    ]
    return logits(features, layers)


def _views(parts: list[tuple[ParameterLayout, Any]]) -> dict[str, Any]:
    """Each layer's weights and biases as views of its part's vector, by their names in a graph."""
    found: dict[str, Any] = {}
    for shape, vector in parts:
        for (inputs, outputs), (weights, biases) in zip(shape.layers, shape.slices(), strict=True):
            place = len(found) // 2
            found[f"weight{place}"] = vector[weights].reshape((outputs, inputs))
            found[f"bias{place}"] = vector[biases]
    return found


def _loss(network: Network, rows: TrainingRows) -> float:
    """The mean over the first rows, which are a fair sample: they stand in the order of a hash."""
    asked = slice(_WATCHED_ROWS)
    features = rows.levels[rows.codes[asked]].reshape(-1, rows.inputs)
    answers = np.maximum(probabilities(network, features), np.finfo(np.float32).tiny)
    return -float((np.log(answers) * rows.targets[rows.kinds[asked]]).sum()) / len(answers)


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


def _network(shape: ParameterLayout, theta: FloatVector) -> Network:
    return Network(
        tuple(
            Dense(weight=theta[weights].reshape(outputs, inputs), bias=theta[biases])
            for (inputs, outputs), (weights, biases) in zip(
                shape.layers, shape.slices(), strict=True
            )
        )
    )
