"""The same network as an MXNet graph: what trains, and what the bundle exports.

What may go wrong: graph nodes are named by a counter that lives as long as the process, so a second
export would differ from the first; each graph is therefore built under a name manager of its own.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.localization.bundle.description import MxnetExport
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network
from trainer.localization.mxnet_loader import load_mxnet
from trainer.localization.readings import FloatMatrix

NOT_HEARD_DBM = -200.0
"""What an unheard beacon is in the exported graph's input, as MXNet has no NaN logic."""

# MXNet has no types; its symbols and arrays stay inside this package and trainer.training.fitting.
Symbol = Any


@dataclass(frozen=True, slots=True)
class LayerSymbols:
    """One dense layer of a graph: (outputs, inputs) weights and (outputs,) biases."""

    weight: Symbol
    bias: Symbol
    outputs: int


def logits(features: Symbol, layers: Sequence[LayerSymbols]) -> Symbol:
    """Dense layers with relu between them, without the last softmax."""
    mx = load_mxnet()
    hidden = features
    for place, layer in enumerate(layers):
        if place:
            hidden = mx.sym.Activation(hidden, act_type="relu")
        hidden = mx.sym.FullyConnected(hidden, layer.weight, layer.bias, num_hidden=layer.outputs)
    return hidden


def feature_symbol(dbm: Symbol, parameters: FeatureParameters) -> Symbol:
    """:func:`trainer.localization.dense.features.featurize` as a graph.

    Args:
        dbm: (rows, beacons), anything below -150 or from 0 up where a beacon was not heard.
        parameters: scale, bumps, and below what a number says "not heard" too.
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
        layers = [
            LayerSymbols(
                weight=mx.sym.Variable(f"weight{place}"),
                bias=mx.sym.Variable(f"bias{place}"),
                outputs=len(layer.bias),
            )
            for place, layer in enumerate(network.layers)
        ]
        features = feature_symbol(mx.sym.Variable("data"), parameters)
        graph = mx.sym.softmax(logits(features, layers), axis=1, name="probabilities")
    arrays = {}
    for place, layer in enumerate(network.layers):
        arrays[f"arg:weight{place}"] = mx.nd.array(layer.weight)
        arrays[f"arg:bias{place}"] = mx.nd.array(layer.bias)
    return MxnetExport(symbol=graph.tojson().encode(), params=_saved(arrays))


def _saved(arrays: dict[str, Any]) -> bytes:
    mx = load_mxnet()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params"
        mx.nd.save(str(path), arrays)
        return path.read_bytes()


def exported_probabilities(exported: MxnetExport, rssi: FloatMatrix) -> FloatMatrix:
    """What plain MXNet says to the exported files: the measure of the numpy server's answers.

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
    answers: FloatMatrix = executor.forward(is_train=False)[0].asnumpy()
    return answers
