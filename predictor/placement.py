"""Which device and which cores each instance gets, decided before any runtime is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"
# ROCR hides GPUs from all of ROCm, HIP from its runtime only; whichever the container was given.
AMD_VARIABLES = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
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
    An instance with a GPU stays on the cores next to it.

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
        placements.append(
            Placement(
                instance=instance,
                device=f"{device.kind}:{device.index if device.is_gpu else instance}",
                kind=device.kind,
                cores=share if pin_cores else _cores(device, machine) or machine.cores,
                threads=count,
                environment={"OMP_NUM_THREADS": str(count), **_visible(device, environment)},
                emulated=device.emulated,
            )
        )
    return tuple(placements)


def _cores(device: Device, machine: Machine) -> tuple[int, ...]:
    """The cores next to a GPU; empty for others, and where nobody knows."""
    if not device.is_gpu or device.index >= len(machine.gpus):
        return ()
    near = machine.gpus[device.index].cores
    return tuple(core for core in machine.cores if core in near)


def _visible(device: Device, environment: Mapping[str, str]) -> dict[str, str]:
    """What the runtime is to see: its own GPU and no other."""
    none = {CUDA_VARIABLE: NONE, "HIP_VISIBLE_DEVICES": NONE}
    if not device.is_gpu:
        return none
    if device.kind in NVIDIA:
        own = _nth(CUDA_VARIABLE, device, environment)
        # By PCI address, as ``machine`` counts them; CUDA's own order is by speed.
        return none | {CUDA_VARIABLE: own, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    variable = next((name for name in AMD_VARIABLES if name in environment), AMD_VARIABLES[1])
    own = _nth(variable, device, environment)
    return {CUDA_VARIABLE: NONE, variable: own}


def _nth(variable: str, device: Device, environment: Mapping[str, str]) -> str:
    """The name of a GPU, by its place among those that the container was given."""
    given = environment.get(variable)
    if given is None:
        return str(device.index)
    names = _names(given)
    if device.index >= len(names):
        raise StartupError(
            f"devices: {device.kind}:{device.index} is not there: {variable}={given!r} "
            f"makes {len(names)} visible"
        )
    return names[device.index]


def _given_gpus(machine: Machine, environment: Mapping[str, str]) -> list[str]:
    """The kind of every GPU that the container may use."""
    kinds = [gpu.kind for gpu in machine.gpus]
    if not kinds:
        return []
    variables = (CUDA_VARIABLE,) if kinds[0] == "cuda" else AMD_VARIABLES
    for variable in variables:
        if variable in environment:
            return kinds[:1] * len(_names(environment[variable]))
    return kinds


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
