"""A fleet over a day, a second at a time: what one pod does is read from its curve.

Two levels, because an event per image of 10,000 pods is out of reach: pods are simulated image by
image (``curve.py``), the fleet is stepped by what was learnt there. That may be done because a pod
forgets within a step: its slots hold a fifth of a second of work, and what has no room is refused.
``tests/study/test_levels.py`` compares both where both can run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.autoscaler import (
    Autoscaler,
    Constant,
    Horizontal,
    HorizontalAutoscaler,
    Knative,
    KnativeAutoscaler,
    Seen,
)
from study.curve import Curve, Numbers
from study.fleet_plan import FleetPlan
from study.fleet_pods import Pods

STEP_S = 1
HOUR_S = 3600
MONTH_S = 30 * 24 * HOUR_S


def diurnal(plan: FleetPlan, peak_rate: float, chance: np.random.Generator) -> Numbers:
    """Images a second at each step: a sine over the day, what strays from it, and a surge.

    Args:
        plan: its shape.
        peak_rate: images a second at the sine's peak.
        chance: where from.
    """
    steps = round(plan.hours * HOUR_S / STEP_S)
    hours = np.arange(steps) * STEP_S / HOUR_S
    height = plan.peak_to_mean - 1
    sine = 1 + height * np.cos(2 * np.pi * (hours - plan.peak_hour) / 24)
    rate: Numbers = peak_rate * sine / plan.peak_to_mean
    surge = (hours >= plan.surge_hour) & (hours < plan.surge_hour + plan.surge_minutes / 60)
    strays = np.exp(_strays(plan, steps, chance) - plan.noise**2 / 2)
    return rate * strays * np.where(surge, plan.surge, 1.0)


def _strays(plan: FleetPlan, steps: int, chance: np.random.Generator) -> Numbers:
    """Normal with standard deviation ``noise``, drawn every ``noise_s`` and straight between."""
    every = max(1, round(plan.noise_s / STEP_S))
    drawn = chance.normal(0, plan.noise, steps // every + 2)
    return np.interp(np.arange(steps), np.arange(len(drawn)) * every, drawn)


def autoscaler_of(plan: FleetPlan, curve: Curve, peak_pods: int) -> Autoscaler:
    """Who decides; Knative's target is what a pod has in flight at the target load."""
    if plan.autoscaler == "none":
        return Constant(peak_pods)
    if plan.autoscaler == "horizontal":
        settings = Horizontal(
            plan.target,
            plan.sync_s,
            plan.tolerance,
            plan.stabilisation_s,
            least=plan.least_pods,
        )
        return HorizontalAutoscaler(settings)
    target = float(curve.at(np.asarray(plan.target), curve.concurrency))
    return KnativeAutoscaler(
        Knative(
            target,
            plan.window_s,
            plan.panic_share,
            plan.panic_threshold,
            least=plan.least_pods,
        )
    )


@dataclass(frozen=True, slots=True)
class Day:
    """What a fleet did, step by step.

    Attributes:
        asked: images.
        load: of a pod that was ready, as a share of its capacity.
        answered, refused, lost: images; lost are those in flight at pods that went.
        ready, paid: pods.
        losses: pods.
    """

    asked: Numbers
    load: Numbers
    answered: Numbers
    refused: Numbers
    lost: Numbers
    ready: Numbers
    paid: Numbers
    losses: int


def simulate_day(
    plan: FleetPlan,
    curve: Curve,
    rate: Numbers,
    pods: Pods,
    autoscaler: Autoscaler,
    losses: Sequence[int],
) -> Day:
    """Step a fleet through ``rate``.

    Args:
        plan: its assumptions.
        curve: of a pod.
        rate: images a second, for each step.
        pods: at the beginning.
        autoscaler: who decides on them.
        losses: pods that are lost at each step, if there are so many.
    """
    steps = len(rate)
    ready, paid, gone, load = (np.zeros(steps) for _ in range(4))
    every = max(1, round(autoscaler.period_s / STEP_S))
    # What is looked up at every step, as plain numbers: numpy takes longer for one than for many.
    known_loads, known_concurrency = curve.loads.tolist(), curve.concurrency.tolist()
    known_answered = curve.answered.tolist()
    metric = Rate(max(1, round(plan.metric_window_s / STEP_S)))
    in_flight = 0.0
    for step, asked in enumerate(rate.tolist()):
        pods.step(step)
        lost = min(losses[step], pods.ready)
        if lost:
            pods.lose(step, lost)
        gone[step], ready[step], paid[step] = lost, pods.ready, pods.paid
        if pods.ready:
            load[step] = each = asked / (pods.ready * curve.capacity)
            in_flight += pods.ready * between(each, known_loads, known_concurrency)
            # A metric counts what was answered: an autoscaler cannot see what is refused.
            share = min(each, between(each, known_loads, known_answered))
            metric.add(pods.ready * share)
        else:  # they wait at the gateway until nobody waits for them any more
            in_flight += asked * plan.timeout_s
            metric.add(0.0)
        if (step + 1) % every == 0:
            answered_load = metric.mean / pods.ready if pods.ready else 0.0
            seen = Seen(pods.ready, pods.wanted, in_flight / every, answered_load)
            pods.scale(step, autoscaler.desired((step + 1) * STEP_S, seen))
            in_flight = 0.0
    answered = np.where(ready > 0, rate * curve.answered_at(load), 0.0) * STEP_S
    lost_images = np.minimum(answered, gone * curve.at(load, curve.concurrency))
    return Day(
        rate * STEP_S,
        load,
        answered - lost_images,
        rate * STEP_S - answered,
        lost_images,
        ready,
        paid,
        int(gone.sum()),
    )


class Rate:
    """The mean of the last values, as Prometheus' ``rate`` over a window of so many steps."""

    def __init__(self, steps: int) -> None:
        self._values: deque[float] = deque(maxlen=steps)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """One step's."""
        if len(self._values) == self._values.maxlen:
            self._sum -= self._values[0]
        self._values.append(value)
        self._sum += value

    @property
    def mean(self) -> float:
        """Of those in the window; 0 before the first."""
        return self._sum / len(self._values) if self._values else 0.0


def between(at: float, places: Sequence[float], values: Sequence[float]) -> float:
    """Linear interpolation, constant beyond both ends; ``places`` are few and ascending."""
    if at <= places[0]:
        return values[0]
    for place in range(1, len(places)):
        if at <= places[place]:
            share = (at - places[place - 1]) / (places[place] - places[place - 1])
            return values[place - 1] + share * (values[place] - values[place - 1])
    return values[-1]
