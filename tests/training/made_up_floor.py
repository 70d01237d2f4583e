"""A made-up floor whose radio map is known, so that what a model should say is known too."""

import numpy as np

from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription

BEACONS = ("b1", "b2", "b3", "b4", "b5")
CELLS = tuple(f"{column}{row:02d}" for column in "ABCD" for row in (1, 2, 3))
QUICK = Hyperparameters(epochs=40, hidden=(32,), batch_size=32)
HALL = SiteDescription(name="hall", cell_size_m=3.0)


def survey_lines(seed: int = 0, rows_per_visit: int = 6, visits: int = 3) -> list[str]:
    """Rows of a survey that walks over the grid ``visits`` times, without the header."""
    random = np.random.default_rng(seed)
    places = np.array([HALL.grid_position(cell) for cell in CELLS])
    beacons = places[[0, 2, 5, 9, 11]] + 0.7
    lines = []
    for _ in range(visits):
        for cell, place in zip(CELLS, places, strict=True):
            distance = np.linalg.norm(beacons - place, axis=1)
            for _ in range(rows_per_visit):
                dbm = -55 - 22 * np.log10(distance) + random.normal(0, 2, len(beacons))
                heard = [str(round(value)) if value > -85 else "-200" for value in dbm]
                lines.append(",".join([cell, "2026-11-01 10:00:00", *heard]))
    return lines


def survey_text(lines: list[str]) -> str:
    """A whole file."""
    return "\n".join([",".join(["location", "date", *BEACONS]), *lines]) + "\n"
