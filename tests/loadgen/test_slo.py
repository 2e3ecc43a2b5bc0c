"""Objectives: how they are written, and when they are missed."""

from __future__ import annotations

from collections import Counter

import pytest

from loadgen.errors import LoadError
from loadgen.histogram import Histogram
from loadgen.slo import Limit, parse
from loadgen.sweep import ramp, sweep
from loadgen.tally import Counted


def counted(*latencies_us: int, failed: int = 0) -> Counted:
    """What was seen at an endpoint."""
    histogram = Histogram()
    histogram.record(latencies_us)
    outcomes = Counter({"200": len(latencies_us), "503": failed})
    return Counted(outcomes=outcomes, failed=failed, latency=histogram)


def test_an_objective_is_written_as_people_say_it():
    """Percentiles, mean and max in any unit, and the share of errors."""
    slo = parse(["p99.9=50ms", "mean=500us", "max=1.5s", "errors=2%"])

    expected = (Limit("p99.9", 50_000), Limit("mean", 500), Limit("max", 1_500_000))
    assert expected == slo.limits
    assert slo.failed_ratio == 0.02


@pytest.mark.parametrize("text", ["p99", "p99=50", "p100=1s", "99=1ms", "p99<50ms", "errors=1"])
def test_anything_else_is_refused_with_what_to_write(text):
    """In one line."""
    with pytest.raises(LoadError, match="write p99=50ms"):
        parse([text])


def test_what_is_missed_is_said_in_numbers():
    """The measured figure and its limit."""
    (miss,) = parse(["p50=1ms", "max=2s"]).misses(counted(2000, 2000, 2000))

    assert miss == "p50 is 2 ms, above 1 ms"


def test_errors_miss_an_objective_that_latencies_hold():
    """A server that refuses quickly keeps none."""
    slo = parse(["p99=50ms"])

    assert slo.misses(counted(*[100] * 10_000, failed=5)) == ()
    assert "11 of 1011 requests failed" in slo.misses(counted(*[100] * 1000, failed=11))[0]


def test_nothing_answered_holds_no_objective():
    """Not even with zero latencies."""
    assert parse(["p99=1s"]).misses(counted()) != ()


def test_sweeps_and_ramps_are_lists_of_loads():
    """Both ends of a ramp belong to it."""
    assert [load.concurrency for load in sweep("1,2,8")] == [1, 2, 8]
    rates = [load.rate for load in ramp("0.1:0.3:0.1", "poisson")]
    assert rates == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("text", ["", "1;2", "0,1", "a"])
def test_a_sweep_that_is_none_is_refused(text):
    """With an example."""
    with pytest.raises(LoadError, match="such as 1,2,4,8"):
        sweep(text)


@pytest.mark.parametrize("text", ["", "1:2", "5:1:1", "0:5:1", "1:5:0", "a:b:c"])
def test_a_ramp_that_is_none_is_refused(text):
    """With an example."""
    with pytest.raises(LoadError, match="such as 100:1000:100"):
        ramp(text, "constant")
