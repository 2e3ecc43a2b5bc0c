"""When requests of an open loop leave."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from loadgen.arrivals import intended_ns


def test_constant_arrivals_are_evenly_apart_over_all_workers():
    """Two workers at 1000 a second together: one each millisecond."""
    first, second = (
        list(islice(intended_ns("constant", 1000, worker=worker, workers=2), 3))
        for worker in (0, 1)
    )

    assert first == [0, 2_000_000, 4_000_000]
    assert second == [1_000_000, 3_000_000, 5_000_000]


def test_constant_arrivals_do_not_drift():
    """A rate whose gap is no whole number of nanoseconds keeps it for a million requests."""
    last = next(islice(intended_ns("constant", 3), 1_000_000, None))

    assert round(1_000_000 / 3 * 1e9) == pytest.approx(last, abs=1000)


def test_poisson_arrivals_have_the_mean_and_the_spread_of_exponential_gaps():
    """Of an exponential distribution both are the same."""
    gaps = np.diff(list(islice(intended_ns("poisson", 1000, seed=7), 100_000)))

    assert np.mean(gaps) == pytest.approx(1e6, rel=0.02)
    assert np.std(gaps) == pytest.approx(1e6, rel=0.02)


def test_poisson_arrivals_of_several_workers_add_up_to_the_rate():
    """And the workers do not send at the same times."""
    workers = [
        list(islice(intended_ns("poisson", 1000, worker=worker, workers=4), 10_000))
        for worker in range(4)
    ]

    within = sum(time < 10e9 for times in workers for time in times)
    assert within == pytest.approx(10_000, rel=0.05)
    assert workers[0][:5] != workers[1][:5]


def test_a_seed_repeats_the_arrivals():
    """Another seed gives others."""
    again = [list(islice(intended_ns("poisson", 50, seed=seed), 3000)) for seed in (1, 1, 2)]

    assert again[0] == again[1]
    assert again[0] != again[2]
