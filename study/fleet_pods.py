"""How many pods of a fleet there are, and how many are paid."""

from __future__ import annotations

from collections import deque


class Pods:
    """How many pods there are, by what they are doing.

    Args:
        ready: at the beginning.
        cold_start, release: steps.
    """

    def __init__(self, ready: int, cold_start: int, release: int) -> None:
        self.ready = ready
        self._starting: deque[list[int]] = deque()  # [at which step they are ready, how many]
        self._released: deque[tuple[int, int]] = deque()  # at which step they cost no more
        self._cold_start = cold_start
        self._release = release

    @property
    def wanted(self) -> int:
        """Ready or on their way."""
        return self.ready + sum(count for _, count in self._starting)

    @property
    def paid(self) -> int:
        """Wanted, and those whose node is not given back yet."""
        return self.wanted + sum(count for _, count in self._released)

    def step(self, now: int) -> None:
        """Time has gone by."""
        while self._starting and self._starting[0][0] <= now:
            self.ready += self._starting.popleft()[1]
        while self._released and self._released[0][0] <= now:
            self._released.popleft()

    def lose(self, now: int, count: int) -> None:
        """So many of those that were ready are gone, and not paid any more; others are started."""
        self.ready -= count
        self._start(now, count)

    def scale(self, now: int, desired: int) -> None:
        """Start some, or stop some: those first that are not ready yet, the youngest first."""
        surplus = self.wanted - desired
        if surplus < 0:
            self._start(now, -surplus)
            return
        stopped = surplus
        while surplus and self._starting:
            fewer = min(surplus, self._starting[-1][1])
            self._starting[-1][1] -= fewer
            surplus -= fewer
            if not self._starting[-1][1]:
                self._starting.pop()
        self.ready -= surplus
        if stopped:
            self._released.append((now + self._release, stopped))

    def _start(self, now: int, count: int) -> None:
        if count:
            self._starting.append([now + self._cold_start, count])
