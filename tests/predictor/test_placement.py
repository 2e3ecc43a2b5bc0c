"""Which cores and which environment an instance gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.errors import StartupError
from predictor.placement import place


def test_cores_are_shared_out_evenly():
    """Two instances on eight cores get four each, side by side."""
    first, second = place(("cpu",), 2, tuple(range(8)), pin_cores=True)

    assert first.cores == (0, 1, 2, 3)
    assert second.cores == (4, 5, 6, 7)
    assert first.threads == 4


def test_without_pinning_a_share_is_a_number_of_threads():
    """The instance may move to whichever core is idle."""
    first, second = place(("cpu",), 2, tuple(range(8)))

    assert tuple(range(8)) == first.cores == second.cores
    assert 4 == first.threads == second.threads


def test_a_cpu_instance_sees_no_gpu():
    """Hidden by the environment, which is set before its runtime is imported."""
    (only,) = place(("cpu",), 1, (0,))

    assert only.environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert only.device == "cpu:0"


def test_instances_take_the_devices_in_turn():
    """Each sees just its own."""
    places = place(("cuda:0", "cuda:1"), 4, (0, 1, 2, 3))

    assert [p.environment["CUDA_VISIBLE_DEVICES"] for p in places] == ["0", "1", "0", "1"]


def test_a_device_nobody_knows_is_refused_by_name():
    """One line that names it."""
    with pytest.raises(StartupError, match="'tpu:0'"):
        place(("tpu:0",), 1, (0,))


@given(st.integers(1, 40), st.integers(1, 40))
def test_no_core_is_left_idle_and_none_is_doubled_without_need(instances, cores):
    """Every instance has a core; while there are enough, no two share one."""
    places = place(("cpu",), instances, tuple(range(cores)), pin_cores=True)

    used = [core for p in places for core in p.cores]
    assert all(p.cores for p in places)
    if instances <= cores:
        assert sorted(used) == list(range(cores))
    else:
        assert set(used) == set(range(cores))
