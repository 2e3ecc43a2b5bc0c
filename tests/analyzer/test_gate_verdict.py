"""The judging of one rule by counts alone, as a canary and live traffic give them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analyzer import intervals
from analyzer.estimate import Estimate
from analyzer.gate_verdict import Subject, at_least, at_most, megabytes, milliseconds, number
from tests.analyzer.answers import slow_machine

SUBJECT = Subject("live.errors", "digits/4")


def test_errors_of_a_canary_are_judged_by_counts():
    """One of 20,000 requests failed; of 200 none did, which proves nothing of 1 in 1,000."""
    assert at_most(SUBJECT, Estimate.share(1, 20_000), 0.001).passed
    few = at_most(SUBJECT, Estimate.share(0, 200), 0.001)
    assert (few.passed, few.decided) == (False, False)
    many = at_most(SUBJECT, Estimate.share(30, 200), 0.001)
    assert (many.passed, many.decided) == (False, True)


def test_a_latency_is_judged_by_a_histograms_buckets():
    """995 of 1,000 are below 50 ms, but the 99 % quantile may still lie in the next bucket."""
    edges = (0.01, 0.025, 0.05, 0.1, math.inf)
    found = Estimate.quantile_of_buckets(edges, (500, 400, 95, 5, 0), 0.99)

    assert (found.low, found.figure, found.high) == (0.025, 0.05, 0.1)
    assert at_most(SUBJECT, found, 0.1, milliseconds).passed
    assert not at_most(SUBJECT, found, 0.05, milliseconds).passed


@slow_machine
@given(st.lists(st.floats(0.001, 9), min_size=1, max_size=600), st.sampled_from([0.5, 0.9, 0.99]))
def test_buckets_bound_what_their_values_would(values, share):
    """Less tightly, never less surely."""
    edges = (0.01, 0.1, 1.0, 5.0, math.inf)
    counts = np.histogram(values, (0, *edges))[0].tolist()
    found = Estimate.quantile_of_buckets(edges, counts, share)
    ordered = np.sort(values)
    low, high = intervals.quantile(ordered, share)

    assert found.low <= low
    assert found.high >= high
    assert found.low <= found.figure <= found.high


def test_no_values_bound_nothing():
    """A canary that has seen no request yet."""
    found = Estimate.quantile_of_buckets((0.1, math.inf), (0, 0), 0.99)

    assert found.high == math.inf
    assert not at_most(SUBJECT, found, 1e9).passed
    assert not at_least(SUBJECT, Estimate.share(0, 0), 0.001).passed
    assert not at_most(SUBJECT, Estimate.share(0, 0), 0.999).passed


@pytest.mark.parametrize("of", [5, 10, 40, 200, 2_000])
@pytest.mark.parametrize("threshold", [0.02, 0.3, 0.85, 0.99])
def test_a_model_just_below_the_bar_passes_in_2_5_percent_of_samples_at_most(of, threshold):
    """Exactly, over all outcomes; the same for rates that may not exceed a bar."""
    outcomes = np.arange(of + 1)
    odds = stats.binom.pmf(outcomes, of, threshold)
    shares = [Estimate.share(int(count), of) for count in outcomes]
    above = np.array([at_least(SUBJECT, share, threshold).passed for share in shares])
    below = np.array([at_most(SUBJECT, share, threshold).passed for share in shares])

    assert odds[above].sum() <= 0.025 + 1e-12
    assert odds[below].sum() <= 0.025 + 1e-12


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_a_candidate_that_is_too_much_worse_passes_in_5_percent_of_samples_at_most(rate):
    """Simulated: it loses 5 % more than it wins, which is one step more than is allowed."""
    random = np.random.default_rng(11)
    shares = [rate, rate + 0.05, 1 - 2 * rate - 0.05]
    draws = random.multinomial(400, shares, size=1_000)
    passed = sum(
        at_least(SUBJECT, Estimate.paired(int(won), int(lost), 400), -0.05).passed
        for won, lost, _ in draws
    )

    assert passed <= 50


def test_a_verdict_that_is_not_proven_says_how_much_more_it_takes():
    """95 of 100 against 0.9: one and a half times as many would do, and twice as many do."""
    verdict = at_least(SUBJECT, Estimate.share(95, 100), 0.9)
    times = float(verdict.text.split("about ")[1].split(" times")[0])

    assert not verdict.decided
    assert times == pytest.approx(1.5, abs=0.2)
    enough = at_least(SUBJECT, Estimate.share(95 * 2, 100 * 2), 0.9)
    assert enough.passed


@slow_machine
@given(
    st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0, 1)
)
def test_a_verdict_says_what_it_compared(counts, threshold):
    """It passes if and only if its bound keeps the threshold, and never fails undecided."""
    found = Estimate.share(*counts)
    floor, ceiling = at_least(SUBJECT, found, threshold), at_most(SUBJECT, found, threshold)

    assert floor.passed == (floor.bound >= threshold)
    assert ceiling.passed == (ceiling.bound <= threshold)
    assert floor.bound <= floor.figure == ceiling.figure <= ceiling.bound
    assert floor.decided or not floor.passed
    assert "\n" not in floor.text


def test_ratios_and_differences_are_as_wide_as_both_together():
    """By hand: 3 and 4 to the side make 5."""
    one, other = Estimate(10, 7, 14, "one"), Estimate(2, -1, 6, "other")
    difference = one.less(other)

    assert (difference.figure, difference.low, difference.high) == (8, 8 - 5, 8 + 5)
    assert difference.basis == "one"
    ratio = Estimate(4, 2, 8).over(Estimate(2, 1, 4))
    assert ratio.figure == 2
    assert ratio.high == pytest.approx(2 * 2 ** math.sqrt(2))
    assert ratio.low == pytest.approx(2 / 2 ** math.sqrt(2))
    assert Estimate(4, 2, 8).over(Estimate.known(0)).high == math.inf


def test_figures_are_shown_as_people_read_them():
    """Four digits, and units."""
    assert [number(value) for value in (0.9, 0.12345, -0.00001, 1.0)] == ["0.9", "0.1235", "0", "1"]
    assert milliseconds(0.0123456) == "12.35 ms"
    assert megabytes(13_400_000) == "13.4 MB"
