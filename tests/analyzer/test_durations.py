"""From timed batches to speeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analyzer.durations import batch_speed


def test_by_hand():
    """Three batches of four in 1, 2 and 3 s."""
    found = batch_speed(4, [1.0, 2.0, 3.0])
    interval = stats.ttest_1samp([1, 2, 3], 0).confidence_interval(0.95)

    assert (found.batch_size, found.batches, found.images_per_second) == (4, 3, 2.0)
    assert (found.latency_s, found.p99_s, found.p99_high_s) == (2.0, 3.0, None)
    assert found.images_per_second_low == pytest.approx(4 / interval.high)
    assert found.images_per_second_high is None  # the mean may be next to nothing


def test_a_single_batch_bounds_nothing():
    """But has a speed."""
    found = batch_speed(2, [0.5])

    assert (found.images_per_second, found.images_per_second_low) == (4.0, 0.0)
    assert (found.images_per_second_high, found.p99_high_s) == (None, None)
    assert found.model_validate_json(found.model_dump_json()) == found


def test_bounds_hold_in_nearly_all_samples():
    """Latencies with a long tail, by simulation: 2.5 % of samples may miss each of them."""
    random, missed = np.random.default_rng(5), np.zeros(4)
    spread = 0.3
    p99 = float(np.exp(spread * stats.norm.ppf(0.99)))
    speed = 1 / float(np.exp(spread**2 / 2))
    for _ in range(400):
        found = batch_speed(1, np.exp(random.normal(0, spread, 500)))
        missed += [
            found.p99_high_s < p99,
            found.p99_low_s > p99,
            found.images_per_second_low > speed,
            found.images_per_second_high < speed,
        ]
    assert (missed <= 400 * 0.05).all()
