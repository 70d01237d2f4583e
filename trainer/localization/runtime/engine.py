"""Runs a model's graph on one thread, so that a row has the same bits alone and in any batch.

The runtime sums a product in one order however many rows there are. What may go wrong: that this is
a habit and no promise. So it is asked of this very machine, once for each shape of model; where it
does not hold, every row is answered by a run of its own, which takes seven times as long in a batch
and is right.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices, Positions
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.graph import ModelGraph, model_graph
from trainer.localization.dense.network import Dense, Network
from trainer.localization.readings import FloatMatrix
from trainer.localization.runtime.graph_runner import GraphRunner

PART_ROWS = 256
"""Of one run: half as many take 2 to 4 % more time, and half the memory to work with."""

PER_METRE, PER_ONE = 1e3, 1e6
"""Answers are told to the millimetre, probabilities to the millionth."""

_PROBED_ROWS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 33, 64, 100, 129)
_PROBED_TEMPERATURE = 1.3

_RUNTIME_BYTES = 270_000
"""What any model takes in the runtime, by glibc's ``mallinfo2``."""
_RUNTIME_CELL_BYTES = 300
"""Of the floor's constants, as they are multiplied."""
_FLOAT_BYTES = 4

_NOTHING = np.empty((0, 0), dtype=np.float32)

Pause = Callable[[], None]
"""What whoever loads a model does between the parts of that work."""


def no_pause() -> None:
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

    def __init__(
        self,
        graph: ModelGraph,
        widths: tuple[int, ...],
        features: FeatureParameters,
        positions: Positions | None,
        part_rows: int,
    ) -> None:
        """Load a graph; see :meth:`of` for one that is probed as well."""
        self._graph = graph
        self._widths = widths
        self._part_rows = part_rows
        # As many as were ever wanted at once; a list gives and takes without a lock.
        self._idle = [GraphRunner(graph)]
        self._heard_from_dbm = np.float32(features.not_heard_below_dbm)
        self._silence_dbm = np.float32(graph.silence_dbm)
        self._digits = np.full(graph.width, PER_METRE)
        self._digits[0 if positions is None else 2] = PER_ONE
        self._origin = np.zeros(graph.width)
        if positions is not None:
            self._origin[:2] = positions.mean(axis=0) * PER_METRE

    @classmethod
    def of(
        cls,
        network: Network,
        features: FeatureParameters,
        positions: Positions | None,
        radius_scale: float | None,
        temperature: float | None,
        pause: Pause = no_pause,
    ) -> "Engine":
        """The engine of a model.

        Args:
            network, features, positions, radius_scale, temperature: as of ``model_graph``.
            pause: called before what takes longest.
        """
        widths = (network.inputs, *(len(layer.bias) for layer in network.layers))
        even = is_batch_invariant(
            widths, features, placed=positions is not None, tempered=temperature is not None
        )
        graph = model_graph(network, features, positions, radius_scale, temperature)
        pause()
        return cls(graph, widths, features, positions, PART_ROWS if even else 1)

    @property
    def held_bytes(self) -> int:
        """What the model takes once it has answered a batch, reckoned.

        Its graph, the weights once more as they are multiplied, and what a part's rows are worked
        on in: what is handed out, and twice the widest that stands between.
        """
        weights = sum(before * after for before, after in pairwise(self._widths))
        row = 2 * (self._widths[-1] + max(self._widths))
        numbers = weights + self._part_rows * row
        cells = _RUNTIME_CELL_BYTES * self._widths[-1]
        return _RUNTIME_BYTES + cells + len(self._graph.content) + _FLOAT_BYTES * numbers

    def answer(self, rssi: FloatMatrix, *, probabilities: bool = False) -> Outputs:
        """Answer fingerprints, in float64 and rounded as answers are told.

        Args:
            rssi: (rows, beacons) in dBm, float32, NaN or below -150 where a beacon was not heard.
            probabilities: whether those of all cells, as they are told, are wanted too.
        """
        graph = self._graph
        found = self._run(rssi, [graph.numbers, graph.told] if probabilities else [graph.numbers])
        # In double precision, as the cells may be far from the site's origin.
        numbers = found.numbers * self._digits
        numbers += self._origin
        np.rint(numbers, out=numbers)
        numbers /= self._digits
        return Outputs(found.cells, numbers, found.probabilities)

    def measure(self, rssi: FloatMatrix) -> Outputs:
        """The same as it is computed: not rounded, in float32, near the middle of all cells."""
        return self._run(rssi, [self._graph.numbers, self._graph.probabilities])

    def _run(self, rssi: FloatMatrix, wanted: list[int]) -> Outputs:
        if not len(rssi):
            return Outputs(np.empty(0, dtype=np.intp), np.empty((0, self._graph.width)), _NOTHING)
        # A comparison with NaN is false.
        dbm = np.where(rssi >= self._heard_from_dbm, rssi, self._silence_dbm)[:, np.newaxis]
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = GraphRunner(self._graph)
        if len(dbm) <= self._part_rows:
            arrays = runner.run(dbm, wanted)
        else:
            # As even as can be, because the runtime prepares itself anew for another number.
            step = -(-len(dbm) // -(-len(dbm) // self._part_rows))
            starts = range(0, len(dbm), step)
            parts = [runner.run(dbm[at : at + step], wanted) for at in starts]
            arrays = [np.concatenate(same) for same in zip(*parts, strict=True)]
        self._idle.append(runner)
        return Outputs(arrays[0], arrays[1], arrays[2] if len(wanted) > 1 else _NOTHING)


@cache
def is_batch_invariant(
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
    engine = Engine(graph, widths, features, positions, PART_ROWS)
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
