"""Simulated pods behind a gateway."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor.types import BatchCost
from study.balancing import BALANCING, LeastRequest
from study.clients import Stretch
from study.cluster import closed_loop, open_loop
from study.device import Device
from study.gateway import Cluster
from study.pod import Pod
from study.request import DONE, LOST
from study.scaling import simulate_pods
from study.shape import PodShape

SMALL = Pod((BatchCost(0.005, 0.001, 8),), slots=64)


@pytest.mark.parametrize("name", BALANCING)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_gateway_chooses_one_of_its_pods(name, active, seed):
    """However many requests they have."""
    balancing = BALANCING[name](random.Random(seed))

    assert all(balancing.choose(active) in range(len(active)) for _ in range(20))


def test_the_fewer_requests_of_two_are_chosen():
    """A pod that has more than all others is chosen where it is drawn twice: 1 time in 16 of 4."""
    balancing = LeastRequest(random.Random(1))

    chosen = Counter(balancing.choose([0, 0, 9, 0]) for _ in range(16_000))

    assert chosen[2] == pytest.approx(1000, rel=0.1)


def test_24_pods_give_99_percent_of_24_times_one():
    """The issue's goal, for the pod of the talk: one accelerator and eight cores."""
    shape = PodShape(Device.of_rate(1200.0))

    one, many = simulate_pods(shape, [1, 24], "least_request", 0.0005, lambda _: None)

    assert one.efficiency == 1.0
    assert 0.99 <= many.efficiency <= 1.01


def test_pods_whose_decoders_are_the_limit_scale_as_well():
    """Images that differ let one pod have more to do than another, for a moment."""
    shape = PodShape(Device.of_rate(1200.0), decode_s=0.009)
    assert shape.bottleneck == "decode"

    _, many = simulate_pods(shape, [1, 8], "least_request", 0.0005, lambda _: None)

    assert 0.98 <= many.efficiency <= 1.01


def test_what_is_lost_with_a_pod_is_what_it_had_in_flight():
    """Nothing else fails, and the others go on."""
    cluster = Cluster((SMALL,) * 3)
    stretches = [Stretch(20.0, 600.0)]

    whole = open_loop(cluster, stretches, seed=5)
    outcome = open_loop(cluster, stretches, seed=5, losses=[10.0])

    assert {count for name, count in whole.requests.items() if name != DONE} == {0}
    assert 0 < outcome.requests[LOST] <= SMALL.slots
    assert {name for name, count in outcome.requests.items() if count} == {DONE, LOST}


def test_what_a_lost_pod_had_done_is_not_taken_off_what_others_do():
    """Two of three are lost while it is watched: the third has worked, no negative amount."""
    cluster = Cluster((SMALL,) * 3)
    stretches = [Stretch(20.0, 300.0)]

    outcome = open_loop(cluster, stretches, seed=5, warm_up_s=9.0, losses=[10.0, 10.5])

    assert 0 < outcome.utilisation <= 1
    assert outcome.computed_per_second == pytest.approx(100 / 11 + 300 * 10 / 11, rel=0.2)
    assert outcome.batch_size >= 1


def test_nothing_is_seen_of_a_time_that_is_all_warm_up():
    """Rather than to divide by it."""
    with pytest.raises(ValueError, match="nothing is left to be watched"):
        open_loop(Cluster((SMALL,)), [Stretch(1.0, 100.0)], seed=1, warm_up_s=1.0)


def test_a_gateway_without_pods_refuses():
    """Rather than to forget anybody."""
    outcome = open_loop(Cluster((SMALL,)), [Stretch(2.0, 100.0)], seed=1, losses=[1.0])

    assert outcome.requests["refused"] > 50


def test_the_same_seed_gives_the_same_result():
    """And another one another."""
    cluster = Cluster((SMALL,) * 2, decode_ns=1_000_000, decode_spread=0.3)

    def run(seed):
        return open_loop(cluster, [Stretch(3.0, 500.0)], seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_clients_that_are_refused_wait_before_they_ask_again():
    """Else a closed loop would never come to an end."""
    outcome = closed_loop(Cluster((SMALL,), images=40), 3, 5.0, 0.0)

    assert outcome.requests["refused"] <= 3 * 6
    assert outcome.requests[DONE] > 0
