"""Runs a model's graph on one thread, so that a row has the same bits alone and in any batch.

The runtime sums a product in the same order for any number of rows. It does not promise to: so a
family of models checks it on this machine before it chooses how many rows go into one run, see
:func:`trainer.localization.dense.serving.is_batch_invariant`.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices, Positions
from trainer.localization.graph.answer_graph import ModelGraph
from trainer.localization.readings import FloatMatrix
from trainer.localization.runtime.graph_runner import GraphRunner

PART_ROWS = 256
"""Rows of one run: half as many take 2 to 4 % more time, and half the working memory."""

PER_METRE, PER_ONE = 1e3, 1e6
"""Answers are rounded to the millimetre, probabilities to the millionth."""

_RUNTIME_BYTES = 270_000
"""What any model takes in the runtime, by glibc's ``mallinfo2``."""
_RUNTIME_CELL_BYTES = 300
"""For each cell: the constants of the geometry, repacked for multiplication."""
_FLOAT_BYTES = 4

_NOTHING = np.empty((0, 0), dtype=np.float32)

Pause = Callable[[], None]
"""What the caller of a load does between the parts of that work."""


def no_pause() -> None:
    """Continue at once."""


class Outputs(NamedTuple):
    """The graph's outputs for each row; those not requested are empty."""

    cells: CellIndices
    """(rows,) the likeliest."""
    numbers: npt.NDArray[Any]
    """(rows, 1, 3 or 4); see ``answer_graph.ModelGraph``."""
    probabilities: FloatMatrix
    """(rows, cells)."""


class Engine:
    """One model, ready to run; safe to share between threads, and across a fork."""

    def __init__(
        self,
        graph: ModelGraph,
        widths: tuple[int, ...],
        heard_from_dbm: float,
        positions: Positions | None,
        part_rows: int,
    ) -> None:
        """Load a graph.

        Args:
            graph: of the model.
            widths: of its layers, inputs first and cells last; for :attr:`held_bytes`.
            heard_from_dbm: below, a beacon was not heard.
            positions: (cells, 2) in metres, or None where cells are plain labels.
            part_rows: at most so many rows in one run.
        """
        self._graph = graph
        self._widths = widths
        self._part_rows = part_rows
        # As many as were ever in use at once; appending to and popping from a list needs no lock.
        self._idle = [GraphRunner(graph)]
        self._heard_from_dbm = np.float32(heard_from_dbm)
        self._silence_dbm = np.float32(graph.silence_dbm)
        self._digits = np.full(graph.width, PER_METRE)
        self._digits[0 if positions is None else 2] = PER_ONE
        self._origin = np.zeros(graph.width)
        if positions is not None:
            self._origin[:2] = positions.mean(axis=0) * PER_METRE

    @property
    def held_bytes(self) -> int:
        """An estimate of the memory that the model takes once it has answered a batch.

        Its graph, a copy of the weights repacked for multiplication, and the working memory of a
        part's rows: the outputs, and twice the widest layer.
        """
        weights = sum(before * after for before, after in pairwise(self._widths))
        row = 2 * (self._widths[-1] + max(self._widths))
        numbers = weights + self._part_rows * row
        cells = _RUNTIME_CELL_BYTES * self._widths[-1]
        return _RUNTIME_BYTES + cells + len(self._graph.content) + _FLOAT_BYTES * numbers

    def answer(self, rssi: FloatMatrix, *, probabilities: bool = False) -> Outputs:
        """Answer fingerprints, in float64 and rounded for a response.

        Args:
            rssi: (rows, beacons) in dBm, float32, NaN or below -150 where a beacon was not heard.
            probabilities: whether the calibrated ones of all cells are wanted too.
        """
        graph = self._graph
        wanted = [graph.numbers, graph.calibrated] if probabilities else [graph.numbers]
        found = self._run(rssi, wanted)
        # In double precision, as the cells may be far from the site's origin.
        numbers = found.numbers * self._digits
        numbers += self._origin
        np.rint(numbers, out=numbers)
        numbers /= self._digits
        return Outputs(found.cells, numbers, found.probabilities)

    def measure(self, rssi: FloatMatrix) -> Outputs:
        """The same as computed: not rounded, in float32, relative to the middle of all cells."""
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
            # Parts as equal as possible, as the runtime prepares itself again for another size.
            step = -(-len(dbm) // -(-len(dbm) // self._part_rows))
            starts = range(0, len(dbm), step)
            parts = [runner.run(dbm[at : at + step], wanted) for at in starts]
            arrays = [np.concatenate(same) for same in zip(*parts, strict=True)]
        self._idle.append(runner)
        return Outputs(arrays[0], arrays[1], arrays[2] if len(wanted) > 1 else _NOTHING)
