"""What is counted at each endpoint, in one process and over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from loadgen.answers import Verdict
from loadgen.exchange import Answer
from loadgen.histogram import Histogram, merged
from loadgen.trend import Trend, added

FLUSHED = 1000  # latencies go into the histogram so many at a time: one by one costs far more


@dataclass(slots=True)
class Window:
    """The measured time, on the monotonic clock that all processes share; it may end earlier."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What was seen at one endpoint, or at all.

    Attributes:
        in_window: good answers that came within the measured time: the throughput.
        images_in_window: images in these.
        outcomes: every measured request by how it ended: a status, or what came in its place.
        failed: those of them that were not answered well.
        right: images answered rightly.
        judged: images of which the right answer is known.
        wrong: how often each (image, answer) came.
        latency: of good answers to measured requests, since they were to leave.
        service: the same since they were written to the connection.
        trend: of ``latency``, over the measured time.
    """

    in_window: int = 0
    images_in_window: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    right: int = 0
    judged: int = 0
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    trend: Trend = field(default_factory=Trend)

    @property
    def requests(self) -> int:
        """All measured ones."""
        return self.outcomes.total()

    @property
    def failed_ratio(self) -> float:
        """The part of the measured requests that was not answered well; 1 where there were none."""
        return self.failed / self.requests if self.requests else 1.0

    @property
    def accuracy(self) -> float | None:
        """The part of the judged images that was answered rightly; None where none was judged."""
        return self.right / self.judged if self.judged else None


class Tally:
    """Counts one endpoint's answers within a window; others pass it by."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._in_window = 0
        self._images_in_window = 0
        self._outcomes: Counter[str] = Counter()
        self._failed = 0
        self._right = 0
        self._judged = 0
        self._wrong: Counter[tuple[str, str]] = Counter()
        self._latency = Histogram()
        self._service = Histogram()
        self._trend = Trend()
        self._intended_us: list[int] = []  # since the window's start
        self._latencies_us: list[int] = []
        self._services_us: list[int] = []

    def answered(
        self,
        now_ns: int,
        intended_ns: int,
        sent_ns: int,
        images: int,
        answer: Answer,
        found: Verdict,
    ) -> bool:
        """Count one answer; whether it belongs to a measured request."""
        good = answer.good and found.failure is None
        if good and self._window.start_ns <= now_ns < self._window.end_ns:
            self._in_window += 1
            self._images_in_window += images
        if not self._window.start_ns <= intended_ns < self._window.end_ns:
            return False
        self._outcomes[answer.status if found.failure is None else found.failure] += 1
        if not good:
            self._failed += 1
            return True
        if found.judged:
            self._right += found.right
            self._judged += found.judged
            self._wrong.update(found.wrong)
        self._intended_us.append((intended_ns - self._window.start_ns) // 1000)
        self._latencies_us.append((now_ns - intended_ns) // 1000)
        self._services_us.append((now_ns - sent_ns) // 1000)
        if len(self._services_us) >= FLUSHED:
            self._flush()
        return True

    def counted(self) -> Counted:
        """All of it so far."""
        self._flush()
        return Counted(
            self._in_window,
            self._images_in_window,
            self._outcomes,
            self._failed,
            self._right,
            self._judged,
            self._wrong,
            self._latency,
            self._service,
            self._trend,
        )

    def _flush(self) -> None:
        seen = Trend.of(np.divide(self._intended_us, 1e6), np.divide(self._latencies_us, 1e6))
        self._trend = added((self._trend, seen))
        self._intended_us.clear()
        self._latency.record(self._latencies_us)
        self._service.record(self._services_us)
        self._latencies_us.clear()
        self._services_us.clear()


def together(parts: Iterable[Counted]) -> Counted:
    """The sum of what several processes saw, or of several endpoints."""
    parts = list(parts)
    return Counted(
        sum(part.in_window for part in parts),
        sum(part.images_in_window for part in parts),
        sum((part.outcomes for part in parts), Counter()),
        sum(part.failed for part in parts),
        sum(part.right for part in parts),
        sum(part.judged for part in parts),
        sum((part.wrong for part in parts), Counter()),
        merged(part.latency for part in parts),
        merged(part.service for part in parts),
        added(part.trend for part in parts),
    )
