"""A model's graph in the runtime, LiteRT with XNNPACK's kernels, on the thread that asks.

What may go wrong: two users of one copy at a time, as what it computes with is its own; and what
the runtime has to say, which is not for our log.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]  # it has no types

from trainer.localization.dense.graph import ModelGraph
from trainer.localization.readings import FloatMatrix
from trainer.localization.runtime.graph_writer import GraphWriter

_STANDARD_ERROR = 2


class GraphRunner:
    """One copy of a model in the runtime, for one user at a time."""

    def __init__(self, graph: ModelGraph) -> None:
        """Hand the graph to the runtime."""
        _begin()
        self._interpreter = Interpreter(model_content=graph.content, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [told["index"] for told in self._interpreter.get_output_details()]
        self._probabilities = self._interpreter.tensor(self._outputs[graph.probabilities])
        self._rows = 0

    def run(self, dbm: FloatMatrix, wanted: list[int]) -> list[npt.NDArray[Any]]:
        """Answer some rows.

        Args:
            dbm: (rows, 1, beacons) as the graph takes them.
            wanted: which outputs.

        Returns:
            (rows,) the likeliest cell, and the outputs.
        """
        interpreter = self._interpreter
        if len(dbm) != self._rows:
            interpreter.resize_tensor_input(self._input, dbm.shape)
            interpreter.allocate_tensors()
            self._rows = len(dbm)
        interpreter.set_tensor(self._input, dbm)
        interpreter.invoke()
        # Where it lies, as a copy is wanted by few.
        likeliest = self._probabilities().argmax(axis=1)
        return [likeliest, *(interpreter.get_tensor(self._outputs[each]) for each in wanted)]


@cache
def _begin() -> None:
    """Let the runtime say once that it created an XNNPACK delegate, when nobody hears it.

    It does so on standard error, and knows no setting against it; logs are JSON lines here.
    """
    writer = GraphWriter()
    writer.output(writer.add("NEG", writer.input(1)))
    with _standard_error_to_nowhere():
        Interpreter(model_content=writer.model(), num_threads=1).allocate_tensors()


@contextmanager
def _standard_error_to_nowhere() -> Iterator[None]:
    try:
        kept = os.dup(_STANDARD_ERROR)
    except OSError:
        # It was closed before this process began.
        yield
        return
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), _STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
