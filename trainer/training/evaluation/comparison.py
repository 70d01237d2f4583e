"""Holds a candidate against the champion, on rows that are fair to both.

The champion has learnt every row of its own snapshot, the candidate's rehearsal every row that was
not held out. Fair are therefore the held-out rows of surveys that the champion has not learnt
from, without those that are copies of rows that it has. What may go wrong: too few of them, and
then nothing is compared, and it is said why. And a candidate that looks worse only because of what
was held out, so for its comparison others stand in for these rows. Only where both trainings held
out the very same rows do their own figures stand side by side.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from events.metrics import AgainstChampion, ComparisonBasis, Figures, HeldOutRows
from trainer.training.evaluation.baselines import Baseline, baselines
from trainer.training.evaluation.champion import ChampionModel
from trainer.training.evaluation.cross_validation import fit_and_measure
from trainer.training.evaluation.evaluate import (
    Evaluation,
    RowScores,
    score_model,
    summarize,
    with_intervals,
)
from trainer.training.evaluation.hold_out import Mask, Rows
from trainer.training.evaluation.reliability import Bootstrap, Interval
from trainer.training.evaluation.resampling import oversample_locations
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.quality.near_duplicates import NearDuplicates
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet

FEWEST_ROWS = 50
"""A share of 50 rows is known to 14 points either way at best (binomial, 95 %)."""
FEWEST_VISITS = 10
"""Visits are what is resampled; the interval over a handful of them means nothing."""
MOST_ROWS_TOLD = 20_000
"""More held-out rows than this are not written down one by one: half a megabyte of figures."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside the champion."""

    told: AgainstChampion
    """As the release carries it."""
    candidate: Evaluation | None = None
    """On the rows of the comparison, with intervals; None where there are none."""
    champion: Evaluation | None = None
    baselines: tuple[Baseline, ...] = ()
    """Simple methods on the rows of the comparison."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateHoldOut:
    """The candidate's rehearsal, as far as a comparison needs it."""

    data: TrainingSet
    trained: Rows
    held_out: Rows
    scores: RowScores
    """Of the held-out rows, in their order."""
    learnt: Mask
    """(rows of data,) whether the champion learnt from the row's survey."""
    copies: NearDuplicates


def compare(
    champion: ChampionModel,
    asked: CandidateHoldOut,
    site: SiteDescription,
    settings: Hyperparameters,
) -> Comparison:
    """Hold a candidate against the champion, as far as that is fair.

    Args:
        champion: what is live.
        asked: the candidate's rehearsal.
        site: where the rows were taken.
        settings: the candidate's; it is fitted once more where there are rows to ask.
    """
    fair = _fair(asked)
    visits = len(np.unique(asked.data.visits[asked.held_out[fair]]))
    if len(fair) >= FEWEST_ROWS and visits >= FEWEST_VISITS:
        return _on_unseen_rows(champion, asked, fair, site, settings)
    theirs = _if_alike(champion.held_out, asked)
    if theirs is not None:
        return _on_the_same_hold_out(champion, theirs, asked)
    return Comparison(_told(champion, ComparisonBasis.NONE, _why_not(asked, len(fair), visits)))


def of_survey(rows: Sequence[int], flags: Sequence[bool]) -> Mask:
    """(all rows,) each survey's flag, for each of its so many rows."""
    return np.repeat(np.array(flags, dtype=bool), rows)


def held_out_rows(asked: CandidateHoldOut) -> HeldOutRows | None:
    """What the next candidate needs to be held against this one; None for a very large hold-out."""
    if len(asked.held_out) > MOST_ROWS_TOLD:
        return None
    order = _by_content(asked)
    errors = asked.scores.errors_m
    return HeldOutRows(
        digest=_digest(asked),
        exact=tuple(asked.scores.exact[order].tolist()),
        errors_m=None
        if errors is None
        else tuple(None if np.isnan(error) else round(float(error), 4) for error in errors[order]),
    )


def _fair(asked: CandidateHoldOut) -> Rows:
    """Places in the hold-out of rows that the champion knows neither themselves nor a copy of."""
    keys = asked.data.keys
    known = asked.learnt | np.isin(keys, keys[asked.learnt])
    for row, twin in (asked.copies.pairs.T, asked.copies.pairs.T[::-1]):
        known[row[asked.learnt[twin]]] = True
    fair: Rows = np.flatnonzero(~known[asked.held_out])
    return fair


def _on_unseen_rows(
    champion: ChampionModel,
    asked: CandidateHoldOut,
    fair: Rows,
    site: SiteDescription,
    settings: Hyperparameters,
) -> Comparison:
    held_out = asked.held_out[fair]
    rows = asked.data.take(held_out)
    known = oversample_locations(asked.data, asked.trained, asked.held_out)
    ours = fit_and_measure(known, rows, site, settings).scores
    theirs = score_model(champion.model, rows, site)
    return _beside(
        _told(
            champion,
            ComparisonBasis.UNSEEN_ROWS,
            "Both answered the held-out rows of surveys that the champion has not learnt from; "
            "the candidate was fitted without them for this, with other rows of the same "
            "locations in their place.",
        ),
        with_intervals(summarize(ours), ours, rows.visits),
        with_intervals(summarize(theirs), theirs, rows.visits),
        _Differences.between(ours, theirs, rows.visits),
        baselines(asked.data, asked.trained, held_out),
    )


def _on_the_same_hold_out(
    champion: ChampionModel, rows: HeldOutRows, asked: CandidateHoldOut
) -> Comparison:
    """Row by row as well, as both trainings wrote down how each row was answered."""
    order = _by_content(asked)
    visits = asked.data.visits[asked.held_out[order]]
    ours, theirs = asked.scores.only(order), _as_written(rows)
    return _beside(
        _told(
            champion,
            ComparisonBasis.SAME_HOLD_OUT,
            "Both were measured on the very same held-out rows, each in its own training by a fit "
            "that had not seen them.",
        ),
        with_intervals(summarize(ours), ours, visits),
        # How sure the champion was of each row is not written down.
        replace(with_intervals(_measured(champion), theirs, visits), calibration=None),
        _Differences.between(ours, theirs, visits),
        baselines(asked.data, asked.trained, asked.held_out),
    )


@dataclass(frozen=True, slots=True)
class _Differences:
    """The candidate's figures less the champion's, with 95 % intervals."""

    exact: float
    exact_between: Interval
    error_m: float | None
    error_between_m: Interval | None

    @classmethod
    def between(cls, ours: RowScores, theirs: RowScores, visits: Rows) -> "_Differences":
        """Row by row, so that rows that are hard for both do not widen the intervals."""
        bootstrap = Bootstrap(visits)
        exact = ours.exact.astype(float) - theirs.exact.astype(float)
        error, error_between = None, None
        if ours.errors_m is not None and theirs.errors_m is not None:
            apart = ours.errors_m - theirs.errors_m
            if not np.isnan(apart).all():
                error, error_between = float(np.nanmean(apart)), bootstrap.mean(apart)
        return cls(float(exact.mean()), bootstrap.mean(exact), error, error_between)


def _beside(
    told: AgainstChampion,
    ours: Evaluation,
    theirs: Evaluation,
    apart: _Differences,
    others: tuple[Baseline, ...],
) -> Comparison:
    figures = {
        "rows": ours.rows,
        "candidate": _figures(ours),
        "champion": _figures(theirs),
        "mean_error_difference_m": apart.error_m,
        "mean_error_difference_between_m": _pair(apart.error_between_m),
        "exact_accuracy_difference": apart.exact,
        "exact_accuracy_difference_between": _pair(apart.exact_between),
    }
    return Comparison(told.model_copy(update=figures), ours, theirs, others)


def _told(champion: ChampionModel, basis: ComparisonBasis, reason: str) -> AgainstChampion:
    return AgainstChampion(
        release=champion.release.run_id,
        digest=champion.release.digest,
        basis=basis,
        reason=reason,
    )


def _figures(evaluation: Evaluation) -> Figures:
    return Figures(
        exact_accuracy=evaluation.exact_accuracy,
        within_one_cell=evaluation.within_one_cell,
        mean_error_m=evaluation.mean_error_m,
        median_error_m=evaluation.median_error_m,
        p90_error_m=evaluation.p90_error_m,
    )


def _pair(between: Interval | None) -> tuple[float, float] | None:
    return None if between is None else (between.low, between.high)


def _why_not(asked: CandidateHoldOut, rows: int, visits: int) -> str:
    least = f"{FEWEST_ROWS} rows of {FEWEST_VISITS} visits are the least"
    if asked.learnt.all():
        return (
            "The champion has learnt from every survey here, and in its own training other rows "
            "were held out."
        )
    return (
        f"Of the held-out rows {rows} (of {visits} visits) belong to surveys that the champion has "
        f"not learnt from and repeat none that it has; {least} for a comparison."
    )


def _by_content(asked: CandidateHoldOut) -> Rows:
    """Places in the hold-out in the order of their rows' keys.

    Rows of one key are copies to the bit, hence answered alike: their order is no matter.
    """
    order: Rows = np.argsort(asked.data.keys[asked.held_out], kind="stable")
    return order


def _digest(asked: CandidateHoldOut) -> str:
    keys: npt.NDArray[np.uint64] = np.sort(asked.data.keys[asked.held_out])
    return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()


def _if_alike(theirs: HeldOutRows | None, asked: CandidateHoldOut) -> HeldOutRows | None:
    """What the champion's training wrote down, if it held the same rows out."""
    if theirs is None or theirs.digest != _digest(asked):
        return None
    counts = {len(theirs.exact), len(theirs.errors_m or theirs.exact), len(asked.held_out)}
    return theirs if len(counts) == 1 else None


def _as_written(rows: HeldOutRows) -> RowScores:
    """How the champion's rehearsal answered, as far as its training wrote it down."""
    return RowScores(
        exact=np.array(rows.exact, dtype=bool),
        near=None,
        errors_m=None if rows.errors_m is None else np.array(rows.errors_m, dtype=np.float64),
        confidences=np.zeros(len(rows.exact), dtype=np.float32),
        answered=np.full(len(rows.exact), -1, dtype=np.intp),
    )


def _measured(champion: ChampionModel) -> Evaluation:
    figures = champion.release.metrics
    return Evaluation(
        rows=figures.held_out_rows,
        exact_accuracy=figures.exact_accuracy,
        within_one_cell=figures.within_one_cell,
        mean_error_m=figures.mean_error_m,
        median_error_m=figures.median_error_m,
        p90_error_m=figures.p90_error_m,
    )
