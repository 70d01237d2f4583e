"""A model that was unpacked and verified, and its answers to fingerprints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.localization.bundle.description import ModelDescription, SmokeRow
from trainer.localization.decoding import Answer, CellIndices, Predictions
from trainer.localization.dense.network import Network
from trainer.localization.dense.serving import engine_of
from trainer.localization.readings import FloatMatrix
from trainer.localization.runtime.engine import Pause, no_pause

Numbers = npt.NDArray[np.float64]


class AnswerTable(NamedTuple):
    """The answers to many rows as they leave the container, rounded."""

    cells: CellIndices
    """(rows,) the likeliest, as indices into the model's cells."""
    numbers: Numbers
    """(rows, fields) in the order of ``LoadedModel.number_fields``; NaN for an Answer's None."""
    probabilities: FloatMatrix
    """(rows, cells), calibrated (the confidence is the largest) and not rounded, if requested;
    otherwise empty."""


class LoadedModel:
    """A model that answers fingerprints; immutable, so safe to share between threads."""

    def __init__(
        self,
        description: ModelDescription,
        network: Network,
        smoke: Sequence[SmokeRow],
        digest: str,
        pause: Pause = no_pause,
    ) -> None:
        """Combine the parts of a verified bundle; ``pause`` as in ``load_bundle``."""
        self.description = description
        self.network = network
        self.smoke = tuple(smoke)
        self.digest = digest
        self.positions = description.position_array
        self.number_fields: tuple[str, ...] = ("x", "y", "confidence")
        radius = description.radius
        if radius is not None:
            self.number_fields += ("radius_m",)
        # The fields of an answer that follow from its location.
        named = {"floor": description.floors, "building": description.buildings}
        self.cell_fields: Mapping[str, Sequence[str | None]] = {
            name: texts for name, texts in named.items() if texts is not None
        }
        scale = None if radius is None else radius.scale
        self._engine = engine_of(
            network,
            description.features,
            self.positions,
            scale,
            description.confidence_temperature,
            pause,
        )

    @property
    def release(self) -> str:
        """The id of the release that this model is."""
        return self.description.release

    @property
    def beacons(self) -> tuple[str, ...]:
        """The columns of :meth:`predict`, in order."""
        return self.description.beacons

    @property
    def cells(self) -> tuple[str, ...]:
        """The labels of the cells, in the order of the network's outputs."""
        return self.description.cells

    @property
    def held_bytes(self) -> int:
        """An estimate of the memory that the model takes once it has answered a batch."""
        weights = sum(layer.weight.nbytes + layer.bias.nbytes for layer in self.network.layers)
        return weights + self._engine.held_bytes

    def predict(self, rssi: FloatMatrix) -> Predictions:
        """Answer fingerprints.

        Args:
            rssi: (rows, beacons) in dBm, float32, NaN where a beacon was not heard.

        Returns:
            One prediction for each row, in order; its bits do not depend on the other rows.
        """
        found = self._engine.measure(rssi)
        # The graph computes relative to the middle of the cells, which may be far from the origin.
        points = (
            None
            if self.positions is None
            else found.numbers[:, :2].astype(np.float64) + self.positions.mean(axis=0)
        )
        confidences = found.numbers[:, 0 if points is None else 2]
        return Predictions(found.probabilities, found.cells, points, confidences)

    def table(self, rssi: FloatMatrix, *, probabilities: bool = False) -> AnswerTable:
        """The answers of :meth:`predict`, rounded to the millimetre and the millionth.

        Rounding hides the last bits, in which kinds of processors differ.

        Args:
            rssi: as in :meth:`predict`.
            probabilities: whether those of all cells are wanted too.
        """
        found = self._engine.answer(rssi, probabilities=probabilities)
        numbers = found.numbers if self.positions is not None else self._unplaced(found.numbers)
        return AnswerTable(found.cells, numbers, found.probabilities)

    def _unplaced(self, confidences: Numbers) -> Numbers:
        numbers = np.full((len(confidences), len(self.number_fields)), np.nan)
        numbers[:, 2] = confidences[:, 0]
        return numbers

    def answers(self, rssi: FloatMatrix) -> list[Answer]:
        """The answers of :meth:`table`, one object for each row."""
        table = self.table(rssi)
        rows = zip(table.cells.tolist(), table.numbers.tolist(), strict=True)
        answers = [Answer(self.cells[cell], *map(_known, numbers)) for cell, numbers in rows]
        if not self.cell_fields:
            return answers
        return [
            replace(answer, **{name: texts[cell] for name, texts in self.cell_fields.items()})
            for answer, cell in zip(answers, table.cells.tolist(), strict=True)
        ]

    def matrix(self, fingerprints: Sequence[Mapping[str, float]]) -> FloatMatrix:
        """Fingerprints of heard beacons as rows for :meth:`predict`; unknown beacons are ignored.

        Returns:
            (rows, beacons) float32, NaN where a beacon is not in the fingerprint.
        """
        rows = [[row.get(beacon, np.nan) for beacon in self.beacons] for row in fingerprints]
        return np.array(rows, dtype=np.float32).reshape(-1, len(self.beacons))


def _known(number: float) -> Any:
    return None if math.isnan(number) else number
