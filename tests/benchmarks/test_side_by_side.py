"""Load tools side by side: who starts when, at which priority, and what becomes of their words."""

import sys

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.side_by_side import ahead, may_run_ahead, priority_text, run_side_by_side

STATUS = "Name:\tcat\nCapInh:\t0000000000000000\nCapEff:\t{}\nSeccomp:\t0\n"
CLOCK = [sys.executable, "-S", "-c", "import time; print(time.monotonic_ns())"]


def test_each_tool_prints_for_itself():
    """In the order of the commands."""
    assert run_side_by_side([["echo", "first"], ["echo", "second"]], 1) == ["first\n", "second\n"]


def test_they_start_in_turn():
    """Each some time after the one before, however long that one takes."""
    started = [int(output) for output in run_side_by_side([CLOCK] * 3, 1, apart_s=0.2)]

    assert started == sorted(started)


def test_one_that_fails_is_told_by_its_own_name():
    """Whatever was put before its command."""
    with pytest.raises(BenchmarkError, match=r"^sh failed: no such thing$"):
        run_side_by_side([["sh", "-c", "echo no such thing; exit 3"]], 1)


@pytest.mark.parametrize(
    ("capabilities", "may"),
    [
        ("000001ffffffffff", True),  # root
        ("0000000000800000", True),  # CAP_SYS_NICE alone
        ("00000000a80425fb", False),  # root in a container as Docker makes it
        ("0000000000000000", False),
    ],
)
def test_who_may_raise_a_priority_is_told_by_the_kernel(capabilities, may):
    """Being root is not enough."""
    assert may_run_ahead(STATUS.format(capabilities)) == may


def test_nothing_is_known_of_a_process_without_a_status():
    """Then it is not tried."""
    assert not may_run_ahead("")


def test_a_tool_runs_at_the_priority_that_the_results_name():
    """Here, whichever it is."""
    (said,) = run_side_by_side([["nice"]], 1)

    assert (int(said) < 0) == bool(ahead())
    assert ("higher" in priority_text()) == bool(ahead())
