"""Fleets of several sizes over a day, and what each of them costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from study.curve import Curve, Numbers, learn_curve
from study.errors import StudyError
from study.fleet import HOUR_S, MONTH_S, STEP_S, Day, autoscaler_of, diurnal, simulate_day
from study.fleet_plan import FleetPlan
from study.fleet_pods import Pods

SHARES = (50.0, 99.0)  # percentiles of the latency


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A fleet whose peak needs ``pods`` at the target.

    Attributes:
        pods: that many.
        least, mean, most: pods that were ready.
        images: answered.
        refused, lost: shares of those asked for.
        losses: pods that were lost.
        load: mean over the pods that were ready, as a share of what they could answer.
        p50_ms, p99_ms: latency of images that were answered, over the whole time.
        cost: USD, of all nodes.
        per_million: USD for a million answered images.
        floor: USD for a million, if every pod that is paid answered all that it can.
    """

    pods: int
    least: int
    mean: float
    most: int
    images: float
    refused: float
    lost: float
    losses: int
    load: float
    p50_ms: float
    p99_ms: float
    cost: float
    per_million: float
    floor: float


@dataclass(frozen=True, slots=True)
class FleetStudy:
    """All of it; ``days`` belong to ``rows``."""

    plan: FleetPlan
    curve: Curve
    rows: tuple[FleetRow, ...]
    days: tuple[Day, ...]


def study_fleets(plan: FleetPlan, say: Callable[[str], None]) -> FleetStudy:
    """Learn a pod's curve, then step each fleet through the time."""
    network_s = plan.network_ms / 1e3
    curve = learn_curve(plan.shape, plan.balancing, network_s, plan.seed, say)
    days = []
    for pods in plan.pods:
        say(f"{pods:,} pods over {plan.hours:g} hours")
        days.append(_day(plan, curve, pods))
    rows = tuple(row_of(plan, curve, pods, day) for pods, day in zip(plan.pods, days, strict=True))
    return FleetStudy(plan, curve, rows, tuple(days))


def _day(plan: FleetPlan, curve: Curve, pods: int) -> Day:
    chance = np.random.default_rng([plan.seed, pods])
    rate = diurnal(plan, pods * plan.target * curve.capacity, chance)
    first = pods if plan.autoscaler == "none" else _first(plan, curve, rate)
    state = Pods(first, round(plan.cold_start_s / STEP_S), round(plan.release_s / STEP_S))
    # Of so many as the peak needs each may be lost at each step: binomial, and next to Poisson.
    share = np.mean(rate) / (pods * plan.target * curve.capacity)
    expected = pods * share * plan.losses_per_month * STEP_S / MONTH_S
    losses = chance.poisson(expected, len(rate)).tolist()
    return simulate_day(plan, curve, rate, state, autoscaler_of(plan, curve, pods), losses)


def _first(plan: FleetPlan, curve: Curve, rate: Numbers) -> int:
    """As many as the first step needs at the target."""
    return max(plan.least_pods, math.ceil(float(rate[0]) / (plan.target * curve.capacity)))


def row_of(plan: FleetPlan, curve: Curve, pods: int, day: Day) -> FleetRow:
    """What is to be said of a day.

    Raises:
        StudyError: nothing was answered, so that there is nothing to reckon with.
    """
    asked, images = float(day.asked.sum()), float(day.answered.sum())
    if not images:
        raise StudyError(
            f"{pods:,} pods answered nothing in {plan.hours:g} hours: none was ready, or all were "
            "lost; look at cold-start-s and losses-per-month"
        )
    hours = float(day.paid.sum()) * STEP_S / HOUR_S
    cost = hours * plan.price_per_hour
    could = hours * HOUR_S * curve.capacity
    p50_s, p99_s = latencies_s(curve, day)
    return FleetRow(
        pods,
        int(day.ready.min()),
        float(day.ready.mean()),
        int(day.ready.max()),
        images,
        float(day.refused.sum()) / asked,
        float(day.lost.sum()) / asked,
        day.losses,
        images / (float(day.ready.sum()) * STEP_S * curve.capacity),
        p50_s * 1e3,
        p99_s * 1e3,
        cost,
        cost / images * 1e6,
        cost / could * 1e6,
    )


def latencies_s(curve: Curve, day: Day) -> tuple[float, ...]:
    """Percentiles over all images that were answered: each step's latencies by how many it had."""
    edges = np.concatenate([[0.0], curve.loads, [np.inf]])
    # Steps of nearly the same load have nearly the same latencies: they are counted together.
    fine = np.unique(np.concatenate([np.linspace(0, 2, 801), edges]))
    bins = np.clip(np.digitize(day.load, fine) - 1, 0, len(fine) - 2)
    weights = np.bincount(bins, day.answered, len(fine) - 1)
    middles = np.where(np.isinf(fine[1:]), fine[:-1], (fine[1:] + fine[:-1]) / 2)
    used = weights > 0
    times = np.stack(
        [curve.at(middles[used], curve.latencies_s[:, level]) for level in range(len(curve.levels))]
    )  # (levels, bins)
    # A level stands for what is nearer to it than to its neighbours.
    bounds = np.concatenate([[0.0], (curve.levels[1:] + curve.levels[:-1]) / 2, [100.0]])
    shares = np.diff(bounds)[:, np.newaxis] * weights[used]
    order = np.argsort(times, axis=None)
    passed = np.cumsum(shares.ravel()[order])
    return tuple(
        float(times.ravel()[order][np.searchsorted(passed, share / 100 * passed[-1])])
        for share in SHARES
    )
