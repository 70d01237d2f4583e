"""Snaps scattered points to cells: a walk measures nearly every row at a place of its own.

A cell for each point would make a network of as many outputs as rows, none of which has anything to
learn from but one row. Points that were visited again and again, or that lie farther apart than a
cell, stay cells of their own, so a plain grid is never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trainer.localization.decoding import Positions
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.storeys import StoreyColumn, joined_storeys
from trainer.training.reading.surveys import Survey

ROWS_OF_A_POINT = 3.0
"""From so many rows a point on, points are places that someone came back to."""
ROWS_OF_A_CELL = 2.0
"""Cells are no smaller than it takes for so many rows in each, on average. On the walks of WiFine
(781 rows) cells of 1, 2, 3 and 4 m had mean errors of 1.86, 1.91, 1.99 and 2.08 m."""
MOST_CELLS = 2048
"""Fits take time by rows times cells: at 20,000 rows this many still take less than a minute."""
FEWEST_MERGED = 0.25
"""Where the smallest cells would merge fewer of the points, each stays a cell of its own."""
SIZES_M = tuple(float(size) for size in (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100))


@dataclass(frozen=True, slots=True)
class SnappedPoints:
    """How a site's scattered points became cells; stated in the reports."""

    cell_size_m: float
    is_default: bool
    """Whether the size follows from the spread of the points, for lack of a ``cell_size_m``."""
    points: int
    """Distinct points before."""
    cells: int


@dataclass(frozen=True, slots=True, eq=False)
class SnappedSurveys:
    """Surveys whose rows have cells for labels, and where each row was taken."""

    surveys: tuple[Survey, ...]
    points: Positions | None = None
    """(all rows, 2) in metres, NaN for rows that were not snapped; None if none was."""
    report: SnappedPoints | None = None


def snap_surveys(surveys: Sequence[Survey], site: SiteDescription) -> SnappedSurveys:
    """Give the rows of surveys without locations the cells of a grid, if points are scattered.

    The grid is one for all surveys of a site. A cell lies at the mean of its points.
    """
    scattered = [
        (survey.positions, survey.storeys or StoreyColumn.nowhere(len(survey.labels)))
        for survey in surveys
        if survey.is_labelled_by_points and survey.positions is not None
    ]
    if not scattered:
        return SnappedSurveys(tuple(surveys))
    points = np.concatenate([positions for positions, _ in scattered])
    storeys = joined_storeys([column for _, column in scattered])
    report = _grid_for(np.column_stack([storeys.codes, points]), site)
    if report is None:
        return SnappedSurveys(tuple(surveys))
    squares = np.floor(points / report.cell_size_m).astype(np.int64)
    numbers, cells = np.unique(
        np.column_stack([storeys.codes, squares]), axis=0, return_inverse=True
    )
    cells = cells.reshape(-1)
    labels = np.array(
        [
            storeys.categories[storey].prefix + _label(square, report.cell_size_m)
            for storey, *square in numbers.tolist()
        ],
        dtype=object,
    )
    middles = _middles(points, cells, len(numbers))
    snapped, places, start = [], [], 0
    for survey in surveys:
        if not survey.is_labelled_by_points or survey.positions is None:
            snapped.append(survey)
            places.append(np.full((len(survey.labels), 2), np.nan))
            continue
        own = cells[start : start + len(survey.labels)]
        start += len(own)
        own_labels = tuple(labels[own].tolist())
        snapped.append(replace(survey, labels=own_labels, positions=middles[own]))
        places.append(survey.positions)
    return SnappedSurveys(tuple(snapped), np.concatenate(places), report)


def _grid_for(points: npt.NDArray[np.float64], site: SiteDescription) -> SnappedPoints | None:
    """The grid of the site's size, or of one that the points' spread suggests.

    Args:
        points: (rows, 3): the number of the storey, x and y in metres.
        site: where they were taken.
    """
    distinct = np.unique(points, axis=0)
    if len(points) >= ROWS_OF_A_POINT * len(distinct):
        return None
    is_default = "cell_size_m" not in site.model_fields_set
    sizes = SIZES_M if is_default else (site.cell_size_m,)
    counts = [len(np.unique(np.floor(distinct / (1.0, size, size)), axis=0)) for size in sizes]
    few = len(distinct) <= MOST_CELLS or not is_default
    if few and counts[0] > (1.0 - FEWEST_MERGED) * len(distinct):
        return None
    most = min(MOST_CELLS, len(points) / ROWS_OF_A_CELL)
    size, cells = next(
        ((size, cells) for size, cells in zip(sizes, counts, strict=True) if cells <= most),
        (sizes[-1], counts[-1]),
    )
    return SnappedPoints(size, is_default, len(distinct), cells)


def _label(square: Sequence[int], size: float) -> str:
    """The middle of a cell, written as a point is."""
    x, y = (round((index + 0.5) * size, 3) for index in square)
    return f"x={x!r},y={y!r}"


def _middles(points: Positions, cells: npt.NDArray[np.intp], count: int) -> Positions:
    """(cells, 2): the mean of each cell's points to the millimetre, in any order of rows the same.

    Args:
        points: (rows, 2) in metres.
        cells: (rows,) the cell of each.
        count: of cells.
    """
    order = np.lexsort((points[:, 1], points[:, 0], cells))
    sums = [np.bincount(cells[order], points[order, axis], count) for axis in (0, 1)]
    rows = np.bincount(cells, minlength=count)
    middles: Positions = np.column_stack(sums) / rows[:, np.newaxis]
    return middles.round(3)
