"""gRPC channels to one endpoint; messages go through as bytes, made before and read after."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc

from loadgen.endpoint import Endpoint
from loadgen.exchange import Answer, Exchange
from loadgen.inference import INFER

CHANNELS = 8  # a server spreads connections, not calls, over its processes
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels would share one connection
)


class GrpcPool:
    """Sends exchanges over a few channels in turn; a channel carries any number at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_s: float,
        most: int = 0,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._metadata = tuple((name.lower(), value) for name, value in headers)
        target = str(endpoint).removeprefix("grpc://")
        options = (*OPTIONS, ("grpc.default_authority", endpoint.authority))
        self._channels = [
            grpc.aio.insecure_channel(target, options) for _ in range(most or CHANNELS)
        ]
        self._calls: itertools.cycle[Any] = itertools.cycle(
            [channel.unary_unary(INFER) for channel in self._channels]
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def endpoint(self) -> Endpoint:
        """Where its channels lead."""
        return self._endpoint

    def send(self, exchange: Exchange) -> None:
        """On the next channel."""
        exchange.asked_ns = time.monotonic_ns()
        task = self._loop.create_task(self._call(exchange))
        self._tasks.add(task)
        task.add_done_callback(partial(self._called, exchange))

    def widen(self, lanes: int) -> int:
        """A channel carries any number of calls, so no more are needed than there are."""
        return len(self._channels)

    async def end_exchanges(self) -> None:
        """Cancel all calls, which end as ``closed``; the channels stay open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close all channels; what is in flight ends as ``closed``."""
        await self.end_exchanges()
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def _called(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():  # perhaps before its first step, so it cannot say so itself
            exchange.finish(exchange, Answer.none("closed"))

    async def _call(self, exchange: Exchange) -> None:
        call = next(self._calls)
        exchange.sent_ns = time.monotonic_ns()
        try:
            body = await call(
                exchange.request.body, timeout=self._timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            code = error.code()
            lost = code == grpc.StatusCode.UNAVAILABLE
            exchange.finish(exchange, Answer(code.name, good=False, lost=lost, body=b""))
        except grpc.aio.BaseError as error:
            exchange.finish(exchange, Answer.none(f"unreachable ({error})"))
        else:
            exchange.finish(exchange, Answer("OK", good=True, lost=False, body=body))
