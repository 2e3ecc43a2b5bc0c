"""Which device and which cores each instance gets, decided before any runtime is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass

from predictor.errors import StartupError

DEVICE = re.compile(r"^(?P<kind>cpu|cuda)(:(?P<index>\d+))?$")


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


def place(
    devices: tuple[str, ...],
    instances: int,
    cores: tuple[int, ...],
    threads: int = 0,
    *,
    pin_cores: bool = False,
) -> tuple[Placement, ...]:
    """Spread ``instances`` over ``devices`` in turn and share the cores out evenly among them.

    A share says how many threads an instance runs. It is tied to just those cores only with
    ``pin_cores``: where decoders use the same cores, an instance that may not move waits behind a
    decoder while another core is idle (5 % of the throughput on 2 cores, benchmarks/RESULTS.md).

    Args:
        devices: such as ``("cpu",)`` or ``("cuda:0", "cuda:1")``; GPU numbers are relative to what
            the container was given.
        instances: how many processes.
        cores: the cores this pod may use.
        threads: inference threads per instance; 0 means one for each core of its share.
        pin_cores: tie every instance to its own share.

    Raises:
        StartupError: a device that cannot be understood.
    """
    placements = []
    for instance in range(instances):
        kind, index = _parse(devices[instance % len(devices)])
        own = _share(cores, instance, instances)
        environment = {"OMP_NUM_THREADS": str(threads or len(own))}
        if kind == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = str(index)
        else:
            environment["CUDA_VISIBLE_DEVICES"] = environment["HIP_VISIBLE_DEVICES"] = "-1"
        placements.append(
            Placement(
                instance=instance,
                device=f"{kind}:{instance if kind == 'cpu' else index}",
                kind=kind,
                cores=own if pin_cores else cores,
                threads=threads or len(own),
                environment=environment,
            )
        )
    return tuple(placements)


def _parse(device: str) -> tuple[str, int]:
    match = DEVICE.match(device)
    if match is None:
        raise StartupError(f"devices: {device!r} is none of cpu, cuda, cuda:N")
    return match["kind"], int(match["index"] or 0)


def _share(cores: tuple[int, ...], instance: int, instances: int) -> tuple[int, ...]:
    """A contiguous, even share; with more instances than cores they double up."""
    if instances >= len(cores):
        return (cores[instance % len(cores)],)
    start = instance * len(cores) // instances
    end = (instance + 1) * len(cores) // instances
    return cores[start:end]
