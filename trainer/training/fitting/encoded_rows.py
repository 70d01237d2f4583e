"""Training rows in as few bytes as possible; the training graph looks up features and targets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions, near_spots
from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.readings import LOWEST_READING, FloatMatrix
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.row_weights import row_weights
from trainer.training.reading.row_keys import mix_bits
from trainer.training.reading.training_set import TrainingSet

MOST_FULL_TARGETS = 2**22
"""Numbers, 16 MB. Larger targets are kept for the cells near each row only."""
REACH_SIGMAS = 4.0
"""Farther than this from a row, cells have no part in a target: all together 0.03 % of it."""

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRows:
    """Readings as numbers of levels, targets as numbers of kinds."""

    codes: Codes
    """(rows, beacons): the level at which each beacon was heard."""
    levels: FloatMatrix
    """(levels, features per beacon): the features of one beacon heard at that level."""
    kinds: npt.NDArray[np.int32]
    """(rows,) the target of each row; rows of one cell and one weight share it."""
    targets: FloatMatrix
    """(kinds, width): the distribution to learn, times the row's weight."""
    near: npt.NDArray[np.int32] | None
    """(kinds, width): the cells that ``targets`` are of, the number of cells where there are fewer;
    None if they are of all cells in order."""

    def __len__(self) -> int:
        return len(self.kinds)

    def cross_entropy(self, posterior: FloatMatrix) -> float:
        """The mean loss of as many of the first rows as the posterior has, in nats."""
        logs = np.log(np.maximum(posterior, np.finfo(np.float32).tiny))
        kinds = self.kinds[: len(posterior)]
        if self.near is not None:
            padded = np.pad(logs, ((0, 0), (0, 1)))
            logs = np.take_along_axis(padded, self.near[kinds].astype(np.intp), axis=1)
        return -float((logs * self.targets[kinds]).sum()) / len(posterior)

    @property
    def inputs(self) -> int:
        """The number of features of a row."""
        return int(self.codes.shape[1] * self.levels.shape[1])


def encode(
    data: TrainingSet, parameters: FeatureParameters, hyperparameters: Hyperparameters
) -> EncodedRows:
    """The rows in an order that depends on their content, not on their order in the files."""
    weights = row_weights(data.stays, hyperparameters.visit_damping)
    order = np.argsort(mix_bits(data.keys + weights.view(np.uint32)), kind="stable")
    codes, dbm = _coded(data.rssi)
    _, firsts, kinds = np.unique(
        weights.view(np.uint32).astype(np.int64) * len(data.labels) + data.cells,
        return_index=True,
        return_inverse=True,
    )
    if data.points is not None:
        # Each row has a target of its own, around its own point.
        firsts = kinds = np.arange(len(data))
    targets, near = _targets(data, firsts, hyperparameters.target_sigma_m)
    return EncodedRows(
        codes=codes[order],
        levels=np.ascontiguousarray(featurize(dbm[:, np.newaxis], parameters)),
        kinds=kinds[order].astype(np.int32),
        targets=targets * weights[firsts, np.newaxis],
        near=near,
    )


def _targets(
    data: TrainingSet, rows: npt.NDArray[np.intp], sigma_m: float
) -> tuple[FloatMatrix, npt.NDArray[np.int32] | None]:
    """The distributions that some rows should yield, and the cells that they are of."""
    count, cells, spots = len(data.labels), data.cells[rows], data.spots
    if data.points is None and len(rows) * count <= MOST_FULL_TARGETS:
        return soft_targets(spots, count, sigma_m)[cells], None
    if spots is None:
        return np.ones((len(rows), 1), dtype=np.float32), cells[:, np.newaxis].astype(np.int32)
    places = spots[cells].copy()
    if data.points is not None:
        places[:, :2] = data.points[rows]
    near, squares = near_spots(places, spots, REACH_SIGMAS * sigma_m)
    # Relative to the nearest cell, as all may be far.
    weights = np.exp((squares - squares.min(axis=1, keepdims=True)) / (-2.0 * sigma_m**2))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), near


def _coded(rssi: FloatMatrix) -> tuple[Codes, FloatMatrix]:
    """Each reading as the number of a level, and the levels in dBm, the first of them NaN."""
    whole = _coded_whole(rssi)
    if whole is not None:
        return whole
    levels = np.unique(np.concatenate([np.unique(column) for column in rssi.T]))
    levels = np.concatenate([[np.float32(np.nan)], levels[~np.isnan(levels)]])
    codes = np.empty(rssi.shape, dtype=np.int32)
    for beacon, column in enumerate(rssi.T):
        codes[:, beacon] = np.searchsorted(levels[1:], column) + 1
        codes[np.isnan(column), beacon] = 0
    return codes, levels


def _coded_whole(rssi: FloatMatrix) -> tuple[Codes, FloatMatrix] | None:
    """The same if all readings are whole numbers, as receivers report them: one byte each."""
    codes = np.empty(rssi.shape, dtype=np.uint8)
    for beacon, column in enumerate(rssi.T):
        heard = np.nan_to_num(-column, nan=0.0)
        codes[:, beacon] = heard
        if not np.array_equal(codes[:, beacon], heard):
            return None
    levels = -np.arange(-int(LOWEST_READING), dtype=np.float32)
    levels[0] = np.nan
    return codes, levels


def heard_beacons(rssi: FloatMatrix) -> npt.NDArray[np.bool_]:
    """(beacons,) whether any row heard the beacon."""
    return np.array([not np.isnan(column).all() for column in rssi.T], dtype=bool)


def soft_targets(positions: Positions | None, cell_count: int, sigma_m: float) -> FloatMatrix:
    """(cells, cells): for each true cell the distribution that the network should learn.

    Args:
        positions: (cells, 2) in metres, or 3 with floors (:func:`spots_of`).
        cell_count: used without positions.
        sigma_m: of the Gaussian.
    """
    if positions is None:
        return np.eye(cell_count, dtype=np.float32)
    square = ((positions[:, np.newaxis] - positions) ** 2).sum(axis=2)
    weights = np.exp(square / (-2.0 * sigma_m**2))
    targets: FloatMatrix = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return targets
