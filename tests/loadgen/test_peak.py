"""The search for the highest rate, on servers that are a formula."""

from __future__ import annotations

import random

import pytest

from loadgen.peak import Peak, Trial, search
from loadgen.plan import Open
from loadgen.report import Client, Report
from loadgen.tally import Counted


@pytest.mark.parametrize("capacity", [3, 50, 99, 100, 777, 12_345])
def test_the_peak_is_found_from_below_and_from_above(capacity):
    """Within the precision, and never above what holds."""
    found = search(lambda rate: rate <= capacity, 100)

    assert capacity / 1.021 <= found <= capacity


def test_a_server_that_never_holds_has_no_peak():
    """It gives up after some halvings."""
    tried = []

    assert search(lambda rate: tried.append(rate) or False, 100) == 0
    assert min(tried) > 0.05


def test_a_server_without_limits_ends_the_search_too():
    """It gives up after some doublings, with the highest rate tried."""
    assert search(lambda _rate: True, 1) == 2**20


def test_the_majority_decides_so_that_noise_does_not():
    """One in ten measurements lies; single ones would end anywhere."""
    chance = random.Random(5)

    found = [
        search(lambda rate: (rate <= 1000) != (chance.random() < 0.1), 100, repeats=5)
        for _ in range(20)
    ]

    assert sorted(found)[10] == pytest.approx(1000, rel=0.05)


def test_a_clear_rate_is_not_measured_more_than_needed():
    """Two of three that agree are the majority."""
    tried = []

    search(lambda rate: tried.append(rate) or rate < 150, 100)

    assert tried.count(100) == 2


def test_the_precision_is_the_callers():
    """A coarse search tries less."""
    fine, coarse = [], []
    search(lambda rate: fine.append(rate) or rate <= 777, 100, precision=0.01)
    found = search(lambda rate: coarse.append(rate) or rate <= 777, 100, precision=0.5)

    assert len(coarse) < len(fine)
    assert 777 / 1.5 <= found <= 777


def trial(rate: float, *misses: str, **ended: object) -> Trial:
    """A measurement of which only its end counts."""
    return Trial(rate, Report(Open(rate), 1.0, Counted(), {}, Client(1, 0.95, 0), **ended), misses)


def test_a_search_that_did_not_end_counts_only_what_its_majority_decided():
    """Neither what was cut short, nor what nobody waited for, nor a single measurement."""
    whole = [trial(100), trial(100), trial(200)]
    scraps = [trial(400, interrupted=True), trial(400, unanswered=3), trial(400, unanswered=1)]

    peak = Peak.so_far([*whole, *scraps])

    assert peak.rate == 100
    assert peak.best is whole[1].report
    assert peak.trials == (*whole, *scraps)
    assert str(scraps[0]) == "400 requests/s (poisson): interrupted"
    assert str(Peak.so_far(scraps)).startswith("no rate is known to hold the objective")


def test_a_measurement_that_was_cut_short_says_nothing_of_the_client():
    """It looks busy in its first moments, and misses everything."""
    whole = [trial(100), trial(100)]

    peak = Peak.so_far([*whole, trial(200, "no request was answered well", interrupted=True)])

    assert not peak.client_limited
    assert Peak.so_far([*whole, trial(200, "p99 is 2 s, above 1 s")]).client_limited
