"""Which processes a pod has, what memory they hold, and which descriptors they have open."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.processes import title_of

KINDS = ("supervisor", "frontend", "instance")


@dataclass(frozen=True, slots=True)
class Resident:
    """Memory of one process."""

    title: str
    own_mib: float  # its own pages
    shared_mib: float  # of memory that processes share: slots, counts
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Census:
    """A pod at one moment.

    Attributes:
        processes: how many of each kind.
        descriptors: how many open ones, by "KIND WHAT", such as "frontend socket".
        resident: memory of each process, by title.
        metric_files: in the folder where processes leave their Prometheus numbers.
    """

    processes: dict[str, int]
    descriptors: dict[str, int]
    resident: tuple[Resident, ...]
    metric_files: int


def census(processes: Iterable[psutil.Process]) -> Census:
    """Count; processes that end meanwhile are left out."""
    kinds: Counter[str] = Counter()
    descriptors: Counter[str] = Counter()
    resident = []
    folders: set[Path] = set()
    for process in processes:
        try:
            kind, found = kind_of(process), open_descriptors(process.pid)
            resident.append(resident_of(process))
            folders |= metric_folders(process.pid)
        except (psutil.Error, OSError, StopIteration):
            continue
        kinds[kind] += 1
        descriptors.update({f"{kind} {what}": count for what, count in found.items()})
    files = sum(len(list(folder.glob("*.db"))) for folder in folders)
    memory = tuple(sorted(resident, key=lambda each: each.title))
    return Census(dict(sorted(kinds.items())), dict(sorted(descriptors.items())), memory, files)


def kind_of(process: psutil.Process) -> str:
    """Supervisor, frontend or instance, by its title; anything else is "other"."""
    title = title_of(process)
    return next((kind for kind in KINDS if f"millrace: {kind}" in title), "other")


def open_descriptors(pid: int) -> Counter[str]:
    """How many sockets, memfds and others ``pid`` has open."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        kinds[kind_of_target(target)] += 1
    return kinds


def metric_folders(pid: int) -> set[Path]:
    """Where the Prometheus files lie that ``pid`` has mapped; a title leaves no environment."""
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    return {Path(line.split(maxsplit=5)[5]).parent for line in lines if line.endswith(".db")}


def kind_of_target(target: str) -> str:
    """What a link in /proc/PID/fd leads to: a socket, a memfd, or something else."""
    if target.startswith("socket:"):
        return "socket"
    return "memfd" if target.startswith("/memfd:") else "other"


def resident_of(process: psutil.Process) -> Resident:
    """From the kernel's own counts."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    kib = {
        line.split(":")[0]: int(line.split()[1])
        for line in status.splitlines()
        if line.startswith(("RssAnon:", "RssShmem:"))
    }
    own_mib, shared_mib = (kib.get(name, 0) / 1024 for name in ("RssAnon", "RssShmem"))
    return Resident(title_of(process), own_mib, shared_mib, time.time() - process.create_time())
