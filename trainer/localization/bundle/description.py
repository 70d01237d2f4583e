"""What a bundle holds: the names of its files and everything about a model that is not weights.

=====================  =======================================================================
``bundle.json``        release, site, beacons in order, features, cells, confidence temperature,
                       radius, floors, and the SHA-256 of every other file; the SHA-256 of its
                       own bytes is the bundle's digest
``weights.npz``        the network's weights, for numpy
``model-symbol.json``  the same model as an MXNet graph from raw dBm to probabilities,
``model-0000.params``  with the same weights; plain MXNet opens it
``smoke.json``         fingerprints with the answers that this model gave when it was packed
=====================  =======================================================================
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.localization.decoding import Answer, Positions
from trainer.localization.dense.features import FeatureParameters

MANIFEST = "bundle.json"
WEIGHTS = "weights.npz"
SYMBOL = "model-symbol.json"
PARAMS = "model-0000.params"
SMOKE = "smoke.json"
PINNED = (PARAMS, SYMBOL, SMOKE, WEIGHTS)

MAX_UNPACKED_BYTES = 64 * 1024 * 1024
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ErrorRadius:
    """The radius of an answer: the error that the model expects, times ``scale``.

    ``scale`` was chosen on held-out rows so that it holds ``share`` of the true positions.
    """

    share: float
    scale: float


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Everything about a model that is not weights."""

    release: str
    site: str
    beacons: tuple[str, ...]
    cells: tuple[str, ...]
    positions: tuple[tuple[float, float], ...] | None
    """Metres, one for each cell; None where cells are plain labels."""
    features: FeatureParameters
    radius: ErrorRadius | None = None
    """None without positions, or without rows to calibrate it on."""
    confidence_temperature: float | None = None
    """T: the confidence is p^(1/T), normalized over the cells, where p are the probabilities by
    the weights. None: p itself."""
    floors: tuple[str | None, ...] | None = None
    """One for each cell, None where it is not known; None if no survey names any."""
    buildings: tuple[str | None, ...] | None = None
    """The same for buildings."""

    @property
    def position_array(self) -> Positions | None:
        """(cells, 2) in metres."""
        return None if self.positions is None else np.array(self.positions, dtype=np.float64)

    @property
    def storeys(self) -> tuple[tuple[str, str], ...] | None:
        """The building and floor of each cell, blank where not known; None if none is known."""
        if self.floors is None and self.buildings is None:
            return None
        nothing = (None,) * len(self.cells)
        pairs = zip(self.buildings or nothing, self.floors or nothing, strict=True)
        return tuple((building or "", floor or "") for building, floor in pairs)


@dataclass(frozen=True, slots=True)
class SmokeRow:
    """A fingerprint (dBm of the beacons that were heard) and its recorded answer."""

    rssi: Mapping[str, float]
    answer: Answer


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """A bundle on disk."""

    path: Path
    digest: str
    size: int


def sha256_of(content: bytes) -> str:
    """In hexadecimal, as ``bundle.json`` holds it."""
    return hashlib.sha256(content).hexdigest()
