"""An open loop: requests leave at times fixed beforehand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from loadgen.answers import Judge
from loadgen.exchange import Exchange
from loadgen.fleet import Fleet
from loadgen.loop import Loop
from loadgen.requests import Request
from loadgen.tally import Window
from loadgen.timer import Timer


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
