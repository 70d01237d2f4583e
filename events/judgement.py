"""The champion gate's judgement on a candidate, as the ledger and the gate's events carry it."""

from enum import StrEnum

from events.base import Contract
from events.manifests import Text
from events.names import RunId


class JudgementBasis(StrEnum):
    """What a candidate was judged by."""

    SAME_ROWS = "same_rows"
    """The comparison with the champion, on rows that are fair to both."""
    OWN_HOLD_OUTS = "own_hold_outs"
    """The figures that each was measured at in its own training, on other rows."""
    FLOORS = "floors"
    """The site's absolute floors, as there was no champion or no fair comparison with it."""


class JudgedFigure(StrEnum):
    """The figure that a candidate was judged by."""

    MEAN_ERROR_M = "mean_error_m"
    HIT_RATE = "hit_rate"
    """The share of rows whose location was answered exactly: for sites with labels only."""


class GateJudgement(Contract):
    """How a candidate stands beside the champion, or beside the floors of its site.

    Differences are the candidate's figure minus the champion's; metres, or shares in 0 to 1.
    """

    is_good: bool
    """Whether the gate found nothing against the candidate."""
    reason: Text
    """By how much and on what rows, for people."""
    basis: JudgementBasis
    """What decided it."""
    figure: JudgedFigure
    """The figure in the numbers below."""
    rows: int = 0
    """The rows that the candidate's figure was measured on."""
    champion: RunId | None = None
    """The release that it was compared with; None where only the floors counted."""
    candidate_figure: float | None = None
    """The candidate's figure."""
    champion_figure: float | None = None
    """The champion's figure."""
    difference: float | None = None
    """The candidate's figure minus the champion's."""
    difference_between: tuple[float, float] | None = None
    """The difference's 95 % interval; None where no interval is known."""
    margin: float | None = None
    """The difference, as a worsening, that the site allows."""
