"""HTTP/1.1 connections to one endpoint: kept alive, opened when none is idle."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from functools import partial

from loadgen.endpoint import Endpoint
from loadgen.exchange import Answer, Exchange
from loadgen.http_connection import Connection
from loadgen.requests import Request

MOST_CONNECTIONS = 1000  # below the usual limit of 1024 open files
SWEEPS_PER_TIMEOUT = 50  # how finely timeouts are kept


class HttpPool:
    """Sends each exchange on a connection of its own.

    Exchanges wait when ``most`` connections are busy. Each has ``timeout_s`` in all, for waiting,
    for a new connection and for its answer, so there are never more of them than that time's
    arrivals.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float, most: int = 0) -> None:
        self._endpoint = endpoint
        self._timeout_ns = round(timeout_s * 1e9)
        self._most = most or MOST_CONNECTIONS
        self._tls = ssl.create_default_context() if endpoint.scheme == "https" else None
        self._heads: dict[Request, bytes] = {}
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[Exchange] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sweep_s = min(timeout_s / SWEEPS_PER_TIMEOUT, 0.25)
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)

    @property
    def endpoint(self) -> Endpoint:
        """Where its connections lead."""
        return self._endpoint

    def send(self, exchange: Exchange) -> None:
        """On an idle connection, the one used last, or on a new one, or as soon as one is free."""
        exchange.sent_ns = 0
        exchange.asked_ns = time.monotonic_ns()
        self._place(exchange)

    def widen(self, lanes: int) -> int:
        """Have room for at least so many at a time, so that none waits for another's answer."""
        self._most = max(self._most, lanes)
        return lanes

    def _place(self, exchange: Exchange) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.send(exchange, self._head(exchange.request))
                return
        if len(self._connections) + len(self._opening) < self._most:
            task = self._loop.create_task(self._open(exchange))
            self._opening.add(task)
            task.add_done_callback(partial(self._opened, exchange))
        else:
            self._waiting.append(exchange)

    def free(self, connection: Connection) -> None:
        """Take back a connection whose exchange has been answered."""
        if self._waiting:
            waiting = self._waiting.popleft()
            connection.send(waiting, self._head(waiting.request))
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Give up a connection that is closed; whoever waits gets a new one."""
        self._connections.discard(connection)
        self._place_waiting()

    async def end_exchanges(self) -> None:
        """End what is in flight, as ``closed``; connections that carry nothing stay open."""
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.finish(exchange, Answer.none("closed"))
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in list(self._connections):
            if connection.busy_since_ns:
                connection.end("closed")

    async def close(self) -> None:
        """Close all connections; what is in flight ends as ``closed``."""
        self._sweeping.cancel()
        await self.end_exchanges()
        for connection in list(self._connections):
            connection.end("closed")

    async def _open(self, exchange: Exchange) -> None:
        where = self._endpoint
        left_ns = exchange.asked_ns + self._timeout_ns - time.monotonic_ns()
        try:
            async with asyncio.timeout(left_ns / 1e9):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self),
                    where.address,
                    where.port,
                    ssl=self._tls,
                    server_hostname=where.host if self._tls else None,
                )
        except TimeoutError:
            exchange.finish(exchange, Answer.none("timeout"))
        except ConnectionRefusedError:
            exchange.finish(exchange, Answer.none("refused"))
        except (OSError, UnicodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            exchange.finish(exchange, Answer.none(f"unreachable ({reason})"))
        else:
            self._begin(connection, exchange)

    def _begin(self, connection: Connection, exchange: Exchange) -> None:
        """The first exchange of a new connection, which may be closed already."""
        if connection.usable:
            self._connections.add(connection)
            connection.send(exchange, self._head(exchange.request))
        else:
            exchange.finish(exchange, Answer.none("closed"))

    def _opened(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """A failure leaves room for another try: those who wait need not wait for their timeout."""
        self._opening.discard(task)
        if task.cancelled():  # perhaps before its first step, so it cannot say so itself
            exchange.finish(exchange, Answer.none("closed"))
        self._place_waiting()

    def _place_waiting(self) -> None:
        """Give what waits the room there is."""
        if self._waiting and len(self._connections) + len(self._opening) < self._most:
            self._place(self._waiting.popleft())

    def _head(self, request: Request) -> bytes:
        head = self._heads.get(request)
        if head is None:
            head = self._heads[request] = request.head(self._endpoint.authority)
        return head

    def _sweep(self) -> None:
        """End what takes too long; one timer for all is cheaper than one for each."""
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)
        late_ns = time.monotonic_ns() - self._timeout_ns
        while self._waiting and self._waiting[0].asked_ns < late_ns:
            exchange = self._waiting.popleft()
            exchange.finish(exchange, Answer.none("timeout"))
        for connection in list(self._connections):
            if connection.busy_since_ns and connection.busy_since_ns < late_ns:
                connection.end("timeout")
