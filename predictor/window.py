"""The last seconds of a pod: what it has counted lately, out of counts that only ever grow."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from predictor.counts import Counts

LATELY_NS = 10_000_000_000
BETWEEN_NS = 1_000_000_000  # two looks at the counts
# Fewer images than these say nothing of what one costs; then it is looked further back.
TELLING = 100


@dataclass(frozen=True, slots=True)
class Span:
    """What was counted between two moments."""

    counts: Counts
    seconds: float


@dataclass(frozen=True, slots=True)
class _Look:
    at_ns: int
    counts: Counts

    def until(self, later: _Look) -> Span:
        return Span(later.counts.since(self.counts), max(1, later.at_ns - self.at_ns) / 1e9)


class Window:
    """What was counted lately.

    Args:
        read: gives the counts since the pod's start.
        clock: nanoseconds that only go up.
    """

    def __init__(
        self, read: Callable[[], Counts], clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._read = read
        self._clock = clock
        self._looks = deque([_Look(clock(), read())])
        # What was counted before this process began is better than nothing, for the beginning.
        self._telling_from = _Look(clock(), self._looks[0].counts.nothing())

    def sample(self) -> None:
        """Look at the counts, if it is time again; to be called a few times a second."""
        now_ns = self._clock()
        if now_ns - self._looks[-1].at_ns < BETWEEN_NS:
            return
        self._looks.append(_Look(now_ns, self._read()))
        while len(self._looks) > 2 and now_ns - self._looks[1].at_ns >= LATELY_NS:
            self._looks.popleft()
        if self.lately().counts.work.images >= TELLING:
            self._telling_from = self._looks[0]

    def lately(self) -> Span:
        """The last ten seconds, as of the last look."""
        return self._looks[0].until(self._looks[-1])

    def telling(self) -> Span:
        """The same, and what was before while there were too few images to tell anything by."""
        return self._telling_from.until(self._looks[-1])

    def busy_ratios(self) -> list[float]:
        """The share of the last ten seconds in which each instance's device ran batches, 0 to 1.

        A batch counts when it ends, so a long one may come in late and is cut to 1.
        """
        lately = self.lately()
        return [min(1.0, ns / 1e9 / lately.seconds) for ns in lately.counts.busy_ns()]
