"""The champion gate: whether a candidate is good enough to replace the champion.

Three questions, in this order; ADR 0032 has the reasons for their limits:

1. On rows that are fair to both, is the candidate worse than the live champion by more than the
   margin? Noise does not count: the 95 % interval must lie on the worse side, or the difference
   must exceed twice the margin.
2. Is its figure far worse than what the champion was measured at in its own training? Wrong labels
   mislead both models alike, so only this shows a survey that nobody can learn.
3. Without such a comparison: does it meet the site's floors?
"""

import math
from dataclasses import dataclass

from events.judgement import GateJudgement, JudgedFigure, JudgementBasis
from events.metrics import AgainstChampion, ComparisonBasis, Metrics
from functions.core.candidates.site_policy import SitePolicy

CERTAIN_MULTIPLE = 2.0
"""Times the margin: a worsening beyond this is held even if its interval includes none at all."""


@dataclass(frozen=True)
class LiveRelease:
    """The champion as the gate sees it.

    Attributes:
        metrics: its figures when it arrived; None where the ledger has none.
    """

    release: str
    digest: str
    metrics: Metrics | None = None


def judge(candidate: Metrics, champion: LiveRelease | None, policy: SitePolicy) -> GateJudgement:
    """Judge a candidate against the release that is live now, or against the floors."""
    compared = _on_same_rows(candidate, champion, policy)
    if compared is not None and not compared.is_good:
        return compared
    declined = _far_below_own(candidate, champion, policy)
    if declined is not None:
        return declined
    return compared or _on_floors(candidate, champion, policy)


@dataclass(frozen=True)
class _FigureScale:
    """How one figure is read: which way is worse, how much of it is allowed, and its words."""

    figure: JudgedFigure
    sign: int
    """1 if more is worse, -1 if less is worse."""
    margin: float

    @classmethod
    def of(cls, figure: JudgedFigure, policy: SitePolicy) -> "_FigureScale":
        if figure is JudgedFigure.MEAN_ERROR_M:
            return cls(figure, 1, policy.margin_m)
        return cls(figure, -1, policy.margin_hit_rate)

    @property
    def name(self) -> str:
        return "mean error" if self.figure is JudgedFigure.MEAN_ERROR_M else "hit rate"

    def text(self, value: float, *, signed: bool = False) -> str:
        sign = "+" if signed else ""
        if self.figure is JudgedFigure.MEAN_ERROR_M:
            return f"{value:{sign}.2f} m"
        return f"{100 * value:{sign}.1f} {'points' if signed else '%'}"

    def amount(self, value: float) -> str:
        """A worsening, without a sign."""
        return self.text(abs(value), signed=True).removeprefix("+")

    def between(self, interval: tuple[float, float]) -> str:
        low, high = (self.text(value, signed=True) for value in interval)
        return f"95 % interval {low} to {high}"


def _on_same_rows(
    candidate: Metrics, champion: LiveRelease | None, policy: SitePolicy
) -> GateJudgement | None:
    """None where the candidate was not compared with the very release that is live."""
    against = candidate.against_champion
    if champion is None or against is None or against.basis is ComparisonBasis.NONE:
        return None
    if (against.release, against.digest) != (champion.release, champion.digest):
        return None
    found = _difference(against)
    if found is None or against.rows <= 0:
        return None
    figure, ours, theirs, difference, interval = found
    scale = _FigureScale.of(figure, policy)
    worsening = scale.sign * difference
    is_certain = interval is None or min(scale.sign * end for end in interval) > 0
    is_worse = worsening > scale.margin and (
        is_certain or worsening > CERTAIN_MULTIPLE * scale.margin
    )
    where = (
        f"on {against.rows} held-out rows that neither had learnt"
        if against.basis is ComparisonBasis.UNSEEN_ROWS
        else f"on the same {against.rows} held-out rows"
    )
    noise = f" ({scale.between(interval)})" if interval else ""
    beside = (
        f"its {scale.name} is {scale.text(ours)} against {scale.text(theirs)} of the live "
        f"{champion.release} {where}: {scale.text(difference, signed=True)}{noise}"
    )
    if is_worse:
        verdict = f"worse by {scale.amount(worsening)}, and the margin is"
    elif worsening > scale.margin:
        verdict = "which can be noise; the margin is"
    else:
        verdict = "within the margin of"
    return GateJudgement(
        is_good=not is_worse,
        reason=f"{beside}, {verdict} {scale.amount(scale.margin)}",
        basis=JudgementBasis.SAME_ROWS,
        figure=figure,
        rows=against.rows,
        champion=champion.release,
        candidate_figure=ours,
        champion_figure=theirs,
        difference=difference,
        difference_between=interval,
        margin=scale.margin,
    )


_Difference = tuple[JudgedFigure, float, float, float, tuple[float, float] | None]


def _difference(against: AgainstChampion) -> _Difference | None:
    """In metres where both figures are known in metres, else in hits."""
    ours, theirs = against.candidate, against.champion
    if ours is None or theirs is None:
        return None
    metres = _finite(ours.mean_error_m, theirs.mean_error_m)
    if metres:
        return (
            JudgedFigure.MEAN_ERROR_M,
            *metres,
            metres[0] - metres[1],
            _interval(against.mean_error_difference_between_m),
        )
    hits = _finite(ours.exact_accuracy, theirs.exact_accuracy)
    if not hits:
        return None
    between = _interval(against.exact_accuracy_difference_between)
    return (JudgedFigure.HIT_RATE, *hits, hits[0] - hits[1], between)


def _far_below_own(
    candidate: Metrics, champion: LiveRelease | None, policy: SitePolicy
) -> GateJudgement | None:
    """None unless the worst of the candidate's figures is far below the champion's own."""
    if champion is None or champion.metrics is None:
        return None
    figure = _judged_figure(candidate)
    theirs, own = _value(champion.metrics, figure), _own_figures(candidate, figure)
    if theirs is None or not own:
        return None
    scale = _FigureScale.of(figure, policy)
    ours, rows, where = max(own, key=lambda measured: scale.sign * measured[0])
    allowed = scale.margin + policy.max_decline * theirs
    worsening = scale.sign * (ours - theirs)
    if worsening <= allowed:
        return None
    return GateJudgement(
        is_good=False,
        reason=(
            f"its {scale.name} {where} is {scale.text(ours)}, and the live {champion.release} was "
            f"measured at {scale.text(theirs)} in its own training: worse by "
            f"{scale.amount(worsening)}, and at most {scale.amount(allowed)} is allowed; labels or "
            "positions in a new survey may be wrong"
        ),
        basis=JudgementBasis.OWN_HOLD_OUTS,
        figure=figure,
        rows=rows,
        champion=champion.release,
        candidate_figure=ours,
        champion_figure=theirs,
        difference=ours - theirs,
        margin=allowed,
    )


def _own_figures(candidate: Metrics, figure: JudgedFigure) -> list[tuple[float, int, str]]:
    """The candidate's figures, the rows of each, and where it was measured."""
    found = []
    own = _value(candidate, figure)
    if own is not None:
        where = f"on its own {candidate.held_out_rows} held-out rows"
        found.append((own, candidate.held_out_rows, where))
    against = candidate.against_champion
    if against is not None and against.basis is ComparisonBasis.UNSEEN_ROWS and against.candidate:
        unseen = _value(against.candidate, figure)
        if unseen is not None:
            found.append((unseen, against.rows, f"on the {against.rows} rows that are new"))
    return found


def _on_floors(
    candidate: Metrics, champion: LiveRelease | None, policy: SitePolicy
) -> GateJudgement:
    figure = _judged_figure(candidate)
    scale = _FigureScale.of(figure, policy)
    value = _value(candidate, figure)
    why = (
        "it is the site's first release"
        if champion is None
        else f"it can't be compared with the live {champion.release}"
    )
    missed = _missed_floors(candidate, figure, value, policy)
    measured = f"{scale.name} {scale.text(value)}" if value is not None else f"no {scale.name}"
    return GateJudgement(
        is_good=not missed,
        reason=(
            f"{why}, and misses the site's floors: {'; '.join(missed)}"
            if missed
            else f"{why}, and meets the site's floors: {measured} on "
            f"{candidate.held_out_rows} held-out rows"
        ),
        basis=JudgementBasis.FLOORS,
        figure=figure,
        rows=candidate.held_out_rows,
        candidate_figure=value,
    )


def _missed_floors(
    candidate: Metrics, figure: JudgedFigure, value: float | None, policy: SitePolicy
) -> list[str]:
    missed = []
    if value is None:
        missed.append("its figures are unknown")
    elif figure is JudgedFigure.MEAN_ERROR_M and value > policy.max_mean_error_m:
        missed.append(f"mean error {value:.2f} m, at most {policy.max_mean_error_m:g} m")
    elif figure is JudgedFigure.HIT_RATE and value < policy.min_hit_rate:
        missed.append(f"hit rate {value:.1%}, at least {policy.min_hit_rate:.1%}")
    if candidate.held_out_rows < policy.min_held_out_rows:
        missed.append(
            f"{candidate.held_out_rows} held-out rows, at least {policy.min_held_out_rows}"
        )
    coverage = candidate.location_coverage
    if coverage is not None and coverage < policy.min_coverage:
        missed.append(
            f"surveys of {coverage:.0%} of the locations, at least {policy.min_coverage:.0%}"
        )
    if candidate.beacons is not None and candidate.beacons < policy.min_beacons:
        missed.append(f"{candidate.beacons} beacons, at least {policy.min_beacons}")
    return missed


def _judged_figure(metrics: Metrics) -> JudgedFigure:
    return JudgedFigure.HIT_RATE if metrics.mean_error_m is None else JudgedFigure.MEAN_ERROR_M


def _value(measured: object, figure: JudgedFigure) -> float | None:
    name = "mean_error_m" if figure is JudgedFigure.MEAN_ERROR_M else "exact_accuracy"
    value: float | None = getattr(measured, name)
    return value if value is not None and math.isfinite(value) else None


def _finite(ours: float | None, theirs: float | None) -> tuple[float, float] | None:
    if ours is None or theirs is None:
        return None
    return (ours, theirs) if math.isfinite(ours) and math.isfinite(theirs) else None


def _interval(between: tuple[float, float] | None) -> tuple[float, float] | None:
    return between if between and all(math.isfinite(end) for end in between) else None
