"""The time that a rollout waits by, and when it is to stop."""

from __future__ import annotations

import math
import threading
import time
from typing import Protocol


class Time(Protocol):
    """The clock, and the waiting."""

    def now(self) -> float:
        """Seconds of the epoch."""

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is to stop; whether it is."""


class WallTime:
    """``Time`` as it passes.

    Args:
        longest_s: after so long it says to stop by itself; None: when it is told to.
    """

    def __init__(self, longest_s: float | None = None) -> None:
        self._stopping = threading.Event()
        self._end = math.inf if longest_s is None else time.monotonic() + longest_s

    def now(self) -> float:
        """See Time."""
        return time.time()

    def wait(self, seconds: float) -> bool:
        """See Time."""
        left = self._end - time.monotonic()
        return self._stopping.wait(max(0.0, min(seconds, left))) or time.monotonic() >= self._end

    def stop(self) -> None:
        """End the waiting, now and from now on; a signal handler may call it."""
        self._stopping.set()
