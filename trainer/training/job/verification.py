"""Serves a packaged model once, with the code that will serve it, and compares it with MXNet.

The request goes from JSON to JSON through the service that the container runs; only HTTP is left
out. It finds wrongly packed weights, features that training and serving compute differently, and
columns in another order.
"""

import json
from pathlib import Path

import numpy as np

from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.decoding import Answer, decode
from trainer.localization.dense.mxnet_graph import MxnetExport, exported_probabilities
from trainer.serving.exchange import HttpRequest
from trainer.serving.models.service import INVOCATIONS, SingleModelService, respond
from trainer.training.errors import BundleMismatch

TOLERANCE = 1e-5
"""On probabilities, between numpy and MXNet in single precision (measured: below 1e-6)."""


def verify_bundle(path: Path, export: MxnetExport) -> None:
    """Have a bundle answer its smoke rows through its own service.

    Raises:
        BundleMismatch: its answers differ from the recorded ones or from MXNet's.
        BadBundle: it can't be opened.
    """
    model = load_bundle(path)
    served = _served(path, model)
    recorded = [row.answer for row in model.smoke]
    if served != recorded:
        differing = next(pair for pair in zip(served, recorded, strict=True) if pair[0] != pair[1])
        raise BundleMismatch(
            f"Served from its bundle, the model answers {differing[0]}, but {differing[1]} is "
            "recorded: packing or serving is broken; nothing was released."
        )
    _compare_with_mxnet(model, export, served)


def _served(path: Path, model: LoadedModel) -> list[Answer]:
    body = json.dumps({"instances": [dict(row.rssi) for row in model.smoke]}).encode()
    request = HttpRequest("POST", INVOCATIONS, {"content-type": "application/json"}, body)
    reply = respond(SingleModelService.open(path), request)
    document = json.loads(reply.body)
    if reply.status != 200 or document["digest"] != model.digest:
        raise BundleMismatch(
            f"The packaged model's server answered {reply.status}: {reply.body[:300]!r}; nothing "
            "was released."
        )
    return [Answer(**prediction) for prediction in document["predictions"]]


def _compare_with_mxnet(model: LoadedModel, export: MxnetExport, served: list[Answer]) -> None:
    rssi = model.matrix([row.rssi for row in model.smoke])
    theirs = exported_probabilities(export, rssi)
    ours = model.predict(rssi).probabilities
    apart = float(np.abs(theirs - ours).max())
    expected = decode(theirs, model.positions, model.description.confidence_temperature)
    pairs = zip(served, expected.cells, expected.confidences, strict=True)
    if apart > TOLERANCE or not all(
        answer.location == model.cells[cell]
        and abs(answer.confidence - confidence) <= 2 * TOLERANCE
        for answer, cell, confidence in pairs
    ):
        raise BundleMismatch(
            f"The served answers are not MXNet's (probabilities differ by {apart:.1e}, but "
            f"{TOLERANCE:.0e} is allowed): the exported weights or features are not the served "
            "ones; nothing was released."
        )
