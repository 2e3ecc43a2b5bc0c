"""What a container was given, read from trees of files as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from predictor.machine import Gpu, Machine, core_list, cpu_quota, gpus, look, memory_available

MIB = 1024 * 1024
MEMINFO = "MemTotal:       65843564 kB\nMemFree:  100 kB\nMemAvailable:   1048576 kB\n"
UNLIMITED_V1 = "9223372036854771712"


def tree(root: Path, files: dict[str, str]) -> Path:
    """A file system with these files."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="ascii")
    return root


POD = "kubepods.slice/kubepods-burstable.slice/kubepods-pod7.slice/cri-containerd-a.scope"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000"}, None),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "rubbish 0"}, None),
        ({"proc/self/cgroup": "rubbish"}, None),
        (
            {  # the pod allows less than its container
                "proc/self/cgroup": f"0::/{POD}",
                f"sys/fs/cgroup/{POD}/cpu.max": "800000 100000",
                f"sys/fs/cgroup/{Path(POD).parent}/cpu.max": "400000 100000",
                "sys/fs/cgroup/cpu.max": "max 100000",
            },
            4.0,
        ),
        (
            {  # the path is the host's, what is mounted here is the container's own folder
                "proc/self/cgroup": f"0::/{POD}",
                "sys/fs/cgroup/cpu.max": "200000 100000",
            },
            2.0,
        ),
        (
            {  # Docker with cgroup v1
                "proc/self/cgroup": "12:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/docker/ab",
                "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
    ],
)
def test_the_quota_is_the_least_of_all_that_apply(tmp_path, files, quota):
    """Of both versions of cgroups, of parents too; what is no limit is none."""
    assert cpu_quota(tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        ({}, 1024),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "max"}, 1024),
        (
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": str(512 * MIB),
                "sys/fs/cgroup/memory.current": str(500 * MIB),
                "sys/fs/cgroup/memory.stat": f"anon 4096\ninactive_file {100 * MIB}",
            },
            112,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/docker/ab",
                "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": str(64 * MIB),
                "sys/fs/cgroup/memory/docker/ab/memory.usage_in_bytes": str(60 * MIB),
                "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(900 * MIB),
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": str(64 * MIB),
                "sys/fs/cgroup/memory.current": str(80 * MIB),
            },
            0,
        ),
    ],
)
def test_memory_is_what_the_container_may_still_use(tmp_path, files, mib):
    """Its limit less what it uses and cannot give up; the machine's where that is less."""
    assert memory_available(tree(tmp_path, files | {"proc/meminfo": MEMINFO})) == mib * MIB


def test_nvidia_gpus_are_found_with_the_cores_next_to_them(tmp_path):
    """By the driver's own folder; -1 means that the machine has no NUMA nodes."""
    root = tree(
        tmp_path,
        {
            "proc/driver/nvidia/gpus/0000:41:00.0/information": "Model: H200",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: H200",
            "proc/driver/nvidia/gpus/0000:C1:00.0/information": "Model: H200",
            "sys/bus/pci/devices/0000:01:00.0/numa_node": "0",
            "sys/bus/pci/devices/0000:41:00.0/numa_node": "1",
            "sys/bus/pci/devices/0000:c1:00.0/numa_node": "-1",
            "sys/devices/system/node/node0/cpulist": "0-3,8",
            "sys/devices/system/node/node1/cpulist": "4-7",
        },
    )

    assert gpus(root) == (
        Gpu("cuda", (0, 1, 2, 3, 8)),
        Gpu("cuda", (4, 5, 6, 7)),
        Gpu("cuda", ()),
    )


def test_amd_gpus_are_the_nodes_that_compute(tmp_path):
    """A node without SIMD units is a CPU."""
    nodes = "sys/class/kfd/kfd/topology/nodes"
    root = tree(
        tmp_path,
        {
            f"{nodes}/0/properties": "cpu_cores_count 16\nsimd_count 0\nlocation_id 0",
            f"{nodes}/1/properties": "simd_count 304\nlocation_id 16640\ndomain 0",
            "sys/bus/pci/devices/0000:41:00.0/numa_node": "1",
            "sys/devices/system/node/node1/cpulist": "4-7",
        },
    )

    assert gpus(root) == (Gpu("rocm", (4, 5, 6, 7)),)


@pytest.mark.parametrize("quota", [30000, 150000, 199999])
def test_a_quota_bounds_how_many_cores_are_kept_busy(tmp_path, quota):
    """Rounded down, never below one; on which cores is the affinity's business."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    files = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"}

    assert look(tree(tmp_path, files)) == Machine(cores, 1)


def test_this_machine_can_be_looked_at():
    """Whatever it is."""
    machine = look()

    assert 1 <= machine.usable <= len(machine.cores)
    assert memory_available() > 0


@pytest.mark.parametrize(
    ("text", "cores"), [("0-3,8", (0, 1, 2, 3, 8)), ("5", (5,)), ("", ()), ("a-b", ())]
)
def test_the_kernels_lists_are_understood(text, cores):
    """Or nothing of them is."""
    assert core_list(text) == cores
