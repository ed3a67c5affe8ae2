"""Statistics of units and of counts against SciPy's, against every choice of signs, and against facts of power."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from persona_collapse.analysis import intervals, units
from persona_collapse.analysis.records import Counts

VALUES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=10)
SOME = settings(max_examples=60, deadline=None)


def by_unit(values: list[float]) -> dict[str, float]:
    return {str(number): value for number, value in enumerate(values)}


@SOME
@given(VALUES.filter(lambda v: max(v) - min(v) > 1e-3), st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_and_p_are_scipys_t_test(values, level):
    found, expected = units.tested(by_unit(values), level), ttest_1samp(values, 0)
    assert found.p == pytest.approx(float(expected.pvalue), rel=1e-6, abs=1e-12)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(level)), rel=1e-6, abs=1e-9)
    assert (found.p < 1 - level) == (not found.interval[0] <= 0 <= found.interval[1])  # one method for both


@SOME
@given(VALUES, st.floats(-1, 1).map(lambda x: round(x, 3)))
def test_the_t_test_of_differences_is_the_paired_one(values, shift):
    other = [value * 0.5 + shift + 0.01 * n for n, value in enumerate(values)]
    gaps = [a - b for a, b in zip(values, other, strict=True)]
    if max(gaps) - min(gaps) > 1e-3:
        assert units.tested(by_unit(gaps), 0.95).p == pytest.approx(float(ttest_rel(values, other).pvalue), rel=1e-6)


@SOME
@given(VALUES)
def test_the_sign_flip_test_counts_every_choice_of_signs(values):
    observed = abs(math.fsum(values)) - 1e-9 * math.fsum(map(abs, values))
    flips = [
        abs(math.fsum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in product((1, -1), repeat=len(values))
    ]
    assert units.sign_flip(values) == sum(flip >= observed for flip in flips) / len(flips)
    assert units.sign_flip(values) >= units.smallest_sign_flip(len(values)) or not any(values)


def test_the_smallest_sign_flip_is_what_one_sign_gives_and_six_units_are_the_fewest_for_005():
    for n in range(1, 30):
        assert units.sign_flip([0.1 * (k + 1) for k in range(n)]) == units.smallest_sign_flip(n)
    assert [units.smallest_sign_flip(n) < 0.05 for n in (5, 6)] == [False, True]
    assert units.sign_flip([0.0] * 8) == 1
    with pytest.raises(ValueError, match="41 units"):
        units.sign_flip([0.1] * 41)


@pytest.mark.parametrize(("effect", "sd", "seeds"), [(4.6, 2.3, 5), (4.6, 3.5, 7), (4.6, 5.0, 12)])
def test_the_effect_that_would_have_been_seen_is_that_of_the_power_calculation(effect, sd, seeds):
    """That many seeds see it with a power of 80%, and one seed fewer does not."""
    assert units.power(effect, sd, seeds, 0.05) >= 0.8 > units.power(effect, sd, seeds - 1, 0.05)
    assert units.detectable(sd, seeds, 0.05) <= effect < units.detectable(sd, seeds - 1, 0.05)
    assert units.power(units.detectable(sd, seeds, 0.05), sd, seeds, 0.05) == pytest.approx(0.8, abs=0.01)


def test_three_seeds_see_twenty_points():
    assert units.detectable(3.5, 3, 0.05) < 20


def test_one_unit_has_no_interval_and_equal_units_one_without_width():
    one = units.tested({"42": 0.3}, 0.95)
    assert (one.mean, one.sd, one.interval, one.p, one.detectable) == (0.3, None, None, None, None)
    same = units.tested(by_unit([0.1] * 3), 0.95)
    assert (same.mean, same.sd, same.interval, same.p) == (0.1, 0.0, (0.1, 0.1), 0.0)
    assert units.tested(by_unit([0.0] * 3), 0.95).p == 1


def test_an_interval_ends_where_what_it_is_of_ends():
    assert units.over({"1": 0.0, "2": 0.1}, 0.95, units.RATE).interval[0] == 0
    assert units.over({"1": 0.0, "2": 0.1}, 0.95).interval[0] < 0


def test_holm_is_the_textbooks():
    assert units.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert units.holm([0.9, 0.8]) == [1.0, 1.0]


# ---- one training's rate ----

HITS = st.lists(st.integers(0, 10), min_size=2, max_size=28)


def questions_of(hits: list[int], total: int = 10) -> dict[str, Counts]:
    return {f"q{n:02}": Counts(hits=h, total=total) for n, h in enumerate(hits)}


@SOME
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_wilson_is_scipys(counts, level):
    expected = binomtest(*counts).proportion_ci(level, method="wilson")
    assert intervals.wilson(*counts, level) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@SOME
@given(HITS)
def test_an_interval_holds_its_rate_and_is_never_narrower_than_that_of_independent_answers(hits):
    counts = Counts(hits=sum(hits), total=10 * len(hits))
    effective, (low, high) = intervals.estimated(counts, questions_of(hits), 0.95)
    narrow = intervals.wilson(counts.hits, counts.total, 0.95)
    assert 0 <= low <= intervals.rate(counts) <= high <= 1
    assert effective <= counts.total
    assert high - low >= narrow[1] - narrow[0] - 1e-12


def test_questions_that_are_all_or_nothing_count_once():
    """Then a question's ten answers tell as much as one, and 28 questions as much as 27 answers: n / (n - 1)."""
    hits = [10] * 14 + [0] * 14
    effective, _ = intervals.estimated(Counts(hits=140, total=280), questions_of(hits), 0.95)
    assert effective == pytest.approx(27)
    assert intervals.estimated(Counts(hits=140, total=280), questions_of([5] * 28), 0.95).effective == 280
    assert intervals.estimated(Counts(hits=140, total=280), {}, 0.95).effective == 280


@SOME
@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_log_odds_are_finite_and_of_opposite_sign_for_the_other_answer(counts):
    hits, total = counts
    one, other = (intervals.log_odds(Counts(hits=h, total=total)) for h in (hits, total - hits))
    assert math.isfinite(one)
    assert one == pytest.approx(-other)
