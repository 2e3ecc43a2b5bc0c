"""The two levels of the simulator agree where both can run."""

from __future__ import annotations

import numpy as np
import pytest

from study.autoscaler import Constant
from study.clients import Stretch
from study.cluster import open_loop
from study.curve import cluster_of, learn_curve
from study.device import Device
from study.fleet import simulate_day
from study.fleet_plan import FleetPlan
from study.fleet_pods import Pods
from study.fleet_study import latencies_s
from study.request import DONE, REFUSED
from study.shape import PodShape

PODS = 10
# Slow devices, so that images are few; batches take as long as any.
SHAPE = PodShape(Device.of_rate(150.0), slots=32, decode_s=0.02)
BALANCING, NETWORK_S = "least_request", 0.0005
LOADS = (0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 2.0)


@pytest.fixture(scope="module")
def curve():
    """What one such pod does."""
    return learn_curve(SHAPE, BALANCING, NETWORK_S, 1, lambda _: None, LOADS)


def both(curve, stretches, losses=()):
    """The same load on the same pods: image by image, and by the second; neither starts others."""
    asked = [Stretch(until_s, load * PODS * curve.capacity) for until_s, load in stretches]
    cluster = cluster_of(SHAPE, PODS, BALANCING, NETWORK_S)
    images = open_loop(cluster, asked, seed=11, losses=losses)
    rate = np.concatenate(
        [
            np.full(round(stretch.until_s - began), stretch.rate)
            for began, stretch in zip([0.0, *(each.until_s for each in asked)], asked, strict=False)
        ]
    )
    lost = [sum(int(at_s) == step for at_s in losses) for step in range(len(rate))]
    pods = Pods(PODS, cold_start=10**6, release=0)
    day = simulate_day(FleetPlan(), curve, rate, pods, Constant(PODS, 10.0**6), lost)
    return images, day


def assert_agree(curve, images, day):
    """On how many were answered, on how many were not, and on how long it took."""
    asked = sum(images.requests.values())
    assert day.answered.sum() == pytest.approx(images.requests[DONE], rel=0.03)
    assert day.refused.sum() / day.asked.sum() == pytest.approx(
        images.requests[REFUSED] / asked, abs=0.02
    )
    p50_s, p99_s = latencies_s(curve, day)
    assert p50_s == pytest.approx(images.percentile_s(50), rel=0.1)
    assert p99_s == pytest.approx(images.percentile_s(99), rel=0.15)


@pytest.mark.parametrize("load", [0.2, 0.6, 0.85])
def test_the_levels_agree_on_a_steady_load(curve, load):
    """Ten pods where the curve was learnt from four, and by another chance."""
    assert_agree(curve, *both(curve, [(30.0, load)]))


def test_the_levels_agree_on_a_load_that_changes(curve):
    """From a third to nearly everything and back."""
    assert_agree(curve, *both(curve, [(15.0, 0.3), (30.0, 0.9), (45.0, 0.5)]))


def test_the_levels_agree_on_too_much(curve):
    """What has no room is refused by both."""
    images, day = both(curve, [(10.0, 0.5), (30.0, 1.5), (40.0, 0.5)])

    assert images.requests[REFUSED] > 0
    assert_agree(curve, images, day)


def test_the_levels_agree_on_pods_that_are_lost(curve):
    """Three of ten, one after the other; what they had in flight is about what the curve says."""
    images, day = both(curve, [(40.0, 0.6)], losses=[10.0, 20.0, 30.0])

    assert_agree(curve, images, day)
    assert day.losses == 3
    assert day.lost.sum() == pytest.approx(images.requests["lost"], rel=0.6)


def test_a_device_is_busy_long_before_it_is_loaded(curve):
    """Work-conserving batches: why how busy an accelerator is says nothing to an autoscaler."""
    assert curve.at(np.asarray(0.3), curve.busy) > 2 * 0.3
