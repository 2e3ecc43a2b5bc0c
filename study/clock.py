"""A clock that jumps from one thing that happens to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeVar

Argument = TypeVar("Argument")

S = 1_000_000_000  # ns

# What happens at one time happens in this order: so whoever comes at the moment at which a batch
# begins is in it, and whoever ends at that moment is counted off before anybody is sent there.
ENDS, COMES, DECODED, LOOKS = range(4)


class Clock:
    """What is going to happen, and the time it is now, in nanoseconds."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._coming: list[tuple[int, int, int, Callable[..., None], object]] = []
        self._noted = 0

    def at(
        self, time_ns: int, phase: int, action: Callable[[Argument], None], argument: Argument
    ) -> None:
        """Let ``action(argument)`` happen then, after what was noted before for that moment.

        Args:
            time_ns: when; not in the past.
            phase: ENDS, COMES, DECODED or LOOKS; they come in this order.
            action: what happens.
            argument: to whom.
        """
        self._noted += 1
        heapq.heappush(self._coming, (time_ns, phase, self._noted, action, argument))

    def run(self, until_ns: int | None = None) -> None:
        """Let everything happen that is to happen before ``until_ns``, or all there is."""
        coming, pop = self._coming, heapq.heappop
        while coming and (until_ns is None or coming[0][0] < until_ns):
            self.now_ns, _, _, action, argument = pop(coming)
            action(argument)
        if until_ns is not None:
            self.now_ns = until_ns
