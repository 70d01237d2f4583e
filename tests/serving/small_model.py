"""A bundle without a training: random weights of a real network, packed for real."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.localization.bundle.description import ModelDescription, SmokeRow
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.mxnet_graph import MxnetExport, export
from trainer.localization.dense.network import Dense, Network
from trainer.training.job.smoke import blended_smoke_rows

BEACONS = ("b3001", "b3002", "AA:BB:01")
RELEASE = "hall-0123456789ab"

Matrix = npt.NDArray[np.float32]


def small_network(cells: int = 6, seed: int = 0) -> Network:
    """Random weights for :data:`BEACONS`."""
    random = np.random.default_rng(seed)
    widths = (8 * len(BEACONS), 16, cells)
    return Network(
        tuple(
            Dense(
                weight=random.normal(size=(after, before)).astype(np.float32),
                bias=random.normal(size=after).astype(np.float32),
            )
            for before, after in pairwise(widths)
        )
    )


def small_description() -> ModelDescription:
    """Six cells in a row."""
    return ModelDescription(
        release=RELEASE,
        site="hall",
        beacons=BEACONS,
        cells=tuple(f"A{row:02d}" for row in range(6)),
        positions=tuple((0.0, 3.0 * row) for row in range(6)),
        features=FeatureParameters(),
        confidence_temperature=1.4,
    )


def fingerprints(rows: int = 60) -> Matrix:
    """(rows, beacons) dBm with NaN."""
    random = np.random.default_rng(1)
    rssi = random.integers(-95, -50, size=(rows, len(BEACONS))).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.3] = np.nan
    return rssi


def smoke_rows(network: Network) -> list[SmokeRow]:
    """Rows with the answers of this network."""
    return blended_smoke_rows(LoadedModel(small_description(), network, (), ""), fingerprints())


def write_small_bundle(
    path: Path, recorded_by: Network | None = None, release: str = RELEASE
) -> Path:
    """Pack it; ``recorded_by`` lets another network have recorded the answers."""
    network = small_network()
    smoke = smoke_rows(recorded_by or network)
    description = replace(small_description(), release=release)
    write_bundle(path, description, network, MxnetExport(b"{}", b""), smoke)
    return path


def write_exported_bundle(path: Path) -> MxnetExport:
    """The same with its MXNet graph in it."""
    network = small_network()
    exported = export(network, small_description().features)
    write_bundle(path, small_description(), network, exported, smoke_rows(network))
    return exported
