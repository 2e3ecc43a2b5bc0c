"""For how long pods were counted that are scraped at different times, and what is judged by it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from rollout.coverage import counted_s
from rollout.growth import REQUESTS, SECONDS_BUCKET, Growth, Reading, Series
from rollout.plan import Plan
from rollout.seen import Seen
from rollout.state import Phase, State, begin
from rollout.step import judge_step
from rollout.tally import Tally
from rollout.types import Readiness, Standing
from tests.rollout.world import STABLE, START, VERSION

ANSWERED = Series(REQUESTS, "v2", "200")
EDGES_S = (0.01, 0.02, math.inf)
RATE = 200.0  # public requests per second, shared out exactly as was set
INTERVAL_S = 10  # of looks


def pod(*times: float) -> Growth:
    """A pod that was read then."""
    growth = Growth(Reading("pod", times[0], {}))
    for at in times[1:]:
        growth.add(Reading("pod", at, {}))
    return growth


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], 0),
        ([pod(5)], 0),
        ([pod(5, 15, 25)], 20),
        ([pod(0, 10, 20), pod(5, 15, 25)], 20),
        ([pod(0, 10), pod(5)], 5),  # a pod that was read once has counted nothing
        ([pod(0, 10, 20, 30, 40), pod(30, 40)], 35),  # it came later, and was not read at first
        ([pod(0, 10), pod(0, 10, 20, 30, 40)], 35),  # it went
    ],
)
def test_the_time_counts_by_the_share_of_the_pods_that_were_counted(pods, expected):
    """Not from the first reading of any of them to the last one of any."""
    assert counted_s(pods) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("late_s", "stopped_s", "age_s"), [(0, 0, 5), (0, 60, 65), (40, 0, 15), (40, 60, 75)]
)
def test_what_always_comes_late_is_not_older_for_that(late_s, stopped_s, age_s):
    """A Prometheus may be behind by more than an interval; one that has stopped is not."""
    tally = Tally(START)
    for second in range(0, 120, 15):
        tally.add(reading("pod", second, second))
        tally.traffic(START + second + late_s + 5)

    traffic = tally.traffic(START + 105 + late_s + 5 + stopped_s)

    assert traffic.age_s == pytest.approx(age_s)


@dataclass
class Scraped:
    """A pod between two moments, whose counters are read every so often."""

    begins: float
    ends: float
    first: float
    counter: float = 100_000.0

    def is_there(self, at: float) -> bool:
        """Whether it is."""
        return self.begins <= at < self.ends

    def is_read(self, at: float, every_s: float) -> bool:
        """Whether Prometheus looks at it in this second."""
        return self.is_there(at) and at >= self.first and (at - self.first) % every_s < 1


def always(pods: int, every_s: float, chance: random.Random) -> list[Scraped]:
    """Pods that are there all the time, each read at times of its own."""
    return [Scraped(-math.inf, math.inf, chance.random() * every_s) for _ in range(pods)]


def come_and_go(every_s: float, chance: random.Random) -> list[Scraped]:
    """As an autoscaler has them: two stay, three come, three go."""
    moved = [(at, math.inf) for at in (15, 30, 45)] + [(-math.inf, at) for at in (15, 30, 45)]
    ends = [Scraped(begins, ends, chance.random() * every_s) for begins, ends in moved]
    return always(2, every_s, chance) + ends


def first_step(
    percent: int,
    candidate: Sequence[Scraped],
    stable: Sequence[Scraped],
    every_s: float,
    stops: float = math.inf,
) -> State:
    """After the first step of a rollout whose requests are shared out exactly as was set."""
    plan = Plan.model_validate({"steps": [{"percent": percent}, {"percent": 100}]})
    state = begin(VERSION, STABLE, plan, START).but(
        phase=Phase.STEP, share_set=percent, applied=True, ready=True, since=START
    )
    tallies = [Tally(START), Tally(START)]
    for second in range(1, 301):
        for tally, share, pods in zip(
            tallies, (percent, 100 - percent), (candidate, stable), strict=True
        ):
            there = [each for each in pods if each.is_there(second)]
            for number, each in enumerate(pods):
                each.counter += RATE * share / 100 / len(there) if each in there else 0
                if second < stops and each.is_read(second, every_s):
                    tally.add(reading(str(number), second, round(each.counter)))
        if second % INTERVAL_S == 0:
            seen = [tally.traffic(START + second) for tally in tallies]
            ready = Readiness(Standing.READY)
            look = Seen(readiness=ready, candidate=seen[0], stable=seen[1])
            state = judge_step(state, look, START + second)
        if state.phase is not Phase.STEP or state.step:
            break
    return state


def reading(pod: str, second: float, count: int) -> Reading:
    """Its counters, when it has answered so many."""
    buckets = {
        Series(SECONDS_BUCKET, edge_s=edge): float(count if edge > 0.01 else count // 3)
        for edge in EDGES_S
    }
    return Reading(pod, START + second, {ANSWERED: float(count), **buckets}, "prometheus")


@pytest.mark.parametrize("every_s", [15, 30])
@pytest.mark.parametrize("percent", [5, 25, 50])
@pytest.mark.parametrize("pods", [(1, 1), (1, 3), (1, 10), (5, 10)])
def test_a_faultless_candidate_passes_however_many_pods_are_scraped_when(pods, percent, every_s):
    """Its share is what was set, and not what was counted until some moment."""
    for seed in range(5):
        chance = random.Random(seed)
        candidate, stable = (always(number, every_s, chance) for number in pods)

        state = first_step(percent, candidate, stable, every_s)

        assert (state.step, state.why) == (1, ""), seed


@pytest.mark.parametrize("every_s", [15, 30])
@pytest.mark.parametrize("percent", [5, 25, 50])
@pytest.mark.parametrize("which", ["candidate", "stable", "both"])
def test_pods_that_come_and_go_meanwhile_are_no_gap(which, percent, every_s):
    """An autoscaler's: what they were not there for, others have counted."""
    for seed in range(5):
        chance = random.Random(seed)
        candidate, stable = (
            come_and_go(every_s, chance) if which in (one, "both") else always(3, every_s, chance)
            for one in ("candidate", "stable")
        )

        state = first_step(percent, candidate, stable, every_s)

        assert (state.step, state.why) == (1, ""), seed


def test_what_was_counted_at_first_proves_nothing_of_the_rest():
    """Nothing is scraped from the middle of the step on: it may be whatever it is by now."""
    chance = random.Random(1)
    candidate, stable = (always(3, 5, chance) for _ in range(2))

    state = first_step(50, candidate, stable, 5, stops=25)

    assert state.phase is Phase.ABORTING
    assert "nothing new has been counted for" in state.why


def test_what_was_counted_at_last_proves_nothing_of_the_time_before():
    """Prometheus was away for most of the time that the step was held."""
    chance = random.Random(1)
    candidate, stable = (always(3, 5, chance) for _ in range(2))
    for each in (*candidate, *stable):
        each.first += 40

    state = first_step(50, candidate, stable, 5)

    assert state.step == 1
    assert state.events[-1].text == "step 1 of 2: 50 %: passed"
    assert state.events[-1].at > START + 60
