"""A fleet, second by second."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.autoscaler import Constant
from study.curve import Curve
from study.errors import StudyError
from study.fleet import autoscaler_of, between, diurnal, simulate_day
from study.fleet_plan import FleetPlan
from study.fleet_pods import Pods
from study.fleet_study import latencies_s, row_of

# A pod of 100 images/s that answers all up to that; its latency is 10 ms, ten times that when full.
LOADS = np.asarray([0.0, 0.5, 1.0, 2.0])
LEVELS = np.asarray([1.0, 50.0, 99.0])
CURVE = Curve(
    100.0,
    LOADS,
    np.asarray([0.0, 0.5, 1.0, 1.0]),
    np.asarray([0.0, 0.9, 1.0, 1.0]),
    np.asarray([0.0, 5.0, 10.0, 10.0]),
    LEVELS,
    np.asarray([[0.01] * 3, [0.01] * 3, [0.1] * 3, [0.1] * 3]),
)


def day_of(rate, pods, losses=None, **plan):
    """So many pods, whose number nobody changes."""
    steps = len(rate)
    state = Pods(pods, cold_start=5, release=20)
    chosen = FleetPlan(**plan)
    autoscaler = Constant(pods, 1.0)
    return simulate_day(
        chosen, CURVE, np.asarray(rate, float), state, autoscaler, losses or [0] * steps
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.0, 5_000.0), min_size=1, max_size=60),
    st.integers(1, 20),
    st.lists(st.integers(0, 2), min_size=60, max_size=60),
)
def test_every_image_is_answered_refused_or_lost(rate, pods, losses):
    """Whatever comes, and however many pods go."""
    day = day_of(rate, pods, losses[: len(rate)])

    assert day.asked == pytest.approx(day.answered + day.refused + day.lost)
    assert (day.answered >= 0).all()
    assert (day.refused >= -1e-9).all()
    assert (day.answered <= day.ready * CURVE.capacity + 1e-6).all()


def test_what_is_over_the_capacity_is_refused():
    """Also beyond the loads that the curve knows: as many a second are answered as there."""
    day = day_of([500.0, 1_000.0, 2_000.0, 8_000.0], 10)

    assert day.answered.tolist() == [500.0, 1_000.0, 1_000.0, 1_000.0]


def test_a_lost_pod_takes_along_what_it_had_in_flight_and_is_replaced():
    """After a cold start of 5 s."""
    day = day_of([1_000.0] * 10, 10, [0, 0, 1] + [0] * 7)

    assert day.ready.tolist() == [10, 10, 9, 9, 9, 9, 9, 10, 10, 10]
    assert day.lost.tolist() == [0, 0, 10.0] + [0] * 7
    assert day.losses == 1


def test_pods_that_start_are_stopped_before_those_that_are_ready():
    """And a pod that is stopped is paid until its node is given back."""
    pods = Pods(4, cold_start=5, release=20)

    pods.scale(0, 10)
    assert (pods.ready, pods.wanted, pods.paid) == (4, 10, 10)
    pods.scale(1, 6)
    assert (pods.ready, pods.wanted, pods.paid) == (4, 6, 10)
    pods.scale(2, 3)
    assert (pods.ready, pods.wanted, pods.paid) == (3, 3, 10)
    pods.step(21)
    assert pods.paid == 6
    pods.step(22)
    assert pods.paid == 3


def test_a_day_has_the_peak_and_the_mean_that_were_asked_for():
    """A sine: 1.6 times the mean at eight in the evening, 0.4 times at eight in the morning."""
    plan = FleetPlan(noise=0.0)

    rate = diurnal(plan, 1_600.0, np.random.default_rng(1))

    assert rate.mean() == pytest.approx(1_000.0)
    assert rate.argmax() == 20 * 3600
    assert (rate.max(), rate.min()) == pytest.approx((1_600.0, 400.0))


def test_a_surge_comes_at_its_hour_and_goes():
    """Twice the load for half an hour."""
    still = FleetPlan(noise=0.0)
    surging = FleetPlan(noise=0.0, surge=2.0, surge_hour=3.0, surge_minutes=30.0)

    ratio = diurnal(surging, 1.0, np.random.default_rng(1)) / diurnal(
        still, 1.0, np.random.default_rng(1)
    )

    assert np.flatnonzero(ratio > 1.5)[[0, -1]].tolist() == [3 * 3600, 3 * 3600 + 1799]


def test_what_strays_from_the_sine_strays_by_as_much_as_was_said():
    """The mean stays what it was."""
    chance = np.random.default_rng(1)
    still = diurnal(FleetPlan(noise=0.0, hours=240), 1.0, chance)
    noisy = diurnal(FleetPlan(noise=0.1, hours=240), 1.0, chance)

    logarithms = np.log(noisy / still)
    assert logarithms.std() == pytest.approx(0.1 * np.sqrt(2 / 3), rel=0.05)  # straight between
    assert (noisy / still).mean() == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("name", ["knative", "horizontal"])
def test_autoscalers_find_the_number_of_pods_that_the_load_needs(name):
    """1,400 images/s at 70 of 100 each: 20 pods, give or take what they tolerate."""
    plan = FleetPlan(autoscaler=name)
    rate = np.full(1_800, 1_400.0)

    day = simulate_day(
        plan, CURVE, rate, Pods(2, 30, 60), autoscaler_of(plan, CURVE, 20), [0] * len(rate)
    )

    assert 18 <= day.ready[-1] <= 22
    assert day.refused[-300:].sum() == 0


class Onlooker:
    """An autoscaler that changes nothing and remembers what it was shown."""

    period_s = 15.0

    def __init__(self, pods):
        self.seen = []
        self._pods = pods

    def desired(self, now_s, seen):
        """As many as there are."""
        self.seen.append(seen)
        return self._pods


def test_an_autoscaler_does_not_see_what_is_refused():
    """Five times what ten pods can answer: their metric says that they are full, and no more."""
    onlooker = Onlooker(10)
    rate = np.full(300, 5_000.0)

    day = simulate_day(FleetPlan(), CURVE, rate, Pods(10, 30, 60), onlooker, [0] * 300)

    assert day.load.min() == pytest.approx(5.0)
    assert [seen.load for seen in onlooker.seen] == pytest.approx([1.0] * 20)


def test_a_metric_is_averaged_over_its_window():
    """Load comes after a minute; each look at it, 15 s apart, sees a quarter more of it."""
    onlooker = Onlooker(10)
    rate = np.concatenate([np.zeros(60), np.full(90, 500.0)])

    simulate_day(FleetPlan(), CURVE, rate, Pods(10, 30, 60), onlooker, [0] * 150)

    seen = [each.load for each in onlooker.seen]
    assert seen == pytest.approx([0, 0, 0, 0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5], abs=1e-9)


def test_a_fleet_that_answers_nothing_is_told_as_such():
    """There is nothing to divide its cost by."""
    with pytest.raises(StudyError, match="10 pods answered nothing"):
        row_of(FleetPlan(), CURVE, 10, day_of([0.0] * 10, 10))


def test_a_million_images_cost_what_their_pods_cost():
    """10 pods for an hour at 1 USD, 500 images/s: 10 USD for 1.8 million."""
    plan = FleetPlan(price_per_hour=1.0)
    day = day_of([500.0] * 3600, 10)

    row = row_of(plan, CURVE, 10, day)

    assert row.cost == pytest.approx(10.0)
    assert row.per_million == pytest.approx(10 / 1.8)
    assert row.floor == pytest.approx(10 / 3.6)
    assert row.load == pytest.approx(0.5)


def test_percentiles_are_of_images_and_not_of_seconds():
    """A second at full load has twice the images of one at half: two thirds took 100 ms."""
    day = day_of([500.0, 1_000.0], 10)

    assert latencies_s(CURVE, day)[0] == pytest.approx(0.1, rel=0.02)


@given(st.floats(-1.0, 3.0))
def test_between_two_places_it_is_straight(at):
    """As numpy does it."""
    values = [3.0, 1.0, 4.0, 1.5]

    assert between(at, LOADS.tolist(), values) == pytest.approx(np.interp(at, LOADS, values))
