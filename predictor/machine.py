"""What this container was given: cores, memory, GPUs; read from files of the kernel.

Every function takes the root of the file system, so that tests can show it other machines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
CGROUPS = "sys/fs/cgroup"
NVIDIA_GPUS = "proc/driver/nvidia/gpus"
AMD_NODES = "sys/class/kfd/kfd/topology/nodes"
NO_LIMIT = 2**60  # cgroup v1 writes a number of this size where there is no limit on memory


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: ``cuda`` or ``rocm``, and the cores of its NUMA node (empty where nobody knows)."""

    kind: str
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is.

    Attributes:
        cores: numbers of the cores this process may run on.
        usable: how many of them it may keep busy all the time: a quota may be less, and of one
            and a half cores only one is.
        gpus: in the order in which their drivers number them.
    """

    cores: tuple[int, ...]
    usable: int
    gpus: tuple[Gpu, ...] = ()


def look(root: Path = ROOT) -> Machine:
    """The machine this process runs on."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    quota = cpu_quota(root)
    usable = len(cores) if quota is None else min(len(cores), max(1, math.floor(quota)))
    return Machine(cores, usable, gpus(root))


def cpu_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time that the cgroups allow; None where they set no limit.

    The least of this cgroup's and its parents' (v2: ``cpu.max``; v1: ``cpu.cfs_quota_us``).
    """
    limits = []
    for folder in _cgroup_folders(root, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_available(root: Path = ROOT) -> int:
    """Bytes that can still be used: of the machine's memory, and of each cgroup's limit."""
    left = [_meminfo(root)]
    for folder in _cgroup_folders(root, "memory"):
        for limit_file, usage_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = _text(folder / limit_file), _text(folder / usage_file)
            if limit.isdigit() and usage.isdigit() and int(limit) < NO_LIMIT:
                # What the kernel keeps of files counts as used, and is given up when it is needed.
                cached = _field(folder / "memory.stat", "inactive_file")
                left.append(max(0, int(limit) - int(usage) + cached))
    return min(left)


def gpus(root: Path = ROOT) -> tuple[Gpu, ...]:
    """NVIDIA's by their PCI addresses, as CUDA numbers them with CUDA_DEVICE_ORDER; or AMD's."""
    nvidia = _folders(root / NVIDIA_GPUS)
    if nvidia:
        return tuple(Gpu("cuda", _near(root, folder.name)) for folder in nvidia)
    nodes = sorted(_folders(root / AMD_NODES), key=lambda node: int(node.name))
    return tuple(
        Gpu("rocm", _near(root, _amd_address(node / "properties")))
        for node in nodes
        if _field(node / "properties", "simd_count")
    )


def core_list(text: str) -> tuple[int, ...]:
    """The numbers in the kernel's list format, such as ``0-3,8``; empty for what is none."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return ()
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def _near(root: Path, address: str) -> tuple[int, ...]:
    """The cores next to a PCI device."""
    node = _text(root / "sys/bus/pci/devices" / address.lower() / "numa_node")
    if not node.isdigit():  # -1: the machine has no NUMA nodes
        return ()
    return core_list(_text(root / f"sys/devices/system/node/node{node}/cpulist"))


def _amd_address(properties: Path) -> str:
    location, domain = _field(properties, "location_id"), _field(properties, "domain")
    bus, device, function = location >> 8 & 0xFF, location >> 3 & 0x1F, location & 7
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function}"


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and its parents, as far as they are mounted here."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) < 3:
            continue
        _, controllers, path = parts
        names = controllers.split(",")
        if controllers and controller not in names:
            continue
        mounted = (
            [root / CGROUPS]
            if not controllers
            else [root / CGROUPS / name for name in (controllers, controller)]
        )
        for mount in mounted:
            folder = mount / path.lstrip("/")
            # In a container the path is often the host's, and only its end is mounted, as the root.
            yield from (at for at in (folder, *folder.parents) if at.is_relative_to(mount))


def _meminfo(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return NO_LIMIT


def _field(file: Path, name: str) -> int:
    """A number from a file of ``name number`` lines; 0 where there is none."""
    for line in _text(file).splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[0] == name and parts[1].isdigit():
            return int(parts[1])
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []
