"""Signs of life: what a process writes while it is well, and others read to find that it hangs.

A process that was stopped, or is stuck in a driver, neither dies nor answers. So it writes the time
into memory that its supervisor can read, whether it runs or not.
"""

from __future__ import annotations

import mmap
import os
import threading
import time

from predictor.slab import reserve

BEAT_S = 0.25  # between two signs of life
CELLS = 2  # int64: the last sign of life, and when the present batch must have ended


class Pulse:
    """One process's signs of life, mapped into this one. Times are CLOCK_MONOTONIC ns; 0: none.

    Args:
        fd: from ``create``; this object takes nothing of it but a mapping.
    """

    def __init__(self, fd: int) -> None:
        self._cells = memoryview(mmap.mmap(fd, 8 * CELLS)).cast("q")

    @staticmethod
    def create() -> int:
        """Reserve the memory; returns its file descriptor."""
        return reserve("millrace-pulse", 8 * CELLS)

    def beat(self) -> None:
        """Say that this process is well now."""
        self._cells[0] = time.monotonic_ns()

    def batch_due(self, due_ns: int) -> None:
        """A batch has begun and must have ended by then; 0: it has ended."""
        self._cells[1] = due_ns

    @property
    def beat_ns(self) -> int:
        """The last sign of life."""
        return self._cells[0]

    @property
    def due_ns(self) -> int:
        """When the present batch must have ended."""
        return self._cells[1]


class Heart(threading.Thread):
    """Beats in a thread of its own, until the process ends or stands still."""

    def __init__(self, pulse: Pulse) -> None:
        super().__init__(name="heart", daemon=True)
        self._pulse = pulse
        pulse.beat()

    def run(self) -> None:
        """Beat."""
        while True:
            self._pulse.beat()
            time.sleep(BEAT_S)


def close(fd: int) -> None:
    """Give up a descriptor, if it is one."""
    if fd >= 0:
        os.close(fd)
