"""Latencies: percentiles, merging, the correction."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from loadgen.histogram import LONGEST_US, Histogram, merged


def of(*latencies_us: int) -> Histogram:
    """A histogram of these."""
    histogram = Histogram()
    histogram.record(latencies_us)
    return histogram


def test_percentiles_are_those_of_the_latencies():
    """To the three digits that the histogram keeps."""
    latencies = np.random.default_rng(3).lognormal(9, 1, 100_000).astype(int)

    histogram = of(*latencies.tolist())

    for percent in (50, 90, 99, 99.9):
        expected = np.percentile(latencies, percent)
        assert histogram.percentile_us(percent) == pytest.approx(expected, rel=0.002)
    assert histogram.mean_us == pytest.approx(np.mean(latencies), rel=0.002)
    assert histogram.max_us == pytest.approx(latencies.max(), rel=0.001)


def test_recording_many_is_recording_each():
    """The same counts in the same places as HdrHistogram's own."""
    latencies = np.random.default_rng(3).integers(0, 64, 2000)
    latencies = [1, 2, 2047, 2048, 2049, LONGEST_US, *(2**latencies // 2**32).tolist()]
    latencies = [min(max(latency, 1), LONGEST_US) for latency in latencies]
    one_by_one = HdrHistogram(1, LONGEST_US, 3)
    for latency in latencies:
        one_by_one.record_value(latency)

    assert of(*latencies).encode() == one_by_one.encode()
    assert of(*latencies).max_us == one_by_one.get_max_value()


def test_merging_is_as_if_all_had_been_recorded_in_one():
    """Also after the way through another process."""
    whole = of(*range(1, 5000))
    parts = [of(*range(1, 100)), of(*range(100, 5000))]

    joined = merged(pickle.loads(pickle.dumps(part)) for part in parts)

    assert whole.count == joined.count
    assert [whole.percentile_us(p) for p in (1, 50, 99, 100)] == [
        joined.percentile_us(p) for p in (1, 50, 99, 100)
    ]


def test_an_empty_histogram_has_zeros():
    """Nothing was answered, and the report still comes."""
    empty = merged([])

    assert (empty.count, empty.mean_us, empty.max_us, empty.percentile_us(99)) == (0, 0.0, 0, 0)


def test_latencies_outside_the_range_count_at_its_ends():
    """None is lost."""
    assert of(0, LONGEST_US * 2).count == 2


def test_the_correction_adds_what_was_not_asked_during_a_stall():
    """One second's stall at a request every 100 ms: nine more requests would have met it."""
    stalled = of(*[100_000] * 99, 1_000_000)

    corrected = stalled.corrected(100_000)

    assert corrected.count == 100 + 9
    assert stalled.count == 100
    assert corrected.percentile_us(95) > 500_000 > stalled.percentile_us(95)


def test_the_correction_leaves_steady_latencies_alone():
    """None is twice the interval."""
    steady = of(*[100_000] * 50, *[150_000] * 50)

    assert steady.corrected(125_000).count == 100


def test_the_distribution_is_the_table_that_plotters_read():
    """Percentiles in rising order, the count at the end."""
    text = of(1000, 2000, 3000).distribution()

    assert text.split()[:4] == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert "TotalCount     =        3.000" in text
