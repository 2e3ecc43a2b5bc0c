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


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ({}, "1"),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, "3"),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, "3"),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "2,0"}, "4"),
        ({"ROCR_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c", "HIP_VISIBLE_DEVICES": "0,2"}, "GPU-c"),
        ({"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "0,GPU-b"}, "GPU-b"),
        ({"CUDA_VISIBLE_DEVICES": "3,1"}, "1"),  # HIP reads it where its own is not set
        ({"CUDA_VISIBLE_DEVICES": "3,1", "HIP_VISIBLE_DEVICES": "0,2"}, "2"),
    ],
)
def test_an_amd_instance_sees_one_gpu_and_that_as_the_first(environment, own):
    """ROCR leaves one, HIP counts what is left, and then does not look at CUDA's variable."""
    for kind in ("rocm", "migraphx"):
        (instance,) = placed(f"{kind}:1", machine=AMD, **environment)
        seen = {
            name: value
            for name, value in instance.environment.items()
            if name.endswith("VISIBLE_DEVICES")
        }
        assert seen == {
            "ROCR_VISIBLE_DEVICES": own,
            "HIP_VISIBLE_DEVICES": "0",
            "CUDA_VISIBLE_DEVICES": "-1",
        }


def test_an_amd_gpu_that_hip_cannot_choose_is_not_there():
    """Its numbers count within what ROCR leaves."""
    visible = {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1,2,0"}

    with pytest.raises(
        StartupError, match=r"rocm:1 is not there: ROCR.*'4,5' HIP.*makes 1 visible"
    ):
        placed("rocm:1", machine=AMD, **visible)
    assert devices("auto", machine=AMD, **visible) == (Device("rocm"),)


@pytest.mark.parametrize(
    ("environment", "cores", "order"),
    [
        ({}, (4, 5, 6, 7), "PCI_BUS_ID"),
        ({"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, (0, 1, 2, 3), None),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, tuple(range(8)), None),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, tuple(range(8)), None),
        (
            {"CUDA_VISIBLE_DEVICES": "0,MIG-7", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            tuple(range(8)),
            None,
        ),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, tuple(range(8)), None),
    ],
)
def test_cores_are_those_next_to_the_gpu_that_is_meant(environment, cores, order):
    """By its number in the order of addresses; where only another order is known, all of them."""
    (instance,) = placed("cuda:1", **environment)

    assert instance.cores == cores
    assert instance.environment.get("CUDA_DEVICE_ORDER") == order


def test_pinning_leaves_a_gpus_instance_next_to_its_gpu():
    """A core of the other socket would be further away than its neighbour's."""
    pinned = place(devices("cuda:1", "cpu"), 2, TWO_GPUS, {}, pin_cores=True)

    assert [instance.cores for instance in pinned] == [(4, 5, 6, 7), (4, 5, 6, 7)]


def test_only_instances_on_cores_stand_back_for_decoders():
    """Whatever computes there, and nothing else."""
    every = placed("cpu", "openvino", "cuda:0", "tensorrt:1", "emulated:5+1", count=5)

    assert [instance.on_cores for instance in every] == [True, True, False, False, False]


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
