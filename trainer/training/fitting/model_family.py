"""The port for kinds of models: how one is fitted, evaluated and exported.

Another kind of model is a package like ``trainer.localization.dense``, which also brings the engine
that serves it, and an implementation of :class:`ModelFamily` here.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.dense.mxnet_graph import MxnetExport, export
from trainer.localization.dense.network import Network, probabilities
from trainer.localization.readings import FloatMatrix
from trainer.training.fitting.fit import fit
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.training_set import TrainingSet

NetworkT = TypeVar("NetworkT")


class ModelFamily(Protocol[NetworkT]):
    """One kind of model, as the training sees it."""

    def fit(
        self,
        data: TrainingSet,
        parameters: FeatureParameters,
        hyperparameters: Hyperparameters,
        report_loss: Callable[[float], object] | None = None,
    ) -> NetworkT:
        """Fit; deterministic for a seed, whatever the order of the rows."""

    def probabilities(
        self, network: NetworkT, rssi: FloatMatrix, parameters: FeatureParameters
    ) -> FloatMatrix:
        """(rows, cells): the posterior for (rows, beacons) in dBm, NaN where not heard."""

    def export(self, network: NetworkT, parameters: FeatureParameters) -> MxnetExport:
        """The whole model for plain MXNet."""


class DenseFamily:
    """Recipe A of the model's design: a dense network over features of each beacon's strength."""

    fit = staticmethod(fit)
    export = staticmethod(export)

    def probabilities(
        self, network: Network, rssi: FloatMatrix, parameters: FeatureParameters
    ) -> FloatMatrix:
        """By numpy; the served graph agrees to 1e-6."""
        return probabilities(network, featurize(rssi, parameters))


MODEL_FAMILY: ModelFamily[Network] = DenseFamily()
"""The family of every release."""
