"""Compares a candidate with the champion, on rows that are fair to both.

The champion has learnt every row of its own snapshot, the fit of the candidate's hold-out every row
that was not held out. Fair are therefore the held-out rows of surveys that the champion has not
learnt from, without copies of rows that it has. The candidate is fitted once more for them, with
other rows of the same locations in their place, as it would look worse only because of what was
held out. Without enough such rows, the figures of both trainings are compared if both held out the
very same rows; else nothing is compared, and the reason is given.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from events.metrics import AgainstChampion, ComparisonBasis, Figures
from events.metrics_document import HeldOutRows
from trainer.training.evaluation.baselines import Baseline, baselines
from trainer.training.evaluation.champion import ChampionModel
from trainer.training.evaluation.evaluate import Evaluation, summarize, with_intervals
from trainer.training.evaluation.hold_out import HoldOut, Mask, Rows
from trainer.training.evaluation.hold_out_evaluation import fit_and_measure
from trainer.training.evaluation.reliability import Bootstrap, Interval
from trainer.training.evaluation.resampling import oversample_locations
from trainer.training.evaluation.scores import RowScores, score_model
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.quality.near_duplicates import NearDuplicates
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet

FEWEST_ROWS = 50
"""A share of 50 rows is known to 14 points either way at best (binomial, 95 %)."""
FEWEST_VISITS = 10
"""Visits are what is resampled; the interval over a handful of them means nothing."""
MAX_ROWS_LISTED = 20_000
"""More held-out rows than this are not listed one by one: half a megabyte of figures."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside the champion."""

    summary: AgainstChampion
    """As the release carries it."""
    candidate: Evaluation | None = None
    """On the rows of the comparison, with intervals; None where there are none."""
    champion: Evaluation | None = None
    baselines: tuple[Baseline, ...] = ()
    """Simple methods on the rows of the comparison."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateHoldOut:
    """The candidate's hold-out, as far as a comparison needs it."""

    data: TrainingSet
    split: HoldOut
    scores: RowScores
    """Scores of the held-out rows, in their order."""
    baselines: tuple[Baseline, ...]
    """On the held-out rows."""
    seen_by_champion: Mask
    """(rows of data,) whether the champion learnt from the row's survey."""
    near_duplicates: NearDuplicates

    def ranked(self) -> Rows:
        """Places in the hold-out in the order of their rows' keys.

        Rows of one key are copies to the bit and answered alike, so their order does not matter.
        """
        return np.argsort(self.data.keys[self.split.held_out], kind="stable")

    def digest(self) -> str:
        """SHA-256 of the sorted keys of the held-out rows."""
        keys = np.sort(self.data.keys[self.split.held_out])
        return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()

    def unseen(self) -> Rows:
        """Places in the hold-out of rows that the champion knows neither directly nor by a copy."""
        keys, seen = self.data.keys, self.seen_by_champion
        known = seen | np.isin(keys, keys[seen])
        pairs = self.near_duplicates.pairs
        for row, twin in (pairs.T, pairs.T[::-1]):
            known[row[seen[twin]]] = True
        return np.flatnonzero(~known[self.split.held_out])


def compare(
    champion: ChampionModel,
    candidate: CandidateHoldOut,
    site: SiteDescription,
    settings: Hyperparameters,
) -> Comparison:
    """Compare a candidate with the champion, as far as that is fair.

    Args:
        champion: the live release.
        candidate: the candidate's hold-out.
        site: where the rows were taken.
        settings: the candidate's; it is fitted once more where there are unseen rows.
    """
    unseen = candidate.unseen()
    visits = len(np.unique(candidate.data.visits[candidate.split.held_out[unseen]]))
    if len(unseen) >= FEWEST_ROWS and visits >= FEWEST_VISITS:
        return _on_unseen_rows(champion, candidate, unseen, site, settings)
    recorded = _same_hold_out(champion.held_out, candidate)
    if recorded is not None:
        return _on_same_hold_out(champion, recorded, candidate)
    reason = _why_not(candidate, len(unseen), visits)
    return Comparison(_summary(champion, ComparisonBasis.NONE, reason))


def mark_rows(rows: Sequence[int], flags: Sequence[bool]) -> Mask:
    """(all rows,) the flag of each row's survey.

    Args:
        rows: how many rows each survey has.
        flags: one for each survey.
    """
    return np.repeat(np.array(flags, dtype=bool), rows)


def held_out_rows(candidate: CandidateHoldOut) -> HeldOutRows | None:
    """What the next candidate needs for a comparison; None for a very large hold-out."""
    if len(candidate.split.held_out) > MAX_ROWS_LISTED:
        return None
    scores = candidate.scores.take(candidate.ranked())
    errors = scores.errors_m
    return HeldOutRows(
        digest=candidate.digest(),
        exact=tuple(scores.exact.tolist()),
        errors_m=None
        if errors is None
        else tuple(None if np.isnan(error) else round(float(error), 4) for error in errors),
    )


def _on_unseen_rows(
    champion: ChampionModel,
    candidate: CandidateHoldOut,
    unseen: Rows,
    site: SiteDescription,
    settings: Hyperparameters,
) -> Comparison:
    data, split = candidate.data, candidate.split
    test = data.take(split.held_out[unseen])
    training = oversample_locations(data, split.trained, split.held_out)
    ours = fit_and_measure(training, test, site, settings).scores
    theirs = score_model(champion.model, test, site)
    return _compared(
        _summary(
            champion,
            ComparisonBasis.UNSEEN_ROWS,
            "Both answered the held-out rows of surveys that the champion has not learnt from; "
            "the candidate was fitted without them for this, with other rows of the same "
            "locations in their place.",
        ),
        with_intervals(summarize(ours), ours, test.visits),
        with_intervals(summarize(theirs), theirs, test.visits),
        _Differences.between(ours, theirs, test.visits),
        baselines(data, split.trained, split.held_out[unseen]),
    )


def _on_same_hold_out(
    champion: ChampionModel, recorded: HeldOutRows, candidate: CandidateHoldOut
) -> Comparison:
    """Row by row, as both trainings recorded how each row was answered."""
    order = candidate.ranked()
    visits = candidate.data.visits[candidate.split.held_out[order]]
    ours, theirs = candidate.scores.take(order), _recorded_scores(recorded)
    return _compared(
        _summary(
            champion,
            ComparisonBasis.SAME_HOLD_OUT,
            "Both were measured on the very same held-out rows, each in its own training by a fit "
            "that had not seen them.",
        ),
        with_intervals(summarize(ours), ours, visits),
        # The champion's confidence in each row is not recorded.
        replace(with_intervals(_recorded_figures(champion), theirs, visits), calibration=None),
        _Differences.between(ours, theirs, visits),
        candidate.baselines,
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
            errors = ours.errors_m - theirs.errors_m
            if not np.isnan(errors).all():
                error, error_between = float(np.nanmean(errors)), bootstrap.mean(errors)
        return cls(float(exact.mean()), bootstrap.mean(exact), error, error_between)


def _compared(
    summary: AgainstChampion,
    ours: Evaluation,
    theirs: Evaluation,
    difference: _Differences,
    simple_methods: tuple[Baseline, ...],
) -> Comparison:
    figures = {
        "rows": ours.rows,
        "candidate": _figures(ours),
        "champion": _figures(theirs),
        "mean_error_difference_m": difference.error_m,
        "mean_error_difference_between_m": _pair(difference.error_between_m),
        "exact_accuracy_difference": difference.exact,
        "exact_accuracy_difference_between": _pair(difference.exact_between),
    }
    return Comparison(summary.model_copy(update=figures), ours, theirs, simple_methods)


def _summary(champion: ChampionModel, basis: ComparisonBasis, reason: str) -> AgainstChampion:
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


def _why_not(candidate: CandidateHoldOut, rows: int, visits: int) -> str:
    least = f"{FEWEST_ROWS} rows of {FEWEST_VISITS} visits are the least"
    if candidate.seen_by_champion.all():
        return (
            "The champion has learnt from every survey here, and in its own training other rows "
            "were held out."
        )
    return (
        f"Of the held-out rows {rows} (of {visits} visits) belong to surveys that the champion has "
        f"not learnt from and repeat none that it has; {least} for a comparison."
    )


def _same_hold_out(recorded: HeldOutRows | None, candidate: CandidateHoldOut) -> HeldOutRows | None:
    """What the champion's training recorded, if it held out the same rows."""
    if recorded is None or recorded.digest != candidate.digest():
        return None
    errors = recorded.errors_m or recorded.exact
    counts = {len(recorded.exact), len(errors), len(candidate.split.held_out)}
    return recorded if len(counts) == 1 else None


def _recorded_scores(rows: HeldOutRows) -> RowScores:
    """How the champion's hold-out was answered, as far as its training recorded it."""
    return RowScores(
        exact=np.array(rows.exact, dtype=bool),
        near=None,
        errors_m=None if rows.errors_m is None else np.array(rows.errors_m, dtype=np.float64),
        confidences=np.zeros(len(rows.exact), dtype=np.float32),
        answered=np.full(len(rows.exact), -1, dtype=np.intp),
    )


def _recorded_figures(champion: ChampionModel) -> Evaluation:
    figures = champion.release.metrics
    return Evaluation(
        rows=figures.held_out_rows,
        exact_accuracy=figures.exact_accuracy,
        within_one_cell=figures.within_one_cell,
        mean_error_m=figures.mean_error_m,
        median_error_m=figures.median_error_m,
        p90_error_m=figures.p90_error_m,
    )
