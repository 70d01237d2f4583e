"""Makes the smoke set: rows whose recorded answers show that a release answers alike anywhere.

The smoke set travels with the release, while surveys may not leave the building; so none of its
rows is a row of a survey: each is blended from two. A row that fits two cells almost equally might
be answered with the other one by another processor, and a good rollout would be rolled back; such
rows are left out.
"""

import numpy as np
import numpy.typing as npt

from trainer.localization.bundle.description import SmokeRow
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.decoding import CellIndices
from trainer.localization.dense.network import FloatVector
from trainer.localization.readings import FloatMatrix
from trainer.training.reading.training_set import TrainingSet

SMOKE_ROWS = 32
MAX_BLENDED = 20_000
"""Larger sets are sampled, as only a few smoke rows are needed."""
CLEAR_MARGIN = 1e-3
"""The least lead of the likeliest cell; processors differ by about 1e-7."""
_PART_ROWS = 1024
_NOT_HEARD = 1.0
"""Above every RSSI, so that the minimum of two is the one that was heard."""


def choose_smoke_rows(data: TrainingSet, model: LoadedModel) -> list[SmokeRow]:
    """:func:`blended_smoke_rows` for sets of any size, independent of the order of rows."""
    if len(data) <= MAX_BLENDED:
        return blended_smoke_rows(model, data.rssi)
    sample = np.argsort(data.keys, kind="stable")[:MAX_BLENDED]
    smoke = blended_smoke_rows(model, data.rssi[sample])
    new = [row for row in smoke if not _is_measured(model.matrix([row.rssi])[0], data.rssi)]
    return new or blended_smoke_rows(model, data.rssi)


def blended_smoke_rows(model: LoadedModel, rssi: FloatMatrix) -> list[SmokeRow]:
    """Make fingerprints and record the model's own answers.

    Args:
        model: the model to be packed.
        rssi: (rows, beacons) the measured rows in dBm, NaN where not heard.

    Returns:
        At most :data:`SMOKE_ROWS` rows: one for each count of beacons heard, including none where
        the answer is clear, and as many different answers as possible.
    """
    silence = np.full((1, rssi.shape[1]), np.nan, dtype=np.float32)
    candidates = np.concatenate([silence, _blends(rssi)])
    cells, margins = _answers(model, candidates)
    clear = margins > CLEAR_MARGIN
    # Without any clear row, unclear ones must do: a model without smoke rows can't be deployed.
    rows = np.flatnonzero(clear) if clear.any() else np.argsort(~clear)[:SMOKE_ROWS]
    picked = candidates[_diverse(rows, candidates, cells)]
    answers = model.answers(picked)
    return [
        SmokeRow(rssi=_heard(model.beacons, row), answer=answer)
        for row, answer in zip(picked, answers, strict=True)
    ]


def _blends(rssi: FloatMatrix) -> FloatMatrix:
    """(blends, beacons) halfway between similar rows, and none of them a measured row."""
    rows = np.unique(np.nan_to_num(rssi, nan=_NOT_HEARD), axis=0)
    first, second = rows[:-1], rows[1:]
    both = (first != _NOT_HEARD) & (second != _NOT_HEARD)
    blended = np.where(both, (first + second) / 2, np.minimum(first, second))
    measured = {row.tobytes() for row in rows}
    new = [row.tobytes() not in measured for row in blended]
    blends: FloatMatrix = blended[new]
    blends[blends == _NOT_HEARD] = np.nan
    return blends


def _is_measured(fingerprint: FloatVector, rssi: FloatMatrix) -> bool:
    """Whether a measured row is equal."""
    alike = np.arange(len(rssi))
    for dbm, column in zip(fingerprint, rssi.T, strict=True):
        readings = column[alike]
        alike = alike[np.isnan(readings) if np.isnan(dbm) else readings == dbm]
    return bool(len(alike))


def _answers(
    model: LoadedModel, candidates: FloatMatrix
) -> tuple[CellIndices, npt.NDArray[np.float32]]:
    """(candidates,) the likeliest cells and their leads; a row's bits are the same in any part."""
    cells, margins = [], []
    for start in range(0, len(candidates), _PART_ROWS):
        found = model.predict(candidates[start : start + _PART_ROWS])
        cells.append(found.cells)
        margins.append(_margins(found.probabilities))
    return np.concatenate(cells), np.concatenate(margins)


def _margins(probabilities: FloatMatrix) -> npt.NDArray[np.float32]:
    best = np.partition(probabilities, -2, axis=1)
    margins: npt.NDArray[np.float32] = best[:, -1] - best[:, -2]
    return margins


def _diverse(
    rows: npt.NDArray[np.intp], candidates: FloatMatrix, cells: npt.NDArray[np.intp]
) -> list[int]:
    heard = (~np.isnan(candidates[rows])).sum(axis=1)
    by_count = np.unique(heard, return_index=True)[1]
    by_cell = np.unique(cells[rows], return_index=True)[1]
    spread = by_cell[np.linspace(0, len(by_cell) - 1, min(SMOKE_ROWS, len(by_cell))).astype(int)]
    order = dict.fromkeys([*by_count.tolist(), *spread.tolist(), *range(len(rows))])
    return [int(rows[place]) for place in list(order)[:SMOKE_ROWS]]


def _heard(beacons: tuple[str, ...], row: FloatMatrix) -> dict[str, float]:
    return {
        beacon: float(dbm) for beacon, dbm in zip(beacons, row, strict=True) if not np.isnan(dbm)
    }
