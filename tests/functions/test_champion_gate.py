"""The champion gate: which candidates may replace the champion, and what it says of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.judgement import JudgedFigure, JudgementBasis
from events.metrics import AgainstChampion, Metrics
from functions.core.candidates.champion_gate import LiveRelease, judge
from functions.core.candidates.site_policy import SitePolicy
from tests.functions.conftest import GOOD_METRICS

LIVE, DIGEST = "lab-00000000000a", "a" * 64
POLICY = SitePolicy()


def metrics(**changes) -> Metrics:
    return Metrics.model_validate(GOOD_METRICS | {"held_out_rows": 200} | changes)


def champion(**changes) -> LiveRelease:
    return LiveRelease(LIVE, DIGEST, metrics(**changes))


def compared(ours: float, theirs: float, between=None, **changes) -> AgainstChampion:
    fields = {
        "release": LIVE,
        "digest": DIGEST,
        "basis": "unseen_rows",
        "reason": "both answered",
        "rows": 100,
        "candidate": {"exact_accuracy": 0.5, "mean_error_m": ours},
        "champion": {"exact_accuracy": 0.5, "mean_error_m": theirs},
        "mean_error_difference_m": ours - theirs,
        "mean_error_difference_between_m": between,
    }
    return AgainstChampion.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("ours", "theirs", "between", "is_good"),
    [
        (4.0, 4.2, (-0.5, 0.1), True),
        (4.5, 4.2, (0.1, 0.5), True),
        (4.8, 4.2, (0.2, 1.0), False),
        (4.8, 4.2, (-0.2, 1.4), True),
        (5.3, 4.2, (-0.2, 2.4), False),
        (4.8, 4.2, None, False),
        (11.0, 4.2, (5.5, 8.1), False),
    ],
    ids=[
        "better",
        "worse within the margin",
        "worse beyond the margin",
        "perhaps only noise",
        "too much to be noise",
        "no interval",
        "wrong labels",
    ],
)
def test_a_candidate_is_compared_with_the_champion_on_the_same_rows(ours, theirs, between, is_good):
    candidate = metrics(mean_error_m=4.2, against_champion=compared(ours, theirs, between))

    found = judge(candidate, champion(mean_error_m=20.0), POLICY)

    assert found.is_good is is_good
    assert found.basis is JudgementBasis.SAME_ROWS
    assert found.rows == 100
    assert found.difference == pytest.approx(ours - theirs)
    assert f"{ours:.2f} m against {theirs:.2f} m" in found.reason
    assert "100 held-out rows" in found.reason


def test_a_margin_is_a_sites_own():
    candidate = metrics(against_champion=compared(4.8, 4.2, (0.2, 1.0)))

    assert judge(candidate, champion(mean_error_m=20.0), SitePolicy(margin_m=0.7)).is_good
    assert not judge(candidate, champion(mean_error_m=20.0), SitePolicy(margin_m=0.5)).is_good


def test_a_site_with_labels_only_is_judged_by_hit_rate():
    none = {"mean_error_m": None, "median_error_m": None, "p90_error_m": None}
    against = compared(
        1.0,
        1.0,
        candidate={"exact_accuracy": 0.04},
        champion={"exact_accuracy": 0.28},
        exact_accuracy_difference=-0.24,
        exact_accuracy_difference_between=(-0.3, -0.18),
        mean_error_difference_m=None,
    )
    candidate = metrics(exact_accuracy=0.04, against_champion=against, **none)

    found = judge(candidate, champion(exact_accuracy=0.28, **none), POLICY)

    assert not found.is_good
    assert found.figure is JudgedFigure.HIT_RATE
    assert "4.0 % against 28.0 %" in found.reason
    assert "worse by 24.0 points, and the margin is 5.0 points" in found.reason


def test_wrong_labels_that_mislead_both_models_alike_are_found():
    candidate = metrics(mean_error_m=4.9, against_champion=compared(11.0, 11.1, (-0.4, 0.2)))

    found = judge(candidate, champion(mean_error_m=4.2), POLICY)

    assert not found.is_good
    assert found.basis is JudgementBasis.OWN_HOLD_OUTS
    assert (found.rows, found.candidate_figure, found.champion_figure) == (100, 11.0, 4.2)
    assert "worse by 6.80 m" in found.reason


def test_a_survey_on_which_only_the_champion_fails_passes():
    candidate = metrics(mean_error_m=4.0, against_champion=compared(4.5, 11.0, (-7.0, -6.0)))

    assert judge(candidate, champion(mean_error_m=4.2), POLICY).is_good


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "b" * 64},
        {"release": "lab-00000000000b"},
        {"basis": "none", "candidate": None, "champion": None, "rows": 0},
        {"candidate": None},
        {"rows": 0},
    ],
    ids=["another digest", "another release", "no basis", "no figures", "no rows"],
)
def test_what_was_not_compared_with_the_live_release_meets_the_floors(changes):
    against = compared(1.0, 4.2, (-4.0, -2.0), **changes)
    good = metrics(mean_error_m=4.0, against_champion=against)
    bad = metrics(mean_error_m=9.0, against_champion=against)

    assert judge(good, champion(mean_error_m=8.0), POLICY).basis is JudgementBasis.FLOORS
    assert judge(good, champion(mean_error_m=8.0), POLICY).is_good
    assert not judge(bad, champion(mean_error_m=8.0), POLICY).is_good


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean_error_m": 11.0}, "mean error 11.00 m, at most 8 m"),
        ({"held_out_rows": 9}, "9 held-out rows, at least 10"),
        ({"location_coverage": 0.1}, "surveys of 10% of the locations, at least 25%"),
        ({"beacons": 1}, "1 beacons, at least 2"),
        ({"mean_error_m": None, "exact_accuracy": 0.04}, "hit rate 4.0%, at least 10.0%"),
    ],
)
def test_a_first_release_meets_each_floor_or_is_held_with_the_reason(changes, said):
    found = judge(metrics(**changes), None, POLICY)

    assert not found.is_good
    assert said in found.reason
    assert "first release" in found.reason


def test_a_first_release_that_meets_the_floors_passes():
    assert judge(metrics(location_coverage=0.9, beacons=13), None, POLICY).is_good


@given(
    ours=st.floats(0, 50), theirs=st.floats(0, 50), low=st.floats(-50, 50), high=st.floats(-50, 50)
)
def test_nothing_far_worse_ever_passes_and_nothing_better_is_ever_held(ours, theirs, low, high):
    candidate = metrics(mean_error_m=1.0, against_champion=compared(ours, theirs, (low, high)))

    found = judge(candidate, LiveRelease(LIVE, DIGEST), POLICY)

    if ours - theirs > 2 * POLICY.margin_m:
        assert not found.is_good
    if ours <= theirs:
        assert found.is_good
