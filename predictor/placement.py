"""Which device and which cores each instance gets, decided before any runtime is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from predictor.errors import StartupError
from predictor.machine import Machine
from predictor.types import EmulatedCost

NUMBER = r"\d+(?:\.\d+)?"
DEVICE = re.compile(
    r"(?P<kind>auto|openvino)"
    r"|(?P<cpu>cpu)(?::(?P<threads>[1-9]\d{0,3}))?"
    r"|(?P<gpu>cuda|tensorrt|rocm|migraphx)(?::(?P<index>\d{1,3}))?"
    rf"|(?P<emulated>emulated):(?P<batch>{NUMBER})\+(?P<image>{NUMBER})(?:\+(?P<largest>[1-9]\d*))?"
)
FORMS = (
    "auto, cpu, cpu:THREADS, openvino, cuda:N, tensorrt:N, rocm:N, migraphx:N, "
    "emulated:BATCH_MS+IMAGE_MS"
)
NVIDIA = ("cuda", "tensorrt")
ON_CORES = ("cpu", "openvino")
CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"
CUDA_ORDER, BY_ADDRESS = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
# ROCR hides GPUs from all of ROCm; HIP chooses among those that are left, and reads CUDA's variable
# where its own is empty.
ROCR_VARIABLE, HIP_VARIABLE = "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"
NONE = "-1"


@dataclass(frozen=True, slots=True)
class Device:
    """One entry of ``devices``.

    Attributes:
        kind: cpu, openvino, cuda, tensorrt, rocm, migraphx or emulated.
        index: which GPU, of those that the container was given.
        threads: of a CPU's instance; 0: its share of the cores.
        emulated: what an emulated device's batches take.
    """

    kind: str
    index: int = 0
    threads: int = 0
    emulated: EmulatedCost | None = None

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.kind in (*NVIDIA, "rocm", "migraphx")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one instance runs.

    ``environment`` is set before the process starts, because pinning by environment is the only
    pinning that every runtime obeys.
    """

    instance: int
    device: str
    kind: str
    cores: tuple[int, ...]
    threads: int
    environment: dict[str, str]
    emulated: EmulatedCost | None = None

    @property
    def on_cores(self) -> bool:
        """Whether it computes on the cores that decoders use."""
        return self.kind in ON_CORES


def parse_devices(
    texts: Sequence[str], machine: Machine, environment: Mapping[str, str]
) -> tuple[Device, ...]:
    """What ``devices`` names.

    ``auto`` is every GPU that the container was given, and the CPU where there is none.

    Raises:
        StartupError: one that cannot be understood, or is not there.
    """
    found: list[Device] = []
    for text in texts:
        match = DEVICE.fullmatch(text)
        if match is None:
            raise StartupError(f"devices: {text!r} is none of {FORMS}")
        if match["kind"] == "auto":
            gpus = _given_gpus(machine, environment)
            found += [Device(kind, index) for index, kind in enumerate(gpus)] or [Device("cpu")]
        elif match["cpu"]:
            found.append(Device("cpu", threads=int(match["threads"] or 0)))
        elif match["emulated"]:
            largest = int(match["largest"]) if match["largest"] else None
            cost = EmulatedCost(float(match["batch"]) / 1e3, float(match["image"]) / 1e3, largest)
            found.append(Device("emulated", emulated=cost))
        else:
            found.append(Device(match["gpu"] or match["kind"], int(match["index"] or 0)))
    return tuple(found)


def place(
    devices: Sequence[Device],
    instances: int,
    machine: Machine,
    environment: Mapping[str, str],
    threads: int = 0,
    *,
    pin_cores: bool = False,
) -> tuple[Placement, ...]:
    """Spread ``instances`` over ``devices`` in turn and share the cores out evenly among them.

    A share says how many threads an instance runs. It is tied to just those cores only with
    ``pin_cores``: where decoders use the same cores, an instance that may not move waits behind a
    decoder while another core is idle (5 % of the throughput on 2 cores, benchmarks/RESULTS.md).
    An instance with a GPU stays on the cores next to it either way, where those are known.

    Args:
        devices: from ``parse_devices``.
        instances: how many processes.
        machine: the cores and GPUs there are.
        environment: what the container was given; GPU numbers count within what it makes visible.
        threads: inference threads per instance; 0 means one for each core of its share.
        pin_cores: tie every instance to its own share.

    Raises:
        StartupError: a GPU that the container was not given.
    """
    placements = []
    for instance in range(instances):
        device = devices[instance % len(devices)]
        share = _share(machine.cores[: machine.usable], instance, instances)
        count = device.threads or threads or len(share)
        own = _own(device, environment)
        placements.append(
            Placement(
                instance=instance,
                device=f"{device.kind}:{device.index if device.is_gpu else instance}",
                kind=device.kind,
                cores=_near(device, own, machine, environment)
                or (share if pin_cores else machine.cores),
                threads=count,
                environment={"OMP_NUM_THREADS": str(count), **_visible(device, own, environment)},
                emulated=device.emulated,
            )
        )
    return tuple(placements)


def _near(
    device: Device, own: str, machine: Machine, environment: Mapping[str, str]
) -> tuple[int, ...]:
    """The cores next to a GPU; empty for others, and where nobody knows."""
    # CUDA's own order is by speed, and what the container was given may be in that order.
    in_order = device.kind not in NVIDIA or (
        CUDA_VARIABLE not in environment or environment.get(CUDA_ORDER) == BY_ADDRESS
    )
    if not in_order or not own.isdigit() or int(own) >= len(machine.gpus):
        return ()
    near = machine.gpus[int(own)].cores
    return tuple(core for core in machine.cores if core in near)


def _visible(device: Device, own: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What the runtime is to see: its own GPU and no other."""
    none = {CUDA_VARIABLE: NONE, HIP_VARIABLE: NONE}
    if not device.is_gpu:
        return none
    if device.kind in NVIDIA:
        order = {} if CUDA_VARIABLE in environment else {CUDA_ORDER: BY_ADDRESS}
        return none | {CUDA_VARIABLE: own} | order
    return {CUDA_VARIABLE: NONE, ROCR_VARIABLE: own, HIP_VARIABLE: "0"}  # the first that is left


def _own(device: Device, environment: Mapping[str, str]) -> str:
    """The name of a GPU, by its place among those that the container was given; empty for others.

    Raises:
        StartupError: it was given fewer.
    """
    if not device.is_gpu:
        return ""
    nvidia = device.kind in NVIDIA
    names = _given(nvidia, environment)
    if names is None:
        return str(device.index)
    if device.index < len(names):
        return names[device.index]
    variables = (CUDA_VARIABLE,) if nvidia else (ROCR_VARIABLE, HIP_VARIABLE, CUDA_VARIABLE)
    said = " ".join(f"{name}={environment[name]!r}" for name in variables if name in environment)
    raise StartupError(
        f"devices: {device.kind}:{device.index} is not there: {said} makes {len(names)} visible"
    )


def _given(nvidia: bool, environment: Mapping[str, str]) -> list[str] | None:
    """The GPUs that the container was given by name; None: whatever is there."""
    if nvidia:
        return _names(environment[CUDA_VARIABLE]) if CUDA_VARIABLE in environment else None
    left = _names(environment[ROCR_VARIABLE]) if ROCR_VARIABLE in environment else None
    chosen = environment.get(HIP_VARIABLE) or environment.get(CUDA_VARIABLE)
    if not chosen:
        return left
    names = _names(chosen)
    if left is None:
        return names
    there = takewhile(lambda name: not name.isdigit() or int(name) < len(left), names)
    return [left[int(name)] if name.isdigit() else name for name in there]


def _given_gpus(machine: Machine, environment: Mapping[str, str]) -> list[str]:
    """The kind of every GPU that the container may use."""
    kinds = [gpu.kind for gpu in machine.gpus]
    if not kinds:
        return []
    names = _given(kinds[0] == "cuda", environment)
    return kinds if names is None else kinds[:1] * len(names)


def _names(visible: str) -> list[str]:
    """The GPUs that such a variable lists, numbers or UUIDs; as CUDA, up to what is none."""
    names: list[str] = []
    for name in (part.strip() for part in visible.split(",")):
        if not name or name.startswith("-") or name.lower() in ("none", "void", "nodevfiles"):
            break
        names.append(name)
    return names


def _share(cores: tuple[int, ...], instance: int, instances: int) -> tuple[int, ...]:
    """A contiguous, even share; with more instances than cores they double up."""
    if instances >= len(cores):
        return (cores[instance % len(cores)],)
    start = instance * len(cores) // instances
    end = (instance + 1) * len(cores) // instances
    return cores[start:end]
