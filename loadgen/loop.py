"""What the two ways of sending share: when they end, and what they count."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence

from loadgen.answers import UNJUDGED, Judge
from loadgen.cpu import CpuClock
from loadgen.errors import LoadError
from loadgen.exchange import Answer, Exchange, Pool
from loadgen.fleet import Fleet
from loadgen.histogram import Histogram
from loadgen.requests import Request
from loadgen.tally import Counted, Tally, Window, together

SAMPLED = 2000  # latencies kept for each look at the progress


class Loop(ABC):
    """Sends until the window ends, or ``limit`` measured requests are sent, or it is stopped.

    Attributes:
        stopping: whether nothing more is sent.
        in_flight: sent and not answered.
        answered: measured requests that were.
        failed: those of them that were not answered well.
        unsent: measured requests that were due and never left, since too many were on their way.
        unanswered: measured requests that were ended since nobody wanted to wait any longer.
        cut: whether the measured time was ended early.
        recent_us: latencies since somebody last looked and cleared it, the first ``SAMPLED``.
        lag: microseconds by which the event loop came too late.
        cpu: how busy this process was in the measured time.
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
        self.unsent = 0
        self.unanswered = 0
        self.cut = False
        self.recent_us: list[int] = []
        self.lag = Histogram()
        self.cpu = CpuClock()
        self._tallies: dict[Pool, Tally] = defaultdict(lambda: Tally(window))
        self._fleet = fleet
        self._requests = requests
        self._first = first % len(requests)
        self._turns: dict[Pool, Iterator[Request]] = {}
        self._judge = judge
        self._window = window
        self._left = limit or -1  # measured requests still to be sent; below 0: no such limit
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self._given_up = False
        self._refusal: LoadError | None = None
        self.stopping = False
        self._lags_us: list[int] = []

    def stop(self) -> None:
        """Measure no longer, and send nothing but what was due by now.

        Once the measured time is over or all is sent, end what is in flight instead.
        """
        now_ns = time.monotonic_ns()
        if self.stopping or self._left == 0 or now_ns >= self._window.end_ns:
            self._given_up = True
            self._idle.set()
        else:
            self.cut = True
            self._window.end_ns = now_ns
        self._ending.set()

    def counted(self) -> dict[str, Counted]:
        """What was seen, by endpoint; one that went and came back had two pools."""
        parts: dict[str, list[Counted]] = {str(pool.endpoint): [] for pool in self._fleet.pools}
        for pool, tally in self._tallies.items():
            parts.setdefault(str(pool.endpoint), []).append(tally.counted())
        return {name: together(seen) for name, seen in parts.items()}

    async def run(self) -> int:
        """From the first request to the last answer; when the measured time ended, monotonic.

        Raises:
            LoadError: it cannot go on.
        """
        event_loop = asyncio.get_running_loop()
        warm_s = (self._window.start_ns - time.monotonic_ns()) / 1e9
        starting = event_loop.call_later(max(warm_s, 0.0), self.cpu.start)
        self._begin()
        try:
            await self._until_end()
            await self._catch_up()
        finally:
            starting.cancel()
            self._halt()
            self._fleet.added = self._fleet.removed = _nothing
        if self._refusal is not None:
            raise self._refusal
        if self.in_flight:
            await self._idle.wait()
        if self._given_up:
            await self._fleet.end_exchanges()
        if self._left == 0:  # all were sent: the time ends with the last answer
            self._window.end_ns = min(self._window.end_ns, time.monotonic_ns())
        self.lag.record(self._lags_us)
        return self._window.end_ns

    async def _until_end(self) -> None:
        """The window's end, or when it is to stop; event loops' timers may come too early."""
        while not self._ending.is_set():
            left_ns = self._window.end_ns - time.monotonic_ns()
            if left_ns <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_ns / 1e9):
                    await self._ending.wait()

    @abstractmethod
    def _begin(self) -> None:
        """Send the first requests."""

    async def _catch_up(self) -> None:  # noqa: B027 (a closed loop has nothing to catch up on)
        """Send what was due before the window's end and has not left yet."""

    def _refuse(self, error: LoadError) -> None:
        """End it for good; what comes from the event loop can raise nothing that is heard."""
        self._refusal = self._refusal or error
        self._ending.set()

    def _halt(self) -> None:
        """Send nothing more; awaiting what is in flight costs this process next to nothing."""
        self.stopping = True
        self.cpu.stop()
        self._ending.set()

    def _next_request(self, pool: Pool) -> Request:
        """Every endpoint sees all of them in turn, whatever the others are sent."""
        if pool not in self._turns:
            turn = itertools.cycle(self._requests)
            self._turns[pool] = itertools.islice(turn, self._first, None)
        return next(self._turns[pool])

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
        if self._given_up:
            self.unanswered += self._window.start_ns <= exchange.intended_ns < self._window.end_ns
        else:
            self._tally(exchange, answer)
        self.in_flight -= 1
        if not self.in_flight and self.stopping:
            self._idle.set()

    def _tally(self, exchange: Exchange, answer: Answer) -> None:
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


def _nothing(_pool: Pool) -> None:
    """Nobody listens."""
