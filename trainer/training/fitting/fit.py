"""Fits the network with MXNet: soft targets over the cells around the true one.

The usual Gluon loop spends its time on per-row indexing and one update per parameter. Here the rows
are in MXNet once, encoded; a step passes only which rows to take, and one graph looks up their
features and targets (:mod:`trainer.training.fitting.adam`). A fit that diverges is refused by the
bundle's reader.
"""

from collections.abc import Callable

import numpy as np

from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network, probabilities
from trainer.training.fitting.adam import Adam
from trainer.training.fitting.device import device
from trainer.training.fitting.encoded_rows import EncodedRows, encode, heard_beacons
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.parameters import (
    ParameterLayout,
    beacon_major_order,
    initial_parameters,
)
from trainer.training.reading.training_set import TrainingSet

_WATCHED_ROWS = 256
"""Rows that the training curve is measured on, the same after each epoch; so few cost nothing."""


def fit(
    data: TrainingSet,
    parameters: FeatureParameters,
    hyperparameters: Hyperparameters,
    report_loss: Callable[[float], object] | None = None,
) -> Network:
    """Train the network; deterministic for a seed, whatever the order of the rows.

    Args:
        data: the rows to train on; a cell without rows keeps its output and is never answered.
        parameters: of the features.
        hyperparameters: of the recipe.
        report_loss: called after each epoch with the mean loss of up to 256 rows, in nats.

    Returns:
        The weights, as numpy arrays: one output for each of the data's cells.
    """
    rows = encode(data, parameters, hyperparameters)
    layout = ParameterLayout((rows.inputs, *hyperparameters.hidden, len(data.labels)))
    random = np.random.default_rng(hyperparameters.seed)
    theta = initial_parameters(layout, heard_beacons(data.rssi), parameters.per_beacon, random)
    by_beacon = beacon_major_order(layout, len(data.beacons))
    with device():
        adam = Adam(layout, theta[by_beacon], rows, hyperparameters)
        for _ in adam.epochs(random):
            if report_loss is not None:
                report_loss(_loss(layout.network(adam.parameters()), rows))
    ordered = np.empty_like(theta)
    ordered[by_beacon] = adam.parameters()
    return layout.network(ordered)


def _loss(network: Network, rows: EncodedRows) -> float:
    """The mean over the first rows, which are a fair sample: they are ordered by a hash."""
    watched = slice(_WATCHED_ROWS)
    features = rows.levels[rows.codes[watched]].reshape(-1, rows.inputs)
    return rows.cross_entropy(probabilities(network, features))
