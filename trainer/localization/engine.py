"""Runs a model's graph on one thread, so that a row has the same bits alone and in any batch.

The runtime sums a product in one order however many rows there are, because weights that are known
beforehand are packed for one kernel. What may go wrong: that this is a habit and no promise. So it
is asked of this very machine, once for each shape of model; where it does not hold, every row is
answered by a run of its own, which takes some twenty times as long in a batch and is right.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # it has no types

from trainer.localization.decoding import CellIndices, Positions
from trainer.localization.features import FeatureParameters
from trainer.localization.graph import INPUT, ModelGraph, model_graph
from trainer.localization.network import Dense, Network
from trainer.localization.readings import FloatMatrix

PART_ROWS = 256
"""Of one run: what it works with then stays in the processor's cache."""

_PROBED_ROWS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 33, 64, 100, 129)
_PROBED_TEMPERATURE = 1.3
_ERRORS_ONLY = 3
"""Of the runtime's log, which also tells of devices that a container does not have."""

_NOTHING = np.empty((0, 0), dtype=np.float32)

# The runtime has no types; its session stays in this file.
_Session = Any


Rest = Callable[[], None]
"""What whoever loads a model does between the parts of that work."""


def no_rest() -> None:
    """Go on at once."""


class Outputs(NamedTuple):
    """What the graph says of each row; what was not asked for is empty."""

    cells: CellIndices
    """(rows,) the likeliest."""
    numbers: npt.NDArray[Any]
    """(rows, 1, 3 or 4 of them); see ``graph.ModelGraph``."""
    probabilities: FloatMatrix
    """(rows, cells)."""


class Engine:
    """One model, ready to run; safe to share between threads, and to be forked with."""

    def __init__(self, graph: ModelGraph, part_rows: int) -> None:
        """Load a graph; see :meth:`of` for one that is probed as well."""
        self._session = _session(graph.content)
        self._part_rows = part_rows
        self.graph_bytes = len(graph.content)
        # The runtime has its own copy of what is in there.
        self._graph = replace(graph, content=b"")

    @classmethod
    def of(
        cls,
        network: Network,
        features: FeatureParameters,
        positions: Positions | None,
        radius_scale: float | None,
        temperature: float | None,
        rest: Rest = no_rest,
    ) -> "Engine":
        """The engine of a model.

        Args:
            network, features, positions, radius_scale, temperature: as of ``model_graph``.
            rest: called before what takes longest.
        """
        widths = (network.inputs, *(len(layer.bias) for layer in network.layers))
        even = keeps_bits(
            widths, features, placed=positions is not None, tempered=temperature is not None
        )
        graph = model_graph(network, features, positions, radius_scale, temperature)
        rest()
        return cls(graph, PART_ROWS if even else 1)

    def answer(self, rssi: FloatMatrix, *, probabilities: bool = False) -> Outputs:
        """Answer fingerprints, in float64 and rounded as answers are told.

        Args:
            rssi: (rows, beacons) in dBm, float32, NaN or below -150 where a beacon was not heard.
            probabilities: whether those of all cells, as they are told, are wanted too.
        """
        graph = self._graph
        names = [graph.cells, graph.answers]
        return self._run(rssi, [*names, graph.told] if probabilities else names)

    def measure(self, rssi: FloatMatrix) -> Outputs:
        """The same as it is computed: not rounded, in float32, near the middle of all cells."""
        graph = self._graph
        return self._run(rssi, [graph.cells, graph.numbers, graph.probabilities])

    def _run(self, rssi: FloatMatrix, names: list[str]) -> Outputs:
        step = self._part_rows
        if not len(rssi):
            # Of nothing at all the runtime makes a division by zero, which ends the process.
            return Outputs(np.empty(0, dtype=np.intp), np.empty((0, self._graph.width)), _NOTHING)
        if len(rssi) <= step:
            arrays = self._session.run(names, {INPUT: rssi})
        else:
            starts = range(0, len(rssi), step)
            parts = [self._session.run(names, {INPUT: rssi[at : at + step]}) for at in starts]
            arrays = [np.concatenate(same) for same in zip(*parts, strict=True)]
        return Outputs(arrays[0][:, 0], arrays[1], arrays[2] if len(names) > 2 else _NOTHING)


def _session(content: bytes) -> _Session:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # The graph is written as it should run: looking for a better one finds none, at each load.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Else each model of a hundred keeps what its largest batch took; without, none is slower.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # Kept for a change of providers, of which there is one; a fifth of what a model takes.
    session._model_bytes = b""  # noqa: SLF001 - there is no other way to let go of it
    return session


@cache
def keeps_bits(
    widths: tuple[int, ...], features: FeatureParameters, *, placed: bool, tempered: bool = False
) -> bool:
    """Whether a row's bits depend neither on its place in a batch nor on the batch's size.

    Which kernels run follows from the shapes alone, and sums in another order show in almost every
    number, so a model of random weights tells for all of its shape.

    Args:
        widths: of the network: its inputs, each layer's outputs.
        features: what the inputs are.
        placed: whether the cells have positions.
        tempered: whether confidences have a temperature.
    """
    random = np.random.default_rng(0)
    layers = tuple(
        Dense(
            weight=(random.normal(size=(after, before)) / before**0.5).astype(np.float32),
            bias=random.normal(size=after).astype(np.float32),
        )
        for before, after in pairwise(widths)
    )
    positions = random.uniform(0.0, 60.0, size=(widths[-1], 2)) if placed else None
    temperature = _PROBED_TEMPERATURE if tempered else None
    graph = model_graph(Network(layers), features, positions, 1.0, temperature)
    engine = Engine(graph, PART_ROWS)
    dbm = random.uniform(-160.0, -40.0, size=(PART_ROWS, widths[0] // features.per_beacon))
    rssi = dbm.astype(np.float32)
    whole = _bits(engine, rssi, tempered=tempered)
    # From another place each, so that the places in memory and in the batch are others too.
    return all(
        _bits(engine, rssi[at : at + rows], tempered=tempered) == whole[at : at + rows]
        for at, rows in enumerate(_PROBED_ROWS)
    )


def _bits(engine: Engine, rssi: FloatMatrix, *, tempered: bool) -> list[bytes]:
    outputs = engine.measure(rssi)
    parts = [outputs.cells, outputs.numbers, outputs.probabilities]
    if tempered:
        parts.append(engine.answer(rssi, probabilities=True).probabilities)
    return [b"".join(part.tobytes() for part in row) for row in zip(*parts, strict=True)]
