"""CPU seconds and peak memory of each process of a server, by its title."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

TITLE_LENGTH = 70


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process took."""

    title: str
    cpu_s: float  # user and system, over the measurement
    peak_mib: float  # resident, since the process started; shared pages count in each process


class Meter:
    """Counts from its making on."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._before = {process: cpu_seconds(process) for process in processes}

    def read(self) -> tuple[Usage, ...]:
        """Usage since the meter was made, of each process that was there then, by title."""
        usages = [
            Usage(title_of(process), cpu_seconds(process) - before, peak_mib(process.pid))
            for process, before in self._before.items()
        ]
        return tuple(sorted(usages, key=lambda usage: usage.title))


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of ``process`` so far."""
    times = process.cpu_times()
    return times.user + times.system


def title_of(process: psutil.Process) -> str:
    """The title ``ps`` shows, shortened."""
    return " ".join(process.cmdline()).strip()[:TITLE_LENGTH] or process.name()


def peak_mib(pid: int) -> float:
    """The most resident memory ``pid`` ever had (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) / 1024
