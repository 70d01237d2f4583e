"""Adam on MXNet's engine: the training graph, its gradients and one fused update a step.

All parameters are one vector, or a few for large batches, and the layers are views of it. A batch
is divided into shares, each with a bound graph of its own; Python only queues steps, and MXNet's
engine executes them meanwhile.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from trainer.localization.dense.mxnet_graph import logits, parameter_names
from trainer.localization.dense.network import FloatVector
from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.fitting.distributed import worker_group
from trainer.training.fitting.encoded_rows import EncodedRows
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.parameters import ParameterLayout

_BETA1, _BETA2 = 0.9, 0.999
"""The defaults of ``adam_update``, which takes longer if they are passed."""
_SHARE_ROWS = 512
"""Rows of a batch that are worth a thread of their own."""
_MAX_SHARES = 4


@dataclass(frozen=True, slots=True, eq=False)
class _ParameterBlock:
    """The parameters of some layers as one vector, with Adam's state, as MXNet's arrays."""

    layout: ParameterLayout
    theta: Any
    mean: Any
    variance: Any
    gradients: list[Any]
    """One for each share of the batch; the first becomes their sum."""


class Adam:
    """The data, one bound graph for each share of a batch, and Adam's state, all inside MXNet."""

    def __init__(
        self,
        layout: ParameterLayout,
        theta: FloatVector,
        rows: EncodedRows,
        hyperparameters: Hyperparameters,
    ) -> None:
        """Load the rows and bind the graph to the current device.

        Args:
            layout: of the network.
            theta: the initial parameters, beacon by beacon (``beacon_major_order``).
            rows: to train on.
            hyperparameters: of the recipe.
        """
        self._mx = load_mxnet()
        self._layout = layout
        self._settings = hyperparameters
        self._count = len(rows)
        self._own_rows = worker_group().part(hyperparameters.batch_size)
        self._batch = self._mx.nd.zeros(_length(self._own_rows), dtype=np.int32)
        shares = _shares(_length(self._own_rows))
        self._blocks = self._split(theta, len(shares))
        # A row's weight is the sum of its target. Where targets are of all cells it is repeated for
        # each, because MXNet multiplies two arrays of one shape faster.
        weights = rows.targets.sum(axis=1, keepdims=True)
        if rows.near is None:
            weights = np.broadcast_to(weights, rows.targets.shape)
        data = {
            "codes": self._mx.nd.array(rows.codes, dtype=rows.codes.dtype),
            "levels": self._mx.nd.array(rows.levels),
            "kinds": self._mx.nd.array(rows.kinds, dtype=np.int32),
            "targets": self._mx.nd.array(rows.targets / hyperparameters.batch_size),
            "weights": self._mx.nd.array(weights / hyperparameters.batch_size),
        }
        if rows.near is not None:
            data["near"] = self._mx.nd.array(rows.near, dtype=np.int32)
        self._executors = []
        for number, share in enumerate(shares):
            shape = (_length(share), rows.targets.shape[1])
            graph = _training_graph(self._mx, layout, None if rows.near is None else shape)
            self._executors.append(self._bind(graph, {**data, "rows": self._batch[share]}, number))

    def _split(self, theta: FloatVector, shares: int) -> list[_ParameterBlock]:
        """The parameters in blocks; their number follows from the batch, so all workers agree."""
        layouts = _blocks(self._layout, len(_shares(self._settings.batch_size)))
        ends = np.cumsum([layout.size for layout in layouts])[:-1]
        zeros = self._mx.nd.zeros
        return [
            _ParameterBlock(
                layout=layout,
                theta=self._mx.nd.array(values),
                mean=zeros(layout.size),
                variance=zeros(layout.size),
                gradients=[zeros(layout.size) for _ in range(shares)],
            )
            for layout, values in zip(layouts, np.split(theta, ends), strict=True)
        ]

    def _bind(self, graph: Any, data: dict[str, Any], share: int) -> Any:  # MXNet has no types
        """An executor of the graph for one share: from its rows to the parameters' gradients."""
        gradients = _views([(block.layout, block.gradients[share]) for block in self._blocks])
        arguments = {**data, **_views([(block.layout, block.theta) for block in self._blocks])}
        return graph.bind(
            self._mx.context.current_context(),
            arguments,
            args_grad=gradients,
            grad_req={name: "write" if name in gradients else "null" for name in arguments},
        )

    def epochs(self, random: np.random.Generator) -> Iterator[None]:
        """Queue one epoch after another; the last batch of each is filled up from its start."""
        batch = self._settings.batch_size
        batches = -(-self._count // batch)
        epochs = self._settings.epochs_for(self._count)
        rates = learning_rates(self._settings, epochs * batches)
        order = self._mx.nd.zeros(batches * batch, dtype=np.int32)
        steps = [
            order[start + self._own_rows.start : start + self._own_rows.stop]
            for start in range(0, batches * batch, batch)
        ]
        with ExitStack() as stack:
            sums = [
                stack.enter_context(worker_group().summing(block.gradients[0]))
                for block in self._blocks
            ]
            for epoch in range(epochs):
                # Waits for the steps that read the last order: at most one epoch is queued.
                order[:] = np.resize(random.permutation(self._count), batches * batch)
                for number, rows in enumerate(steps, start=epoch * batches):
                    rows.copyto(self._batch)
                    self._step(rates[number], number + 1, sums)
                yield

    def parameters(self) -> FloatVector:
        """The parameters after all queued steps."""
        return np.concatenate([block.theta.asnumpy() for block in self._blocks])

    def _step(self, rate: float, number: int, sums: list[Callable[[], None]]) -> None:
        """Gradients and one fused update; MXNet's leaves Adam's bias correction to the caller."""
        for executor in self._executors:
            _, residuals = executor.forward(is_train=True)
            executor.backward([residuals, residuals])
        correction = math.sqrt(1.0 - _BETA2**number) / (1.0 - _BETA1**number)
        for block, add_up in zip(self._blocks, sums, strict=True):
            if len(block.gradients) > 1:
                self._mx.nd.add_n(*block.gradients, out=block.gradients[0])
            add_up()
            self._mx.nd.adam_update(
                block.theta,
                block.gradients[0],
                block.mean,
                block.variance,
                lr=rate * correction,
                wd=self._settings.weight_decay,
                out=block.theta,
            )


def _shares(rows: int) -> list[slice]:
    """Which rows of a batch a thread takes; whatever the machine, so that sums are the same.

    Threads within a product wait for each other at its end, which costs more than it saves unless
    all cores are free; threads with shares of a batch wait once a step.
    """
    count = max(1, min(_MAX_SHARES, rows // _SHARE_ROWS))
    ends = np.linspace(0, rows, count + 1).astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _blocks(layout: ParameterLayout, count: int) -> list[ParameterLayout]:
    """The layers in about as many blocks as a batch has shares, so each thread updates one.

    A small batch has one block, as the call of an update takes about as long as half of its work.
    """
    layers = len(layout.layers)
    ends = np.linspace(0, layers, min(count, layers) + 1).astype(int).tolist()
    return [ParameterLayout(layout.widths[start : stop + 1]) for start, stop in pairwise(ends)]


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def _training_graph(mx: Any, layout: ParameterLayout, near: tuple[int, int] | None = None) -> Any:
    """The logits of some rows, and the gradient of the loss by the logits.

    The gradient of the weighted cross-entropy is the softmax times the row's weight, less its
    target. It is written out because MXNet's own, through ``log_softmax``, computes exponentials
    again; and so no loss has to be computed either.

    Args:
        mx: MXNet.
        layout: of the network.
        near: the shape of a batch's targets, if they are of some cells only.
    """
    rows = mx.sym.Variable("rows")
    outputs = logits(_features(mx, rows), layout.widths[1:])
    kinds = mx.sym.take(mx.sym.Variable("kinds"), rows)
    weights, targets = (
        mx.sym.take(mx.sym.Variable(name), kinds) for name in ("weights", "targets")
    )
    softmax = mx.sym.softmax(mx.sym.BlockGrad(outputs))
    if near is None:
        residuals = softmax * weights - targets
    else:
        cells = mx.sym.take(mx.sym.Variable("near"), kinds)
        targets = _spread(mx, targets, cells, near, layout.widths[-1])
        residuals = mx.sym.broadcast_mul(softmax, weights) - targets
    return mx.sym.Group([outputs, residuals])


def _spread(mx: Any, targets: Any, cells: Any, shape: tuple[int, int], count: int) -> Any:
    """Targets of some cells as targets of all; the cell past the last takes the padding."""
    rows = mx.sym.reshape(mx.sym.arange(shape[0], dtype="int32"), (-1, 1))
    rows = mx.sym.broadcast_to(rows, shape)
    places = mx.sym.stack(rows, cells, axis=0)
    full = mx.sym.scatter_nd(targets, places, shape=(shape[0], count + 1))
    return mx.sym.slice_axis(full, axis=1, begin=0, end=count)


def _features(mx: Any, rows: Any) -> Any:
    """(rows, beacons, features per beacon), which the first product takes as one vector a row."""
    codes = mx.sym.take(mx.sym.Variable("codes"), rows)
    return mx.sym.take(mx.sym.Variable("levels"), codes)


def _views(blocks: list[tuple[ParameterLayout, Any]]) -> dict[str, Any]:
    """Each layer's weights and biases as views of its block's vector, by their graph's names."""
    views: dict[str, Any] = {}
    for layout, vector in blocks:
        for (inputs, outputs), slices in zip(layout.layers, layout.slices(), strict=True):
            weight, bias = parameter_names(len(views) // 2)
            views[weight] = vector[slices[0]].reshape((outputs, inputs))
            views[bias] = vector[slices[1]]
    return views


def learning_rates(settings: Hyperparameters, steps: int) -> list[float]:
    """A linear warm-up, then a cosine to zero; one rate for each step."""
    warmup = max(1, round(settings.warmup_share * steps))
    rates = []
    for step in range(steps):
        if step < warmup:
            rates.append(settings.learning_rate * (step + 1) / warmup)
        else:
            done = (step - warmup) / max(1, steps - warmup)
            rates.append(settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done)))
    return rates
