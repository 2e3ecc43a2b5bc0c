"""Requests that leave at a given rate: how they are spread, and which of them count."""

import numpy as np
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.open_loop import Answers, Pace, within

START_US = 1795335658506028


def test_there_are_as_many_clients_as_can_be_waiting():
    """Forty a second, each up to half a second: twenty, one every 25 ms."""
    pace = Pace.of(rate=40.0, seconds=10.0, wait_s=0.5)
    assert (pace.clients, pace.created, pace.period_ms, pace.ramp_s) == (20, 1, 25, 0.5)
    assert pace.requests == 40 * 11


def test_fast_clients_start_several_at_a_time():
    """h2load's periods are whole milliseconds."""
    pace = Pace.of(rate=2500.0, seconds=2.0, wait_s=0.1)
    assert (pace.clients, pace.created, pace.period_ms) == (250, 3, 1)


def test_ramps_do_not_count():
    """Only what left within the measured seconds, whenever it was answered."""
    rows = np.array(
        [
            [START_US, 200, 1_000],  # before
            [START_US + 600_000, 200, 2_000],
            [START_US + 900_000, 503, 500],
            [START_US + 1_100_000, -1, 9_000_000],
            [START_US + 1_700_000, 200, 3_000],  # after
        ]
    )
    answers = within(rows, ramp_s=0.5, seconds=1.0, tool_cpu_s=0.1)
    assert answers.counts == {-1: 1, 200: 1, 503: 1}
    assert answers.rate == 3.0
    assert answers.per_second() == 1.0
    assert answers.percentile_ms(99) == 2.0
    assert answers.percentile_ms(50, status=503) == 0.5
    assert answers.run_s == pytest.approx(10.1)


def test_what_never_happened_has_no_percentile():
    """No refusal, no latency of refusals."""
    answers = Answers(np.array([200]), np.array([1_000]), 1.0, 0.0, 1.0)
    assert answers.percentile_ms(99, status=503) is None


def test_nothing_sent_is_no_result():
    """h2load ends well even where nobody listens."""
    with pytest.raises(BenchmarkError, match="sent nothing"):
        within(np.empty((0, 3), np.int64), ramp_s=0.5, seconds=1.0, tool_cpu_s=0.0)
