"""What the two ways of sending share: when they end, and what they count."""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence

from loadgen.answers import UNJUDGED, Judge
from loadgen.exchange import Answer, Exchange, Pool
from loadgen.fleet import Fleet
from loadgen.histogram import Histogram
from loadgen.requests import Request
from loadgen.tally import Counted, Tally, Window, together

SAMPLED = 2000  # latencies kept for each look at the progress


class Loop(ABC):
    """Sends until the window ends, or ``limit`` measured requests are sent, or it is stopped.

    Attributes:
        in_flight: sent and not answered.
        answered: measured requests that were.
        failed: those of them that were not answered well.
        recent_us: latencies since somebody last looked and cleared it, the first ``SAMPLED``.
        lag: microseconds by which the event loop came too late.
    """

    def __init__(
        self,
        fleet: Fleet,
        requests: Sequence[Request],
        judge: Judge,
        window: Window,
        *,
        first: int = 0,
        limit: int = 0,
    ) -> None:
        self.in_flight = 0
        self.answered = 0
        self.failed = 0
        self.recent_us: list[int] = []
        self.lag = Histogram()
        self._tallies: dict[Pool, Tally] = defaultdict(lambda: Tally(window))
        self._fleet = fleet
        self._requests = itertools.islice(itertools.cycle(requests), first % len(requests), None)
        self._first = requests[0]
        self._judge = judge
        self._window = window
        self._left = limit or -1  # measured requests still to be sent; below 0: no such limit
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._lags_us: list[int] = []

    @property
    def stopping(self) -> bool:
        """Whether nothing more is sent."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Send nothing more, and measure no longer."""
        if not self.stopping:
            self._window.end_ns = min(self._window.end_ns, time.monotonic_ns())
        self._halt()

    def counted(self) -> dict[str, Counted]:
        """What was seen, by endpoint; one that went and came back had two pools."""
        parts: dict[str, list[Counted]] = {str(pool.endpoint): [] for pool in self._fleet.pools}
        for pool, tally in self._tallies.items():
            parts.setdefault(str(pool.endpoint), []).append(tally.counted())
        return {name: together(seen) for name, seen in parts.items()}

    async def run(self) -> int:
        """From the first request to the last answer; when the measured time ended, monotonic."""
        self._begin()
        try:
            seconds = (self._window.end_ns - time.monotonic_ns()) / 1e9
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            self._halt()
        finally:
            self._fleet.added = self._fleet.removed = _nothing
        if self.in_flight:
            await self._idle.wait()
        if self._left == 0:  # all were sent: the time ends with the last answer
            self._window.end_ns = min(self._window.end_ns, time.monotonic_ns())
        self.lag.record(self._lags_us)
        return self._window.end_ns

    @abstractmethod
    def _begin(self) -> None:
        """Send the first requests."""

    def _halt(self) -> None:
        self._stopping.set()

    def _late(self, by_ns: int) -> None:
        self._lags_us.append(max(by_ns, 0) // 1000)

    def _take(self, now_ns: int) -> bool:
        """Whether one more request may leave; counts it against the limit when it is measured."""
        if self.stopping:
            return False
        if self._left >= 0 and now_ns >= self._window.start_ns:
            if self._left == 0:
                self._halt()
                return False
            self._left -= 1
        self.in_flight += 1
        return True

    def _count(self, exchange: Exchange, answer: Answer) -> None:
        now_ns = time.monotonic_ns()
        asked = exchange.request.images
        found = self._judge.judge(asked, answer.body) if answer.good else UNJUDGED
        tally = self._tallies[exchange.pool]
        sent_ns = exchange.sent_ns or exchange.intended_ns
        if tally.answered(now_ns, exchange.intended_ns, sent_ns, len(asked), answer, found):
            self.answered += 1
            if not answer.good or found.failure is not None:
                self.failed += 1
            elif len(self.recent_us) < SAMPLED:
                self.recent_us.append((now_ns - exchange.intended_ns) // 1000)
        self.in_flight -= 1
        if not self.in_flight and self.stopping:
            self._idle.set()


def _nothing(_pool: Pool) -> None:
    """Nobody listens."""
