"""The network as an MXNet graph: what training fits, and what the bundle exports.

MXNet names graph nodes by a counter that lives as long as the process, so a second export would
differ from the first: each export is therefore built under a name manager of its own.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network, forward
from trainer.localization.mxnet_loader import load_mxnet
from trainer.localization.readings import FloatMatrix

NOT_HEARD_DBM = -200.0
"""An unheard beacon in the exported graph's input, as MXNet has no NaN logic."""

# MXNet has no types; its symbols and arrays stay inside this package and trainer.training.fitting.
Symbol = Any


@dataclass(frozen=True, slots=True)
class MxnetExport:
    """The two files that plain MXNet opens."""

    symbol: bytes
    params: bytes


def parameter_names(layer: int) -> tuple[str, str]:
    """The variables of a layer's (outputs, inputs) weights and (outputs,) biases."""
    return f"weight{layer}", f"bias{layer}"


def logits(features: Symbol, widths: Sequence[int]) -> Symbol:
    """The network without its softmax.

    Args:
        features: (rows, ...) of all inputs.
        widths: the outputs of each layer.
    """
    mx = load_mxnet()

    def dense(values: Symbol, layer: tuple[int, int]) -> Symbol:
        number, outputs = layer
        weight, bias = map(mx.sym.Variable, parameter_names(number))
        return mx.sym.FullyConnected(values, weight, bias, num_hidden=outputs)

    def relu_dense(values: Symbol, layer: tuple[int, int]) -> Symbol:
        return mx.sym.Activation(dense(values, layer), act_type="relu")

    return forward(features, [*enumerate(widths)], relu_dense, dense)


def feature_symbol(dbm: Symbol, parameters: FeatureParameters) -> Symbol:
    """:func:`trainer.localization.dense.features.featurize` as a graph.

    Args:
        dbm: (rows, beacons), anything below -150 or from 0 up where a beacon was not heard.
        parameters: scale, bumps, and the bound below which a number means "not heard" too.
    """
    mx = load_mxnet()
    heard = (dbm >= parameters.not_heard_below_dbm) * (dbm < 0.0)
    parts = [heard * ((dbm - parameters.floor_dbm) / parameters.span_db)]
    for centre in parameters.bump_centres_dbm:
        offset = (dbm - centre) / parameters.bump_sigma_db
        parts.append(heard * mx.sym.exp(offset * offset * -0.5))
    return mx.sym.concat(*parts, heard, dim=1)


def export(network: Network, parameters: FeatureParameters) -> MxnetExport:
    """The whole model, from dBm to probabilities, as the two files of an MXNet checkpoint."""
    mx = load_mxnet()
    with mx.name.NameManager():
        features = feature_symbol(mx.sym.Variable("data"), parameters)
        outputs = logits(features, network.widths[1:])
        graph = mx.sym.softmax(outputs, axis=1, name="probabilities")
    arrays = {}
    for number, layer in enumerate(network.layers):
        weight, bias = parameter_names(number)
        arrays[f"arg:{weight}"] = mx.nd.array(layer.weight)
        arrays[f"arg:{bias}"] = mx.nd.array(layer.bias)
    return MxnetExport(symbol=graph.tojson().encode(), params=_saved(arrays))


def _saved(arrays: dict[str, Any]) -> bytes:
    mx = load_mxnet()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params"
        mx.nd.save(str(path), arrays)
        return path.read_bytes()


def exported_probabilities(exported: MxnetExport, rssi: FloatMatrix) -> FloatMatrix:
    """The output of plain MXNet for the exported files; served answers are checked against it.

    Args:
        exported: the two files.
        rssi: (rows, beacons) in dBm, NaN where a beacon was not heard.

    Returns:
        (rows, cells) float32.
    """
    mx = load_mxnet()
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "model"
        Path(f"{prefix}-symbol.json").write_bytes(exported.symbol)
        Path(f"{prefix}-0000.params").write_bytes(exported.params)
        symbol, arguments, _ = mx.model.load_checkpoint(str(prefix), 0)
    dbm = mx.nd.array(np.where(np.isnan(rssi), np.float32(NOT_HEARD_DBM), rssi))
    executor = symbol.bind(mx.cpu(), {"data": dbm, **arguments}, grad_req="null")
    posterior: FloatMatrix = executor.forward(is_train=False)[0].asnumpy()
    return posterior
