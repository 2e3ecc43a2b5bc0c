"""How busy each instance has been lately: what autoscalers and dashboards read as one number."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

WINDOW_NS = 10_000_000_000


class BusyWindow:
    """Busy time of every instance over the last ten seconds.

    Args:
        busy_ns: gives each instance's nanoseconds in batches since the pod's start.
        clock: nanoseconds that only go up.
    """

    def __init__(
        self,
        busy_ns: Callable[[], Sequence[int]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._busy_ns = busy_ns
        self._clock = clock
        self._samples: deque[tuple[int, Sequence[int]]] = deque([(clock(), busy_ns())])

    def sample(self) -> None:
        """Note where the counts stand; to be called a few times a second."""
        now_ns = self._clock()
        self._samples.append((now_ns, self._busy_ns()))
        while len(self._samples) > 2 and now_ns - self._samples[1][0] >= WINDOW_NS:
            self._samples.popleft()

    def ratios(self) -> list[float]:
        """Each instance's busy share of the window, 0 to 1.

        A batch counts when it ends, so a long one may come in late and is cut to 1.
        """
        first_ns, first = self._samples[0]
        last_ns, last = self._samples[-1]
        length_ns = max(1, last_ns - first_ns)
        return [min(1.0, (b - a) / length_ns) for a, b in zip(first, last, strict=True)]
