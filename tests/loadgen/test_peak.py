"""The search for the highest rate, on servers that are a formula."""

from __future__ import annotations

import random

import pytest

from loadgen.peak import search


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
