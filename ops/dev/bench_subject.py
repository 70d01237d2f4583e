"""What the serving benchmarks measure: a model, our server, and a plain reference server of it.

The reference is Flask, gunicorn and MXNet. Both servers are processes on loopback.
"""

import contextlib
import io
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ops.dev.load import (
    Load,
    ServerProcess,
    free_port,
    running,
)
from trainer.localization.bundle.description import ModelDescription
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.mxnet_graph import export
from trainer.localization.dense.network import Dense, Network
from trainer.localization.readings import FloatMatrix
from trainer.training.job.smoke import blended_smoke_rows

BEACONS, CELLS, HIDDEN = 13, 105, 128
WORKERS = 2
BATCH = 1000

REFERENCE = '''
"""A plain server: Flask, gunicorn's synchronous workers, MXNet; imported after the fork."""
import json, os, sys
os.environ["OMP_NUM_THREADS"] = "1"
from flask import Flask, request

app = Flask(__name__)
beacons, cells = json.load(open(os.environ["BENCH_NAMES"]))


def load():
    from trainer.localization.mxnet_loader import load_mxnet
    mx = load_mxnet()
    net, args, _ = mx.model.load_checkpoint(os.environ["BENCH_PREFIX"], 0)
    executors = {}

    def predict(rows):
        key = len(rows)
        if key not in executors:
            shape = mx.nd.zeros((key, len(beacons)))
            executors[key] = net.bind(mx.cpu(), {"data": shape, **args}, grad_req="null")
        return executors[key].forward(is_train=False, data=mx.nd.array(rows))[0].asnumpy()

    return predict


model = load()


@app.get("/ping")
def ping():
    return "ok"


@app.post("/invocations")
def invocations():
    instances = request.getjson_body()["instances"]
    rows = [[row.get(name, -200.0) for name in beacons] if isinstance(row, dict) else row
            for row in instances]
    found = model(rows)
    best = found.argmax(axis=1)
    return {"predictions": [{"location": cells[cell], "confidence": float(row[cell])}
                            for cell, row in zip(best, found)]}
'''


@dataclass(frozen=True, slots=True)
class Subject:
    """The model, and the folder of its bundle and its MXNet export."""

    folder: Path
    model: LoadedModel

    @property
    def bundle(self) -> Path:
        """``model.tar.gz``."""
        return self.folder / "model.tar.gz"


@contextlib.contextmanager
def running_ours(subject: Subject, *, multi_model: bool = False) -> Iterator[ServerProcess]:
    """Run the container's process."""
    port = free_port()
    environment = {
        "RSSI_MODEL_DIR": str(subject.bundle),
        "RSSI_BIND_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(WORKERS),
        "SAGEMAKER_MULTI_MODEL": str(multi_model).lower(),
    }
    command = [sys.executable, "-m", "trainer.serving", "serve"]
    with running(command, environment, port) as server:
        yield server


@contextlib.contextmanager
def running_reference(subject: Subject) -> Iterator[ServerProcess]:
    """Run the reference server of the same model."""
    port = free_port()
    module = subject.folder / "reference_server.py"
    module.write_text(textwrap.dedent(REFERENCE))
    environment = {
        "BENCH_PREFIX": str(subject.folder / "mxnet"),
        "BENCH_NAMES": str(subject.folder / "names.json"),
        "PYTHONPATH": os.pathsep.join([str(subject.folder), str(Path(__file__).parents[2])]),
    }
    command = [
        *(sys.executable, "-m", "gunicorn", "reference_server:app", "--bind", f"127.0.0.1:{port}"),
        *("--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "1"),
        *("--keep-alive", "60", "--log-level", "error"),
    ]
    with running(command, environment, port) as server:
        yield server


def make_subject(folder: Path, cells: int = CELLS) -> Subject:
    """A model with random weights in recipe A's shapes: speed does not depend on the values."""
    random = np.random.default_rng(0)
    network = Network(
        tuple(
            Dense(
                weight=(random.normal(size=(after, before)) * (2 / before) ** 0.5).astype("f4"),
                bias=np.zeros(after, dtype=np.float32),
            )
            for before, after in pairwise((8 * BEACONS, HIDDEN, HIDDEN, cells))
        )
    )
    description = ModelDescription(
        release="bench-0123456789ab",
        site="bench",
        beacons=tuple(f"b30{number:02d}" for number in range(1, BEACONS + 1)),
        cells=tuple(f"C{number:03d}" for number in range(cells)),
        positions=tuple((number % 15 * 3.0, number // 15 * 3.0) for number in range(cells)),
        features=FeatureParameters(),
    )
    without_smoke = LoadedModel(description, network, (), "")
    exported = export(network, description.features)
    smoke = blended_smoke_rows(without_smoke, fingerprints(200))
    written = write_bundle(folder / "model.tar.gz", description, network, exported, smoke)
    (folder / "mxnet-symbol.json").write_bytes(exported.symbol)
    (folder / "mxnet-0000.params").write_bytes(exported.params)
    (folder / "names.json").write_text(json.dumps([description.beacons, description.cells]))
    return Subject(folder, LoadedModel(description, network, smoke, written.digest))


def fingerprints(rows: int) -> FloatMatrix:
    """(rows, beacons) dBm, NaN where a beacon was not heard, as about half are."""
    random = np.random.default_rng(1)
    rssi = random.integers(-95, -55, size=(rows, BEACONS)).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.5] = np.nan
    return rssi


def loads_of(model: LoadedModel) -> list[Load]:
    """One row over one connection and over many, and batches as JSON and as npy."""
    one, batch = fingerprints(1), fingerprints(BATCH)
    buffer = io.BytesIO()
    np.save(buffer, batch)
    npy = "application/x-npy"
    return [
        Load("1 connection, 1 row", 1, 1, json_body(model, one)),
        Load("64 connections, 1 row", 64, 1, json_body(model, one)),
        Load(f"4 connections, {BATCH} rows, JSON", 4, BATCH, _lists_body(batch)),
        Load(f"4 connections, {BATCH} rows, npy", 4, BATCH, buffer.getvalue(), npy),
    ]


def json_body(model: LoadedModel, rssi: FloatMatrix) -> bytes:
    """A request of named readings; a beacon that was not heard is left out."""
    rows = [
        {name: int(dbm) for name, dbm in zip(model.beacons, row, strict=True) if not np.isnan(dbm)}
        for row in rssi
    ]
    return json.dumps({"instances": rows}).encode()


def _lists_body(rssi: FloatMatrix) -> bytes:
    rows = [[-200 if np.isnan(dbm) else int(dbm) for dbm in row] for row in rssi]
    return json.dumps({"instances": rows}).encode()
