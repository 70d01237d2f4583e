"""The figures of a release that its manifest and events carry.

All others are in :mod:`events.metrics_document`: Lambdas import this module at every cold start.
"""

from enum import StrEnum

from events.base import Contract
from events.names import Digest, RunId


class ComparisonBasis(StrEnum):
    """How a candidate was compared with the champion."""

    UNSEEN_ROWS = "unseen_rows"
    """Both answered held-out rows of surveys that the champion has not learnt from."""
    SAME_HOLD_OUT = "same_hold_out"
    """Each was measured in its own training, on the very same held-out rows."""
    NONE = "none"
    """No rows are fair to both; the reason says why."""


class Figures(Contract):
    """How well some rows were answered; errors in metres, shares in 0 to 1, None if unknown."""

    exact_accuracy: float
    within_one_cell: float | None = None
    mean_error_m: float | None = None
    median_error_m: float | None = None
    p90_error_m: float | None = None


class AgainstChampion(Contract):
    """A candidate compared with the champion, on the same rows.

    Differences are the candidate's figure minus the champion's; their 95 % intervals come from
    resampling visits, the same ones for both.
    """

    release: RunId
    digest: Digest
    basis: ComparisonBasis
    reason: str
    """What was compared, or why nothing could be."""
    rows: int = 0
    candidate: Figures | None = None
    champion: Figures | None = None
    mean_error_difference_m: float | None = None
    mean_error_difference_between_m: tuple[float, float] | None = None
    exact_accuracy_difference: float | None = None
    exact_accuracy_difference_between: tuple[float, float] | None = None


class Metrics(Contract):
    """How well a recipe does on rows it has not seen; errors in metres, shares in 0 to 1.

    Figures in metres are None where the site's reference points have no positions.
    """

    rows: int
    trained_rows: int
    held_out_rows: int
    exact_accuracy: float
    within_one_cell: float | None
    mean_error_m: float | None
    median_error_m: float | None
    p90_error_m: float | None
    floor_accuracy: float | None = None
    """Share of rows answered with the right floor of the right building; None without floors.
    Errors in metres are 4 m larger on a wrong floor, 50 m larger in a wrong building."""
    building_accuracy: float | None = None
    """Share of rows answered with the right building; None where surveys name none."""
    against_champion: AgainstChampion | None = None
    """None where no champion was live, or it could not be read."""
    beacons: int | None = None
    """How many beacons the model listens to; None in releases from before it was kept."""
    location_coverage: float | None = None
    """The share of the site's described locations that have rows; None if none is described."""
