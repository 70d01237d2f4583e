"""The engine of a dense network, and the proof that its answers do not depend on the batch.

Which kernels run follows from the shapes alone, and sums in another order show in almost every
number. So a network of random weights and the same shape is run in batches of many sizes, once for
each shape on this machine; where bits differ, every row is answered by a run of its own, which
takes seven times as long in a batch.
"""

from functools import cache
from itertools import pairwise

import numpy as np

from trainer.localization.decoding import Positions
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.graph import model_graph
from trainer.localization.dense.network import Dense, Network
from trainer.localization.readings import FloatMatrix
from trainer.localization.runtime.engine import PART_ROWS, Engine, Pause, no_pause

_PROBED_ROWS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 33, 64, 100, 129)
_PROBED_TEMPERATURE = 1.3


def engine_of(
    network: Network,
    features: FeatureParameters,
    positions: Positions | None,
    radius_scale: float | None,
    temperature: float | None,
    pause: Pause = no_pause,
) -> Engine:
    """The engine that runs a network.

    Args:
        network, features, positions, radius_scale, temperature: as in ``model_graph``.
        pause: called before the longest part of the work.
    """
    invariant = is_batch_invariant(
        network.widths, features, placed=positions is not None, tempered=temperature is not None
    )
    graph = model_graph(network, features, positions, radius_scale, temperature)
    pause()
    return Engine(
        graph,
        network.widths,
        features.not_heard_below_dbm,
        positions,
        PART_ROWS if invariant else 1,
    )


@cache
def is_batch_invariant(
    widths: tuple[int, ...], features: FeatureParameters, *, placed: bool, tempered: bool = False
) -> bool:
    """Whether a row's bits depend neither on its place in a batch nor on the batch's size.

    Args:
        widths: of the network: its inputs, each layer's outputs.
        features: scale and bumps.
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
    engine = Engine(graph, widths, features.not_heard_below_dbm, positions, PART_ROWS)
    dbm = random.uniform(-160.0, -40.0, size=(PART_ROWS, widths[0] // features.per_beacon))
    rssi = dbm.astype(np.float32)
    whole = _bits(engine, rssi, tempered=tempered)
    # Each from another row, so that places in memory and in the batch differ too.
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
