"""Calibration by hand, and what the bounds of its error promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analyzer.calibration import BINS, calibration, ece_interval
from analyzer.result import Bin
from tests.analyzer.answers import predictions, slow_machine


def said_at(confidences, hits):
    """A model that says class 0 at these confidences; hits are images of class 0."""
    truth = [0 if hit else 1 for hit in hits]
    return predictions(truth, [[0]] * len(truth), confidences)


def test_by_hand():
    """Two bins: 0.55 half right of four, 0.95 all right of two."""
    found = calibration(said_at([0.55] * 4 + [0.95] * 2, [1, 0, 1, 0, 1, 1]))
    filled = [b for b in found.bins if b.images]

    assert len(found.bins) == BINS
    assert [(b.images, b.accuracy) for b in filled] == [(4, 0.5), (2, 1.0)]
    assert [b.confidence for b in filled] == pytest.approx([0.55, 0.95])
    assert found.ece == pytest.approx((4 * 0.05 + 2 * 0.05) / 6)
    assert found.mce == pytest.approx(0.05)
    assert found.brier == pytest.approx((2 * 0.45**2 + 2 * 0.55**2 + 2 * 0.05**2) / 6, abs=1e-6)


def test_a_score_of_one_is_in_the_last_bin_and_zero_in_the_first():
    """Edges belong to the bin above them, but for the last."""
    found = calibration(said_at([1.0, 0.0, 0.2], [1, 0, 0]))

    assert [b.images for b in found.bins if b.images] == [1, 1, 1]
    assert (found.bins[0].images, found.bins[3].images, found.bins[-1].images) == (1, 1, 1)


def test_ten_right_of_ten_prove_little():
    """All right at 0.99 looks like an error of 0.01, and could well be one of 0.15."""
    found = calibration(said_at([0.99] * 10, [1] * 10))

    assert found.ece == pytest.approx(0.01)
    assert found.ece_high > 0.15
    assert found.ece_low == 0


def test_the_interval_closes_in_on_the_truth():
    """At 100,000 images it is narrow, and it is the same each time."""
    bins = [
        Bin(low=0.6, high=0.7, images=50_000, confidence=0.65, accuracy=0.6),
        Bin(low=0.9, high=1, images=50_000, confidence=0.95, accuracy=0.9),
    ]
    found, low, high = ece_interval(bins)

    assert found == pytest.approx(0.05)
    assert 0.045 < low < found < high < 0.055
    assert ece_interval(bins) == (found, low, high)


@slow_machine
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60))
def test_an_error_lies_between_its_bounds(answers):
    """Whatever the answers."""
    found = calibration(said_at([a[0] for a in answers], [a[1] for a in answers]))

    assert 0 <= found.ece_low <= found.ece <= found.ece_high <= 1
    assert found.ece - 1e-12 <= found.mce <= 1  # a mean of equal gaps rounds
    assert sum(b.images for b in found.bins) == len(answers)


@pytest.mark.parametrize("images", [20, 200, 2_000])
@pytest.mark.parametrize("error", [0.02, 0.05, 0.15])
def test_an_error_as_large_as_allowed_seldom_looks_smaller(images, error):
    """The upper bound is missed in 5 % of samples at most, by simulation."""
    random = np.random.default_rng(7)
    missed, samples = 0, 150
    for _ in range(samples):
        confidence = random.beta(6, 2, images) * (1 - error) + error
        hits = random.random(images) < confidence - error
        missed += calibration(said_at(confidence, hits)).ece_high < error
    assert missed <= 0.05 * samples


@pytest.mark.parametrize("images", [5, 20, 60, 150])
@pytest.mark.parametrize("error", [0.02, 0.05, 0.2])
def test_a_sure_model_seldom_looks_right_by_luck(images, error):
    """All answers at 0.99, of which 0.99 - error are right: exactly, over all outcomes."""
    odds = stats.binom.pmf(np.arange(images + 1), images, 0.99 - error)
    missed = sum(
        odds[right]
        for right in range(images + 1)
        if ece_interval(
            [Bin(low=0.9, high=1, images=images, confidence=0.99, accuracy=right / images)]
        )[2]
        < error
    )
    assert missed <= 0.05
