"""HTTP/1.1 connections to one endpoint: kept alive, opened when none is idle."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque

from loadgen.endpoint import Endpoint
from loadgen.exchange import Answer, Exchange
from loadgen.http_connection import Connection
from loadgen.requests import Request

MOST_CONNECTIONS = 1000  # below the usual limit of 1024 open files
SWEEPS_PER_TIMEOUT = 50  # how finely timeouts are kept


class HttpPool:
    """Sends each exchange on a connection of its own.

    Exchanges wait when ``most`` connections are busy; each waits at most ``timeout_s``, so there
    are never more of them than that time's arrivals.
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
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.send(exchange, self._head(exchange.request))
                return
        if len(self._connections) + len(self._opening) < self._most:
            task = self._loop.create_task(self._open(exchange))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
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
        if self._waiting:
            self.send(self._waiting.popleft())

    async def close(self) -> None:
        """Close all connections; what is in flight ends as ``closed``."""
        self._sweeping.cancel()
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.finish(exchange, Answer.none("closed"))
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in list(self._connections):
            connection.end("closed")

    async def _open(self, exchange: Exchange) -> None:
        where = self._endpoint
        try:
            async with asyncio.timeout(self._timeout_ns / 1e9):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self),
                    where.address,
                    where.port,
                    ssl=self._tls,
                    server_hostname=where.host if self._tls else None,
                )
        except asyncio.CancelledError:
            exchange.finish(exchange, Answer.none("closed"))
            raise
        except TimeoutError:
            exchange.finish(exchange, Answer.none("timeout"))
        except ConnectionRefusedError:
            exchange.finish(exchange, Answer.none("refused"))
        except OSError as error:
            exchange.finish(exchange, Answer.none(f"unreachable ({error.strerror or error})"))
        else:
            self._connections.add(connection)
            connection.send(exchange, self._head(exchange.request))

    def _head(self, request: Request) -> bytes:
        head = self._heads.get(request)
        if head is None:
            head = self._heads[request] = request.head(self._endpoint.authority)
        return head

    def _sweep(self) -> None:
        """End what takes too long; one timer for all is cheaper than one for each."""
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)
        late_ns = time.monotonic_ns() - self._timeout_ns
        for connection in list(self._connections):
            if connection.busy_since_ns and connection.busy_since_ns < late_ns:
                connection.end("timeout")
        while self._waiting and self._waiting[0].intended_ns < late_ns:
            exchange = self._waiting.popleft()
            exchange.finish(exchange, Answer.none("timeout"))
