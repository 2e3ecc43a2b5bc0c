"""The last seconds of a pod: what it has counted lately, out of counts that only ever grow."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from predictor.counts import Counts

LATELY_NS = 10_000_000_000
BETWEEN_NS = 1_000_000_000  # two looks at the counts
# Fewer images than these say nothing of what one costs; then it is looked further back, but not
# for ever, since things change.
TELLING = 100
EARLIER_NS = 60_000_000_000  # between two looks further back
LONGEST_NS = 600_000_000_000  # and the time between two looks


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

    @property
    def images(self) -> int:
        return self.counts.work.images


class Window:
    """What was counted lately.

    Args:
        read: gives the counts since the pod's start.
        clock: nanoseconds that only go up, as those of the counts.
    """

    def __init__(
        self, read: Callable[[], Counts], clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._read = read
        self._clock = clock
        first = _Look(clock(), read())
        self._looks = deque([first])
        # What was counted before this process began is better than nothing, for the beginning.
        start = _Look(first.counts.began_ns, first.counts.nothing())
        self._earlier = deque([start if first.at_ns - start.at_ns <= LONGEST_NS else first])

    def sample(self) -> bool:
        """Look at the counts, if it is time again; to be called a few times a second.

        Returns:
            Whether it was.
        """
        now_ns, looks, earlier = self._clock(), self._looks, self._earlier
        if now_ns - looks[-1].at_ns < BETWEEN_NS:
            return False
        looks.append(_Look(now_ns, self._read()))
        while len(looks) > 2 and now_ns - looks[1].at_ns >= LATELY_NS:
            gone = looks.popleft()
            if gone.at_ns - earlier[-1].at_ns >= EARLIER_NS:
                earlier.append(gone)
        while len(earlier) > 1 and now_ns - earlier[1].at_ns >= LONGEST_NS:
            earlier.popleft()
        return True

    @property
    def latest(self) -> Counts:
        """Since the pod's start, as of the last look."""
        return self._looks[-1].counts

    def lately(self) -> Span:
        """The last ten seconds, as of the last look."""
        return self._looks[0].until(self._looks[-1])

    def telling(self) -> Span:
        """The same, and what was before if there are too few images to tell anything by."""
        last = self._looks[-1]
        begins = (self._looks[0], *reversed(self._earlier))
        enough = (look for look in begins if last.images - look.images >= TELLING)
        return next(enough, begins[-1]).until(last)

    def busy_ratios(self) -> list[float]:
        """The share of the last ten seconds in which each instance's device ran batches, 0 to 1.

        A batch counts when it ends, so a long one may come in late and is cut to 1.
        """
        lately = self.lately()
        return [min(1.0, ns / 1e9 / lately.seconds) for ns in lately.counts.busy_ns()]
