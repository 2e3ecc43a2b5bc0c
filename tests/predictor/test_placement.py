"""Which device and cores each instance gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.errors import StartupError
from predictor.machine import Gpu, Machine
from predictor.placement import Device, parse_devices, place
from predictor.types import EmulatedCost

EIGHT = Machine(tuple(range(8)), 8)
NEAR = (Gpu("cuda", (0, 1, 2, 3)), Gpu("cuda", (4, 5, 6, 7, 64)))
TWO_GPUS = Machine(tuple(range(8)), 8, NEAR)
AMD = Machine(tuple(range(8)), 8, (Gpu("rocm"), Gpu("rocm")))


def devices(*texts: str, machine: Machine = EIGHT, **environment: str) -> tuple[Device, ...]:
    """Taken apart on a machine with this environment."""
    return parse_devices(texts, machine, environment)


def placed(*texts: str, machine: Machine = TWO_GPUS, count: int = 1, **environment: str):
    """Placed there."""
    return place(devices(*texts, machine=machine, **environment), count, machine, environment)


def test_every_form_is_understood():
    """As the setting's description lists them."""
    assert devices("cpu", "cpu:4", "openvino", "cuda", "tensorrt:1", "rocm:0", "migraphx:2") == (
        Device("cpu"),
        Device("cpu", threads=4),
        Device("openvino"),
        Device("cuda"),
        Device("tensorrt", 1),
        Device("rocm"),
        Device("migraphx", 2),
    )
    assert devices("emulated:5+0.5", "emulated:20+1+8") == (
        Device("emulated", emulated=EmulatedCost(0.005, 0.0005)),
        Device("emulated", emulated=EmulatedCost(0.02, 0.001, 8)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpu",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cpu:0",
        "auto:1",
        "emulated",
        "emulated:5",
        "emulated:a+b",
        "emulated:5+1+0",
        "CUDA:0",
        "cuda:0 ",
    ],
)
def test_any_other_form_is_refused_with_those_there_are(text):
    """An emulated device cannot be had by a slip."""
    with pytest.raises(StartupError, match="emulated:BATCH_MS"):
        devices(text)


@pytest.mark.parametrize(
    ("machine", "environment", "expected"),
    [
        (EIGHT, {}, ["cpu"]),
        (TWO_GPUS, {}, ["cuda:0", "cuda:1"]),
        (TWO_GPUS, {"CUDA_VISIBLE_DEVICES": "1"}, ["cuda:0"]),
        (TWO_GPUS, {"CUDA_VISIBLE_DEVICES": ""}, ["cpu"]),
        (TWO_GPUS, {"CUDA_VISIBLE_DEVICES": "-1"}, ["cpu"]),
        (AMD, {}, ["rocm:0", "rocm:1"]),
        (AMD, {"ROCR_VISIBLE_DEVICES": "1"}, ["rocm:0"]),
        (AMD, {"HIP_VISIBLE_DEVICES": "-1"}, ["cpu"]),
    ],
)
def test_auto_is_every_gpu_the_container_was_given(machine, environment, expected):
    """The CPU where there is none."""
    found = devices("auto", machine=machine, **environment)

    assert [f"{d.kind}:{d.index}" if d.is_gpu else d.kind for d in found] == expected


def test_a_gpu_instance_sees_its_gpu_alone_and_stays_on_the_cores_next_to_it():
    """Those of them that the container has."""
    first, second, third = placed("cuda:0", "cuda:1", count=3)

    assert (first.device, second.device, third.device) == ("cuda:0", "cuda:1", "cuda:0")
    assert second.environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert second.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert (first.cores, second.cores) == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_gpu_numbers_count_within_what_the_container_was_given():
    """Numbers, UUIDs and MIG devices alike."""
    for visible, own in (("3,5", "5"), ("GPU-aa,GPU-bb", "GPU-bb"), ("0, MIG-7", "MIG-7")):
        (instance,) = placed("cuda:1", CUDA_VISIBLE_DEVICES=visible)
        assert instance.environment["CUDA_VISIBLE_DEVICES"] == own
    (amd,) = placed("rocm:1", machine=AMD, ROCR_VISIBLE_DEVICES="2,3")
    assert amd.environment["ROCR_VISIBLE_DEVICES"] == "3"
    assert "HIP_VISIBLE_DEVICES" not in amd.environment


@pytest.mark.parametrize("visible", ["", "-1", "0", "0,-1,1", "none"])
def test_a_gpu_that_the_container_was_not_given_is_an_error(visible):
    """Never the CPU instead."""
    with pytest.raises(StartupError, match="cuda:1 is not there"):
        placed("cuda:1", CUDA_VISIBLE_DEVICES=visible)


def test_a_cpu_instance_sees_no_gpu():
    """Or its runtime might take memory there."""
    (instance,) = placed("cpu", CUDA_VISIBLE_DEVICES="0")

    assert instance.environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert instance.environment["HIP_VISIBLE_DEVICES"] == "-1"


def test_threads_are_those_of_the_device_or_of_the_share():
    """And OpenMP is told."""
    own, shared = placed("cpu:3", "cpu", count=2, machine=EIGHT)

    assert (own.threads, shared.threads) == (3, 4)
    assert own.environment["OMP_NUM_THREADS"] == "3"


@given(st.integers(1, 32), st.integers(1, 32), st.integers(1, 40), st.booleans())
def test_instances_have_no_more_threads_together_than_cores_may_be_busy(
    cores, usable, instances, pin
):
    """Unless there are more instances than that: then each has one."""
    machine = Machine(tuple(range(cores)), min(usable, cores))

    placements = place((Device("cpu"),), instances, machine, {}, pin_cores=pin)

    assert sum(each.threads for each in placements) <= max(machine.usable, instances)
    assert all(set(each.cores) <= set(machine.cores) and each.cores for each in placements)


@given(st.integers(1, 40), st.integers(1, 40))
def test_pinned_instances_leave_no_core_idle_and_double_none_without_need(instances, cores):
    """Every instance has a core; while there are enough, no two share one."""
    machine = Machine(tuple(range(cores)), cores)

    places = place((Device("cpu"),), instances, machine, {}, pin_cores=True)

    used = [core for each in places for core in each.cores]
    assert sorted(used) == list(range(cores)) or instances > cores
    assert set(used) == set(range(cores))
