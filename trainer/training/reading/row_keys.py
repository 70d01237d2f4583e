"""Hashes of rows, equal for exact duplicates, whatever the order of beacons and rows."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices
from trainer.localization.readings import FloatMatrix

_PART_ROWS = 65_536
"""Rows to hash at once: they fit the cache, which is three times as fast as all rows at once."""

Keys = npt.NDArray[np.uint64]
"""(rows,) one hash for each row."""


def row_keys(
    labels: Sequence[str], cells: CellIndices, beacons: Sequence[str], rssi: FloatMatrix
) -> Keys:
    """A 64-bit hash of each row, its label and its readings by the beacons' names.

    It does not depend on the order of the columns, nor on beacons that were not heard.

    Args:
        labels: the cells' names.
        cells: (rows,) the index of each row's cell.
        beacons: the columns' names.
        rssi: (rows, beacons) in dBm, NaN where not heard.
    """
    keys = np.array([name_key(label) for label in labels], dtype=np.uint64)[cells]
    for beacon, column in zip(beacons, rssi.T, strict=True):
        name = np.uint64(name_key(beacon))
        for start in range(0, len(keys), _PART_ROWS):
            part = column[start : start + _PART_ROWS]
            bits = np.ascontiguousarray(part).view(np.uint32).astype(np.uint64)
            keys[start : start + _PART_ROWS] += np.where(
                np.isnan(part), np.uint64(0), mix_bits(bits ^ name)
            )
    return keys


def name_key(name: str) -> int:
    """64 bits of a name's SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def mix_bits(keys: Keys) -> Keys:
    """Mix bits with the finalizer of splitmix64 (Steele, Lea and Flood, 2014), modulo 2^64."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
