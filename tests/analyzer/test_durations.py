"""From timed batches to speeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analyzer.durations import batch_speed
from analyzer.gate_evidence import batch_p99, batch_throughput


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


def test_rounds_that_differ_widen_the_bounds():
    """A neighbour slows two of four rounds: their batches alone would say that they are sure."""
    quiet, busy = [0.010 + at % 7 * 1e-5 for at in range(100)], [0.030] * 100
    steady = batch_speed(1, *[quiet] * 4)
    uneven = batch_speed(1, quiet, busy, quiet, busy)
    alone = batch_speed(1, [*quiet, *busy] * 2)

    assert uneven.batches == steady.batches == 400
    assert steady.p99_high_s == pytest.approx(0.01, rel=0.02)
    assert (alone.p99_low_s, alone.p99_high_s) == (0.030, 0.030)
    assert uneven.p99_low_s < 0.010
    assert uneven.p99_high_s > 0.040
    assert uneven.images_per_second_low < 0.7 * alone.images_per_second_low
    assert uneven.images_per_second_high > 2 * alone.images_per_second_high


def test_a_model_is_rarely_found_to_be_slower_than_itself():
    """Rounds that are off by 20 % or so each, by simulation; batches alone often say it."""
    random, refuted = np.random.default_rng(7), np.zeros((2, 2))

    def rounds():
        return [factor * random.lognormal(0, 0.05, 100) for factor in random.lognormal(0, 0.2, 4)]

    for _ in range(400):
        pair = rounds(), rounds()
        by_rounds = [batch_speed(1, *each) for each in pair]
        by_batches = [batch_speed(1, np.concatenate(each)) for each in pair]
        for row, (one, other) in enumerate((by_rounds, by_batches)):
            refuted[row] += [
                batch_p99(one, "").over(batch_p99(other, "")).low > 1,
                batch_throughput(one, "").over(batch_throughput(other, "")).high < 1,
            ]
    assert (refuted[0] <= 400 * 0.05).all()
    assert (refuted[1] > 400 * 0.25).all()


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
