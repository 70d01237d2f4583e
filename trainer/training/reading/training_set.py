"""Joins surveys into one training set: one order of beacons and cells, one frame of positions.

A beacon that a survey does not name was not heard there. Surveys that give one label two positions
are refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import CellIndices, Positions, spots_of
from trainer.localization.readings import NOT_HEARD_BELOW, FloatMatrix
from trainer.training.errors import BadSurvey, NotEnoughData
from trainer.training.reading.cells import SnappedPoints, snap_surveys
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.row_keys import Keys, row_keys
from trainer.training.reading.site_description import Position, SiteDescription
from trainer.training.reading.storeys import NOWHERE, Storey, qualify
from trainer.training.reading.surveys import Survey, check_same_place, positions_by_label

MIN_ROWS = 10
MIN_CELLS = 2
LONGEST_PAUSE_S = 600.0
"""Loggers write a row every few seconds; a longer pause separates two visits."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Labelled fingerprints of a site."""

    beacons: tuple[str, ...]
    labels: tuple[str, ...]
    """The cells' names, in the order of their indices."""
    positions: Positions | None
    """(cells, 2) in metres; None unless every cell has one."""
    rssi: FloatMatrix
    """(rows, beacons) in dBm, NaN where not heard."""
    cells: CellIndices
    """(rows,) the index of each row's cell."""
    visits: npt.NDArray[np.intp]
    """(rows,) the index of the visit: consecutive rows of one label in one survey, without a pause
    longer than :data:`LONGEST_PAUSE_S`."""
    stays: npt.NDArray[np.intp]
    """(rows,) the index of the stay: like a visit, but of the rows in order of time rather than of
    the file; without times, all rows of one label in one survey."""
    not_heard_below: float = NOT_HEARD_BELOW
    """dBm. Lower readings mean "not heard" and are NaN in ``rssi``."""
    points: Positions | None = None
    """(rows, 2) in metres where each row was taken, if its cell was made of scattered points."""
    snapped: SnappedPoints | None = None
    """How scattered points became cells; None where there are none."""
    storeys: tuple[Storey, ...] | None = None
    """(cells,) the building and floor of each; None where no survey names any."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.cells)

    @cached_property
    def keys(self) -> Keys:
        """(rows,) a hash of each row that only its exact copies share; computed once."""
        return row_keys(self.labels, self.cells, self.beacons, self.rssi)

    @property
    def spots(self) -> Positions | None:
        """(cells, 2 or 3) for what cells are near each other; see ``decoding.spots_of``."""
        return spots_of(self.positions, self.storeys)

    def places_of(self, rows: slice | npt.NDArray[np.intp]) -> Positions | None:
        """(rows, 2) in metres where some rows were taken; None without positions."""
        if self.points is not None:
            return self.points[rows]
        return None if self.positions is None else self.positions[self.cells[rows]]

    def cell_size_m(self, site: SiteDescription) -> float:
        """The distance of neighbouring cells: the site's, or that of the grid of its points."""
        return site.cell_size_m if self.snapped is None else self.snapped.cell_size_m

    def take(self, rows: npt.NDArray[np.intp]) -> "TrainingSet":
        """The training set with some of its rows, in this order, and all cells and beacons."""
        taken = replace(
            self,
            rssi=self.rssi[rows],
            cells=self.cells[rows],
            visits=self.visits[rows],
            stays=self.stays[rows],
            points=None if self.points is None else self.points[rows],
        )
        # A row's key does not depend on the other rows.
        taken.__dict__["keys"] = self.keys[rows]
        return taken


def combine(surveys: Sequence[Survey], site: SiteDescription) -> TrainingSet:
    """Join surveys into a set to train on.

    Raises:
        BadSurvey: two of them contradict each other, or one hears too little; ``survey_index`` is
            that of the one, or of the later one.
        NotEnoughData: there are too few rows, too few cells or no signal in any of them.
    """
    data = combine_any(surveys, site)
    check_enough(data)
    return data


def combine_any(surveys: Sequence[Survey], site: SiteDescription) -> TrainingSet:
    """Join surveys, even if they are too few to train on.

    Raises:
        BadSurvey: two of them contradict each other, or one hears too little; ``survey_index`` is
            that of the one, or of the later one.
    """
    return join_masked(mask_sentinel(surveys, site), site)


def join_masked(surveys: Sequence[Survey], site: SiteDescription) -> TrainingSet:
    """:func:`combine_any` for surveys that come from :func:`mask_sentinel`.

    Raises:
        BadSurvey: two of them contradict each other; ``survey_index`` is that of the later one.
    """
    snapped = snap_surveys(surveys, site)
    qualified = qualify(
        [survey.labels for survey in snapped.surveys],
        [survey.storeys for survey in snapped.surveys],
    )
    surveys = [
        replace(survey, labels=own)
        for survey, own in zip(snapped.surveys, qualified.labels, strict=True)
    ]
    beacons = _sorted({beacon for survey in surveys for beacon in survey.beacons})
    labels = _sorted({label for survey in surveys for label in survey.labels})
    cell_of = {label: cell for cell, label in enumerate(labels)}
    cells = np.array([cell_of[label] for survey in surveys for label in survey.labels], np.intp)
    times = _times(surveys)
    survey_of = np.repeat(np.arange(len(surveys)), [len(survey.labels) for survey in surveys])
    in_time = np.lexsort((times, cells, survey_of))
    stays = np.empty(len(cells), dtype=np.intp)
    stays[in_time] = _runs(survey_of[in_time], cells[in_time], times[in_time])
    positions = _positions(labels, qualified.bases, surveys, site)
    storeys = tuple(qualified.storeys[label] for label in labels)
    points = None
    if positions is not None and snapped.points is not None:
        points = np.where(np.isnan(snapped.points), positions[cells], snapped.points)
    return TrainingSet(
        beacons=beacons,
        labels=labels,
        positions=positions,
        rssi=_joined_rssi(surveys, beacons),
        cells=cells,
        visits=_runs(survey_of, cells, times),
        stays=stays,
        not_heard_below=max(
            (survey.not_heard_below for survey in surveys), default=NOT_HEARD_BELOW
        ),
        points=points,
        snapped=snapped.report,
        storeys=storeys if any(storey != NOWHERE for storey in storeys) else None,
    )


def check_enough(data: TrainingSet) -> None:
    """Refuse a set that no model could learn from.

    Raises:
        NotEnoughData: there are too few rows, too few cells or no signal in any of them.
    """
    if len(data) < MIN_ROWS or len(data.labels) < MIN_CELLS:
        raise NotEnoughData(
            f"There are {len(data)} labelled rows of {len(data.labels)} locations, and a model "
            f"needs {MIN_ROWS} rows of {MIN_CELLS} locations at least: add a survey."
        )
    if np.isnan(data.rssi).all():
        raise NotEnoughData(
            "No row hears any beacon, so there is nothing to tell locations apart by: check that "
            "the beacons are on and that the columns hold dBm."
        )


def _sorted(names: set[str]) -> tuple[str, ...]:
    """In natural order, with b2 before b10, whatever the order of the surveys."""
    return tuple(sorted(names, key=lambda name: (_natural(name), name)))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]


def _joined_rssi(surveys: Sequence[Survey], beacons: Sequence[str]) -> FloatMatrix:
    columns = {beacon: column for column, beacon in enumerate(beacons)}
    joined = np.full(
        (sum(len(survey.labels) for survey in surveys), len(beacons)), np.nan, np.float32
    )
    start = 0
    for survey in surveys:
        end = start + len(survey.labels)
        joined[start:end, [columns[beacon] for beacon in survey.beacons]] = survey.rssi
        start = end
    return joined


def _times(surveys: Sequence[Survey]) -> npt.NDArray[np.float64]:
    """(rows,) seconds, 0 for a row without a time."""
    if not surveys:
        return np.empty(0)
    times = [
        np.zeros(len(survey.labels)) if survey.times is None else np.nan_to_num(survey.times)
        for survey in surveys
    ]
    return np.concatenate(times)


def _runs(
    surveys: npt.NDArray[np.intp], cells: CellIndices, times: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """(rows,) the index of the run of rows of one survey and cell without a long pause."""
    begins = np.zeros(len(cells), dtype=np.intp)
    begins[1:] = (
        (np.diff(surveys) != 0) | (np.diff(cells) != 0) | (np.abs(np.diff(times)) > LONGEST_PAUSE_S)
    )
    runs: npt.NDArray[np.intp] = np.cumsum(begins)
    return runs


def _positions(
    labels: Sequence[str],
    bases: Mapping[str, str],
    surveys: Sequence[Survey],
    site: SiteDescription,
) -> Positions | None:
    """Every cell's position, or None: errors of cells without one could not be measured.

    Surveyed and described positions share a frame. The grid's frame is another, so the grid rule
    counts only if no other position is known.
    """
    known = _known_positions(surveys, site)
    found = [known.get(label, known.get(bases[label])) for label in labels]
    if not any(found):
        found = [site.grid_position(bases[label]) for label in labels]
    if None in found:
        return None
    return np.array(found, dtype=np.float64)


def _known_positions(surveys: Sequence[Survey], site: SiteDescription) -> dict[str, Position]:
    known = dict(site.positions)
    for index, survey in enumerate(surveys):
        for label, point in positions_by_label(survey).items():
            try:
                check_same_place(
                    label, point, known.setdefault(label, point), "in an earlier survey"
                )
            except BadSurvey as error:
                raise BadSurvey(f"{survey.name}: {error.reason}", survey_index=index) from error
    return known
