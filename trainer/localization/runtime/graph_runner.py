"""A model's graph in LiteRT with XNNPACK's kernels, on the calling thread.

A copy has working memory of its own, so it serves one caller at a time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]  # it has no types

from trainer.localization.graph.answer_graph import ModelGraph
from trainer.localization.graph.writer import GraphWriter
from trainer.localization.readings import FloatMatrix

_STANDARD_ERROR = 2


class GraphRunner:
    """One copy of a model in the runtime, for one caller at a time."""

    def __init__(self, graph: ModelGraph) -> None:
        """Load the graph into the runtime."""
        _create_delegate_silently()
        self._interpreter = Interpreter(model_content=graph.content, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [details["index"] for details in self._interpreter.get_output_details()]
        self._probabilities = self._interpreter.tensor(self._outputs[graph.probabilities])
        self._rows = 0

    def run(self, dbm: FloatMatrix, wanted: list[int]) -> list[npt.NDArray[Any]]:
        """Run the graph on some rows.

        Args:
            dbm: (rows, 1, beacons) as the graph expects them.
            wanted: the numbers of the outputs.

        Returns:
            (rows,) the likeliest cells, then the outputs.
        """
        interpreter = self._interpreter
        if len(dbm) != self._rows:
            interpreter.resize_tensor_input(self._input, dbm.shape)
            interpreter.allocate_tensors()
            self._rows = len(dbm)
        interpreter.set_tensor(self._input, dbm)
        interpreter.invoke()
        # In place: few callers want a copy of the probabilities.
        likeliest = self._probabilities().argmax(axis=1)
        return [likeliest, *(interpreter.get_tensor(self._outputs[each]) for each in wanted)]


@cache
def _create_delegate_silently() -> None:
    """Create the first XNNPACK delegate with standard error redirected.

    The runtime reports it there once, no setting turns that off, and our logs are JSON lines.
    """
    writer = GraphWriter()
    writer.output(writer.add("NEG", writer.input(1)))
    with _without_standard_error():
        Interpreter(model_content=writer.model(), num_threads=1).allocate_tensors()


@contextmanager
def _without_standard_error() -> Iterator[None]:
    try:
        saved = os.dup(_STANDARD_ERROR)
    except OSError:
        # It was closed before this process started.
        yield
        return
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), _STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(saved, _STANDARD_ERROR)
        os.close(saved)
