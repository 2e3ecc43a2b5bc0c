"""The two ways in which requests leave: as answers come, or at times fixed beforehand."""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence

from loadgen.answers import UNJUDGED, Judge
from loadgen.exchange import Answer, Exchange, Pool
from loadgen.fleet import Fleet
from loadgen.histogram import Histogram
from loadgen.requests import Request
from loadgen.tally import Counted, Tally, Window, together
from loadgen.timer import Timer

PAUSE_S = 0.1  # before a lane tries a server again that was not there: else it would only spin
BEAT_S = 0.01  # how often a closed loop looks how late its event loop is
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


class ClosedLoop(Loop):
    """``lanes`` requests in flight at every endpoint, so that a slow one keeps no other waiting."""

    def __init__(
        self,
        fleet: Fleet,
        requests: Sequence[Request],
        judge: Judge,
        window: Window,
        lanes: int,
        *,
        first: int = 0,
        limit: int = 0,
    ) -> None:
        super().__init__(fleet, requests, judge, window, first=first, limit=limit)
        self._lanes = lanes
        self._gone: set[Pool] = set()
        self._loop = asyncio.get_running_loop()

    def _begin(self) -> None:
        self._fleet.added = self._add
        self._fleet.removed = self._gone.add
        for pool in self._fleet.pools:
            self._add(pool)
        self._beat(time.monotonic_ns())

    def _add(self, pool: Pool) -> None:
        for _ in range(self._lanes):
            self._send(Exchange(pool, self._first, 0, self._answered))

    def _send(self, exchange: Exchange) -> None:
        now_ns = time.monotonic_ns()
        if exchange.pool not in self._gone and self._take(now_ns):
            exchange.request = next(self._requests)
            exchange.intended_ns = now_ns
            exchange.pool.send(exchange)

    def _answered(self, exchange: Exchange, answer: Answer) -> None:
        self._count(exchange, answer)
        if answer.lost:
            self._loop.call_later(PAUSE_S, self._send, exchange)
        else:
            self._send(exchange)

    def _beat(self, due_ns: int) -> None:
        now_ns = time.monotonic_ns()
        self._late(now_ns - due_ns)
        if not self.stopping:
            self._loop.call_later(BEAT_S, self._beat, now_ns + round(BEAT_S * 1e9))


class OpenLoop(Loop):
    """Requests leave at their times, to the endpoints in turn."""

    def __init__(
        self,
        fleet: Fleet,
        requests: Sequence[Request],
        judge: Judge,
        window: Window,
        times_ns: Iterator[int],
        *,
        first: int = 0,
        limit: int = 0,
    ) -> None:
        super().__init__(fleet, requests, judge, window, first=first, limit=limit)
        self._times_ns = times_ns
        self._due_ns = next(times_ns)
        self._turn = first
        self._timer = Timer(self._send_due)

    def _begin(self) -> None:
        self._timer.set(self._due_ns)

    def _halt(self) -> None:
        super()._halt()
        self._timer.close()

    def _send_due(self) -> None:
        """All whose time has come: a late event loop sends them late, and never leaves one out."""
        now_ns = time.monotonic_ns()
        pools = self._fleet.pools
        while self._due_ns <= now_ns and self._due_ns < self._window.end_ns:
            if not self._take(self._due_ns):
                return
            self._late(now_ns - self._due_ns)
            pool = pools[self._turn % len(pools)]
            self._turn += 1
            pool.send(Exchange(pool, next(self._requests), self._due_ns, self._count))
            self._due_ns = next(self._times_ns)
        if not self.stopping:
            self._timer.set(self._due_ns)


def _nothing(_pool: Pool) -> None:
    """Nobody listens."""
