"""A closed loop: the next request leaves when one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from loadgen.answers import Judge
from loadgen.connections import require_files
from loadgen.errors import LoadError
from loadgen.exchange import Answer, Exchange, Pool
from loadgen.fleet import Fleet
from loadgen.loop import Loop
from loadgen.requests import Request
from loadgen.tally import Window

PAUSE_S = 0.1  # before a lane tries a server again that was not there: else it would only spin
BEAT_S = 0.05  # how often it looks how late its event loop is


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
        self._connections: dict[Pool, int] = {}  # that each of them needs
        self._loop = asyncio.get_running_loop()

    def _begin(self) -> None:
        self._fleet.added = self._add
        self._fleet.removed = self._remove
        for pool in self._fleet.pools:
            self._add(pool)
        self._beat(time.monotonic_ns())

    def _add(self, pool: Pool) -> None:
        """Start its lanes, unless they need more files than there are: that ends it all."""
        self._connections[pool] = pool.widen(self._lanes)
        try:
            require_files(list(self._connections.values()))
        except LoadError as error:
            self._refuse(error)
            return
        for _ in range(self._lanes):
            self._send(Exchange(pool, self._requests[0], 0, self._answered))

    def _remove(self, pool: Pool) -> None:
        self._gone.add(pool)
        self._connections.pop(pool, None)

    def _send(self, exchange: Exchange) -> None:
        now_ns = time.monotonic_ns()
        if exchange.pool not in self._gone and self._take(now_ns):
            exchange.request = self._next_request(exchange.pool)
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
