"""Whether a server keeps up, by formula and by servers of a known capacity."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from loadgen.client import run
from loadgen.plan import Open, Plan
from loadgen.trend import Trend, added
from tests.loadgen.server import Asked, Reply, http_server
from tests.loadgen.test_client import IMAGES

CHANCE = np.random.default_rng(3)


def trend_of(*latencies_s: float, seconds: float = 10.0) -> Trend:
    """Of requests evenly spaced over so many seconds."""
    return Trend.of(np.linspace(0, seconds, len(latencies_s)), np.asarray(latencies_s))


def test_the_slope_is_the_share_of_the_load_that_piles_up():
    """1,100 a second to a server of 1,000: each request waits a tenth of its time longer."""
    times_s = np.arange(0, 5, 1 / 1100)

    trend = Trend.of(times_s, 0.02 + times_s * 0.1)

    assert trend.slope == pytest.approx(0.1)
    assert trend.is_above(0.03)


def test_long_latencies_are_no_growing_ones():
    """However they compare to the time that is measured."""
    assert not trend_of(*CHANCE.normal(30.0, 1.0, 500)).is_above(0.03)


def test_a_single_late_answer_is_chance():
    """A line through 25 requests, the last of which took a tenth of a second."""
    trend = trend_of(*[0.001] * 24, 0.1, seconds=0.5)

    assert trend.slope > 0.03
    assert not trend.is_above(0.03)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_requests_say_nothing(count):
    """And raise nothing."""
    assert not trend_of(*[5.0] * count).is_above(0.03)


def test_parts_add_up_to_the_whole():
    """What several processes and endpoints saw."""
    times_s, latencies_s = CHANCE.uniform(0, 9, 100), CHANCE.uniform(0, 1, 100)

    parts = added(Trend.of(times_s[place::3], latencies_s[place::3]) for place in range(3))

    assert parts.slope == pytest.approx(Trend.of(times_s, latencies_s).slope)
    assert parts.slope == pytest.approx(np.polyfit(times_s, latencies_s, 1)[0])


class OneByOne:
    """A server that answers 50 requests a second, one after the other."""

    def __init__(self) -> None:
        self._free_s = 0.0

    def __call__(self, _: Asked) -> Reply:
        """When those before it have been answered."""
        now_s = time.monotonic()
        self._free_s = max(now_s, self._free_s) + 0.02
        return Reply(delay_s=self._free_s - now_s)


@pytest.mark.parametrize("ends", [{"requests": 200, "duration_s": 60}, {"duration_s": 1}])
def test_a_server_that_is_too_slow_does_not_keep_up(ends):
    """Twice its rate, whether the time or the number of requests ends the measurement."""
    with http_server(OneByOne()) as server:
        where = f"http://127.0.0.1:{server.port}"
        plan = Plan((where,), IMAGES, Open(100, "constant"), warm_up_s=0, timeout_s=60)
        report = run(replace(plan, **ends))

    assert not report.keeps_up
    assert any("the server falls behind" in note for note in report.notes)


def test_a_server_whose_answers_take_longer_than_warm_up_and_window_keeps_up():
    """As many are in flight as arrive in that time, and no more."""
    with http_server(lambda _: Reply(delay_s=1.5)) as server:
        where = f"http://127.0.0.1:{server.port}"
        load = Open(50, "constant")
        plan = Plan((where,), IMAGES, load, duration_s=1, warm_up_s=0, timeout_s=60)
        report = run(plan)

    assert report.total.requests == 50
    assert report.keeps_up
