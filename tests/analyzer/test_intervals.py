"""Intervals against scipy's, against published tables and by what they promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from analyzer import intervals
from tests.analyzer.answers import slow_machine

COUNTS = st.integers(0, 3_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@slow_machine
@given(COUNTS.filter(lambda counts: counts[1] > 0))
def test_rates_have_wilsons_interval(counts):
    """As scipy has it."""
    found = intervals.rate(*counts)
    expected = stats.binomtest(*counts).proportion_ci(0.95, "wilson")

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.rate <= found.high


@slow_machine
@given(COUNTS.filter(lambda counts: counts[1] > 0))
def test_the_exact_interval_is_clopper_and_pearsons(counts):
    """As scipy has it."""
    expected = stats.binomtest(*counts).proportion_ci(0.95, "exact")

    assert intervals.exact(*counts) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_of_nothing_nothing_is_known():
    """0 of 0 may be anything."""
    assert intervals.rate(0, 0).model_dump() == {
        "count": 0,
        "of": 0,
        "rate": 0.0,
        "low": 0.0,
        "high": 1.0,
    }
    assert intervals.exact(0, 0) == (0.0, 1.0)
    assert intervals.paired_difference(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize("of", [1, 2, 5, 9, 40, 250])
@pytest.mark.parametrize("truth", [0.001, 0.02, 0.1, 0.5, 0.85, 0.98, 0.999])
def test_a_bound_of_a_share_is_missed_in_2_5_percent_at_most(of, truth):
    """Exactly, over all outcomes; also where Wilson's would be missed more often."""
    outcomes = np.arange(of + 1)
    odds = stats.binom.pmf(outcomes, of, truth)
    bounds = np.array([intervals.exact(count, of) for count in outcomes])

    assert odds[bounds[:, 0] > truth].sum() <= 0.025 + 1e-12
    assert odds[bounds[:, 1] < truth].sum() <= 0.025 + 1e-12


def likeliest(difference, only_first, only_second, of):
    """Log likelihood's best P(second alone), given the difference; searched, not solved."""
    neither = of - only_first - only_second

    def unlikely(share):
        terms = (
            (only_first, share + difference),
            (only_second, share),
            (neither, 1 - 2 * share - difference),
        )
        return -sum(n * math.log(max(p, 1e-300)) for n, p in terms if n)

    ends = max(0.0, -difference), (1 - difference) / 2
    return optimize.minimize_scalar(
        unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}
    ).x


@pytest.mark.parametrize(
    ("only_first", "only_second", "of"),
    [(12, 2, 50), (3, 9, 40), (1, 0, 12), (0, 5, 30), (150, 120, 10_000)],
)
def test_tangos_bounds_lie_where_the_score_is_1_96(only_first, only_second, of):
    """By a constrained likelihood that is maximised numerically."""
    for bound, sign in zip(
        intervals.paired_difference(only_first, only_second, of), (1, -1), strict=True
    ):
        share = likeliest(bound, only_first, only_second, of)
        variance = of * (2 * share + bound * (1 - bound))
        score = (only_first - only_second - of * bound) / math.sqrt(variance)
        assert score == pytest.approx(sign * 1.959964, abs=2e-4)


def test_models_that_never_differ_may_still_differ_a_little():
    """With no discordant pair Tango's bounds have a closed form: ± z² / (n + z²)."""
    z2 = stats.norm.ppf(0.975) ** 2

    assert intervals.paired_difference(0, 0, 100) == pytest.approx(
        (-z2 / (100 + z2), z2 / (100 + z2))
    )


@slow_machine
@given(
    st.integers(1, 400)
    .flatmap(lambda of: st.tuples(st.integers(0, of), st.integers(0, of), st.just(of)))
    .filter(lambda t: t[0] + t[1] <= t[2])
)
def test_a_paired_difference_lies_between_its_bounds_and_turns_round(counts):
    """Which model comes first only changes the sign."""
    first, second, of = counts
    low, high = intervals.paired_difference(first, second, of)

    assert -1 <= low <= (first - second) / of <= high <= 1
    assert intervals.paired_difference(second, first, of) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("of", [10, 20, 40, 80])
@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_a_model_that_is_too_much_worse_is_seldom_taken_for_good_enough(of, margin):
    """At the margin itself, whatever the share of images on which the two differ: exactly."""
    cells = [
        (first, second)
        for first, second in itertools.product(range(of + 1), repeat=2)
        if first + second <= of and intervals.paired_difference(first, second, of)[0] >= -margin
    ]
    for only_first in (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.475, 0.49):
        shares = [only_first, only_first + margin, 1 - 2 * only_first - margin]
        if shares[2] < 0:
            continue
        odds = sum(
            stats.multinomial.pmf([first, second, of - first - second], of, shares)
            for first, second in cells
        )
        assert odds <= (0.05 if of < 20 else 0.036)  # as docs/gate.md says


def test_a_high_quantile_takes_many_values_to_be_bounded():
    """0.99³⁶⁷ is still more than 2.5 %."""
    values = np.arange(1.0, 369.0)

    assert intervals.quantile(values[:367], 0.99)[1] == math.inf
    assert intervals.quantile(values, 0.99)[1] == 368.0
    assert intervals.quantile([], 0.99) == (0.0, math.inf)


@pytest.mark.parametrize("of", [3, 20, 368, 2_000])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_bound_of_a_quantile_is_missed_in_2_5_percent_at_most(of, share):
    """Exactly: how many values lie below a quantile is binomial."""
    low, high = intervals.quantile_ranks(of, share)

    assert stats.binom.cdf(low - 1, of, share) <= 0.025 + 1e-12
    assert stats.binom.sf(high - 1, of, share) <= 0.025 + 1e-12
    # And none tighter would do.
    assert stats.binom.cdf(low, of, share) > 0.025
    assert stats.binom.sf(high - 2, of, share) > 0.025


def test_a_mean_has_students_interval():
    """As scipy has it."""
    values = [1.0, 2.0, 4.0, 4.5]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)

    assert intervals.mean(values) == pytest.approx((expected.low, expected.high))
    assert intervals.mean([1.0]) == (0.0, math.inf)
