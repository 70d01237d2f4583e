"""The data of the demonstration: a generated site survey, or the user's file, in two parts.

The generated site follows the log-distance path loss model with log-normal shadowing (Rappaport,
Wireless Communications, section 4.9): RSSI = P0 - 10 n log10(d / 1 m) + S + F, where S is drawn
once for each beacon and place (walls, shelves) and F for each measurement (people, orientation).
What falls below the receiver's threshold is not heard. Grid and beacons are laid out like the
floor of the UCI BLE RSSI data set: 105 reference points, 10 ft apart, 13 beacons.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ops.errors import UsageError
from trainer.training.errors import BadSurvey
from trainer.training.reading.columns import find_columns
from trainer.training.reading.formats.registry import open_survey
from trainer.training.reading.site_description import GRID_CELL_M, SiteDescription
from trainer.training.reading.surveys import read_survey

SEED = 20161018
COLUMNS, ROWS = 15, 7
BEACONS = 13
ROWS_PER_POINT = 14
NOT_HEARD = -200
FIRST_PART = 0.6
"""Share of the rows that are dropped first."""

Metres = npt.NDArray[np.float64]
Decibels = npt.NDArray[np.float64]
DbmReadings = npt.NDArray[np.int_]


@dataclass(frozen=True)
class RadioModel:
    """Constants of the radio model; powers in dBm, spreads in dB."""

    power_at_1m: float = -59.0
    """A typical iBeacon's calibrated power."""
    path_loss_exponent: float = 2.6
    """Indoors with obstacles: 2 to 3.5."""
    shadowing_db: float = 4.0
    fading_db: float = 3.0
    threshold: float = -92.0


@dataclass(frozen=True)
class DemoSurvey:
    """The two parts of the demonstration's data, as CSV files."""

    first: bytes
    second: bytes
    source: str


def survey_from_file(path: Path) -> DemoSurvey:
    """The user's file cut in two, in its own order.

    Raises:
        UsageError: it can't be read, or training would refuse it; the reason is the training's own.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
    try:
        read_survey(content, SiteDescription(), name=path.name)
        first, second = split_csv(content)
        for part in (first, second):
            read_survey(part, SiteDescription(), name=f"a part of {path.name}")
    except BadSurvey as error:
        raise UsageError(f"{path} can't be trained on: {error}") from error
    return DemoSurvey(first, second, source=str(path))


def generated_survey(model: RadioModel | None = None, seed: int = SEED) -> DemoSurvey:
    """A made-up site, surveyed twice: first thoroughly, then more briefly."""
    model, random = model or RadioModel(), np.random.default_rng(seed)
    points = _grid()
    shadowing = random.normal(0, model.shadowing_db, (len(points), BEACONS))
    mean = _path_loss(model, points, _beacons()) + shadowing
    first_rounds = round(ROWS_PER_POINT * FIRST_PART)
    return DemoSurvey(
        first=_as_csv(_measure(model, mean, first_rounds, random), "10-18-2016"),
        second=_as_csv(_measure(model, mean, ROWS_PER_POINT - first_rounds, random), "10-25-2016"),
        source=f"a generated site (seed {seed})",
    )


def split_csv(content: bytes, share: float = FIRST_PART) -> tuple[bytes, bytes]:
    """Cut a CSV after a share of its rows; both parts have the header."""
    lines = _records(_decoded(content))
    header, rows = lines[0], lines[1:]
    cut = round(len(rows) * share)
    return "".join([header, *rows[:cut]]).encode(), "".join([header, *rows[cut:]]).encode()


def broken_survey(content: bytes) -> bytes:
    """The same survey with a word in place of one reading, as from a faulty export."""
    lines = _records(_decoded(content))
    dialect = csv.Sniffer().sniff(lines[0], delimiters=",;\t")
    fields = next(csv.reader([lines[1]], dialect))
    columns = find_columns(open_survey(content, "survey.csv").column_names, SiteDescription())
    fields[columns.beacons[-1]] = "no signal"
    damaged = io.StringIO()
    csv.writer(damaged, dialect).writerow(fields)
    return "".join([lines[0], damaged.getvalue(), *lines[2:]]).encode()


def fullest_fingerprint(content: bytes) -> dict[str, float]:
    """The survey's fingerprint that hears the most beacons, in dBm by beacon."""
    survey = read_survey(content, SiteDescription())
    heard = ~np.isnan(survey.rssi)
    row = int(heard.sum(axis=1).argmax())
    return {
        survey.beacons[beacon]: float(survey.rssi[row, beacon])
        for beacon in heard[row].nonzero()[0]
    }


def _grid() -> Metres:
    """(points, 2) metres, column by column."""
    columns, rows = np.meshgrid(np.arange(COLUMNS), np.arange(1, ROWS + 1), indexing="ij")
    points: Metres = np.stack([columns.ravel(), rows.ravel()], axis=1) * GRID_CELL_M
    return points


def _beacons() -> Metres:
    """(beacons, 2) metres: staggered over the floor in three lines."""
    across = (np.arange(BEACONS) + 0.5) * COLUMNS / BEACONS
    along = np.resize([1.5, 4.0, 6.5], BEACONS)
    beacons: Metres = np.stack([across, along], axis=1) * GRID_CELL_M
    return beacons


def _path_loss(model: RadioModel, points: Metres, beacons: Metres) -> Decibels:
    """(points, beacons) mean RSSI in dBm, without shadowing."""
    distances = np.linalg.norm(points[:, None] - beacons[None], axis=2)
    # The model holds from one metre on.
    loss = 10 * model.path_loss_exponent * np.log10(np.maximum(distances, 1))
    mean: Decibels = model.power_at_1m - loss
    return mean


def _measure(
    model: RadioModel, mean: Decibels, rounds: int, random: np.random.Generator
) -> DbmReadings:
    """(points, rounds, beacons) whole dBm, NOT_HEARD below the threshold."""
    shape = (len(mean), rounds, BEACONS)
    measured = mean[:, None] + random.normal(0, model.fading_db, shape)
    heard = measured >= model.threshold
    return np.where(heard, np.minimum(np.rint(measured), -1), NOT_HEARD).astype(int)


def _as_csv(measured: DbmReadings, day: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["location", "date", *(f"b{3001 + beacon}" for beacon in range(BEACONS))])
    points, rounds, _ = measured.shape
    for point in range(points):
        label = f"{chr(ord('A') + point // ROWS)}{point % ROWS + 1:02d}"
        for turn in range(rounds):
            second = point * rounds + turn
            time = f"{9 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            writer.writerow([label, f"{day} {time}", *measured[point, turn].tolist()])
    return text.getvalue().encode()


def _decoded(content: bytes) -> str:
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _records(text: str) -> list[str]:
    """Lines with their ends; a quoted field may hold line breaks."""
    records, pending = [], ""
    for line in text.splitlines(keepends=True):
        pending += line
        if pending.count('"') % 2 == 0:
            records.append(pending)
            pending = ""
    if pending:
        records.append(pending)
    if not records[-1].endswith("\n"):
        records[-1] += "\n"
    return records
