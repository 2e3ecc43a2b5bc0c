"""An open loop: requests leave at times fixed beforehand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from loadgen.answers import Judge
from loadgen.exchange import Exchange
from loadgen.fleet import Fleet
from loadgen.loop import Loop
from loadgen.requests import Request
from loadgen.tally import Window
from loadgen.timer import Timer

BURST = 1000  # sent between two looks at the answers, so that a late loop still reads them
# What a server that does not answer can pile up here: some 60 MB of requests on their way.
MOST_IN_FLIGHT = 200_000


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
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        super().__init__(fleet, requests, judge, window, first=first, limit=limit)
        self._times_ns = times_ns
        self._due_ns = next(times_ns)
        self._turn = first
        self._most = most_in_flight
        self._timer = Timer(self._wake)

    def _begin(self) -> None:
        self._timer.set(self._due_ns)

    def _halt(self) -> None:
        super()._halt()
        self._timer.close()

    async def _catch_up(self) -> None:
        """The event loop may have been late at the end of the window: what was due leaves now."""
        while self._send_due():  # noqa: ASYNC110 (nothing to wait for: it only lets others run)
            await asyncio.sleep(0)

    def _wake(self) -> None:
        self._send_due()
        if not self.stopping:
            self._timer.set(self._due_ns)

    def _send_due(self) -> bool:
        """Send those whose time has come, a burst at most; whether more of them are left."""
        now_ns = time.monotonic_ns()
        for _ in range(BURST):
            if self.stopping or self._due_ns > now_ns or self._due_ns >= self._window.end_ns:
                return False
            self._send_next(now_ns)
        return True

    def _send_next(self, now_ns: int) -> None:
        due_ns, self._due_ns = self._due_ns, next(self._times_ns)
        if self.in_flight >= self._most:
            self.unsent += due_ns >= self._window.start_ns
            return
        if not self._take(due_ns):
            return
        self._late(now_ns - due_ns)
        pools = self._fleet.pools
        pool = pools[self._turn % len(pools)]
        self._turn += 1
        pool.send(Exchange(pool, self._next_request(pool), due_ns, self._count))
