"""One process of the load client: an event loop that sends what it is told to.

Started as ``python -m loadgen.worker CONNECTION FILE``, two descriptors that it inherits: orders
come by the first, the requests' bodies lie in the second. A program of its own and no
multiprocessing child, so that a script that calls the client needs no ``__main__`` guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import os
import resource
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from loadgen.answers import Judge
from loadgen.arrivals import intended_ns
from loadgen.closed_loop import ClosedLoop
from loadgen.errors import LoadError
from loadgen.fleet import Fleet
from loadgen.loop import Loop
from loadgen.open_loop import OpenLoop
from loadgen.orders import Beat, Measure, Order, Ready, Refused, Result, Setup, Stop
from loadgen.plan import Closed
from loadgen.pools import pool_maker
from loadgen.requests import Request
from loadgen.tally import Window

BEAT_S = 1.0
FAULT = 70  # EX_SOFTWARE


def share(whole: int, worker: int, workers: int) -> int:
    """The part of one worker in ``whole``; parts differ by one at most."""
    return whole // workers + (worker < whole % workers)


class Worker:
    """Serves orders until the connection closes."""

    def __init__(self, connection: Connection, file: int) -> None:
        self._connection = connection
        self._file = file
        self._orders: asyncio.Queue[Order | None] = asyncio.Queue()  # the client sends one, or Stop
        self._loop: Loop | None = None

    async def serve(self) -> None:
        """Set up, measure as often as asked, close."""
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._read)
        setup = await self._orders.get()
        if not isinstance(setup, Setup):
            return
        fleet = Fleet(
            setup.sources,
            pool_maker(setup.form, setup.timeout_s, setup.connections),
            every_s=setup.resolve_every_s,
            drain_s=setup.timeout_s,
        )
        try:
            await fleet.start()
            requests = _requests(setup, self._file)
            gc.collect()
            gc.freeze()  # what is there stays: looking through it again would stop the loop
            self._connection.send(Ready())
            while isinstance(order := await self._orders.get(), Measure | Stop):
                if isinstance(order, Measure):
                    result = await self._measure(order, fleet, requests, setup)
                    self._connection.send(result)
        except LoadError as error:
            self._connection.send(Refused(str(error)))
        except BrokenPipeError:
            return  # the client has gone, and wants no answer
        finally:
            await fleet.close()

    def _read(self) -> None:
        try:
            order: Order = self._connection.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            if self._loop is not None:
                self._loop.stop()
            self._orders.put_nowait(None)
            return
        if isinstance(order, Stop):
            if self._loop is not None:
                self._loop.stop()
        else:
            self._orders.put_nowait(order)

    async def _measure(
        self, order: Measure, fleet: Fleet, requests: tuple[Request, ...], setup: Setup
    ) -> Result:
        loop = _loop(order, fleet, requests, Judge(setup.images, setup.form))
        self._loop = loop
        beats = asyncio.create_task(self._beat(loop, fleet))
        try:
            # The loop's timers may wake it too early, so it looks again.
            while (early_ns := order.begin_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110 (a time)
                await asyncio.sleep(early_ns / 1e9)
            end_ns = await loop.run()
        finally:
            self._loop = None
            beats.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beats
        return Result(
            loop.counted(), end_ns, loop.unsent, loop.cut, loop.unanswered, loop.cpu.ratio, loop.lag
        )

    async def _beat(self, loop: Loop, fleet: Fleet) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            recent_us = tuple(loop.recent_us)
            loop.recent_us.clear()
            beat = Beat(loop.answered, loop.failed, loop.in_flight, len(fleet.pools), recent_us)
            self._connection.send(beat)


def _requests(setup: Setup, file: int) -> tuple[Request, ...]:
    """The bodies stay in the file's pages, which all workers share; gRPC takes only bytes."""
    whole = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
    return tuple(
        Request(
            stored.images,
            stored.start,
            stored.headers,
            bytes(body) if setup.form.protocol == "grpc" else body,
        )
        for stored in setup.requests
        for body in [whole[stored.offset : stored.offset + stored.length]]
    )


def _loop(order: Measure, fleet: Fleet, requests: tuple[Request, ...], judge: Judge) -> Loop:
    window = Window(order.start_ns, order.end_ns)
    first = order.worker * len(requests) // order.workers
    if isinstance(order.load, Closed):
        lanes = share(order.load.concurrency, order.worker, order.workers)
        return ClosedLoop(fleet, requests, judge, window, lanes, first=first, limit=order.limit)
    times_ns = (
        order.begin_ns + offset_ns
        for offset_ns in intended_ns(
            order.load.arrival,
            order.load.rate,
            worker=order.worker,
            workers=order.workers,
            seed=order.seed,
        )
    )
    return OpenLoop(fleet, requests, judge, window, times_ns, first=first, limit=order.limit)


def _fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A callback that failed may have left an exchange unfinished: no figure would be right."""
    if isinstance(context.get("exception"), BlockingIOError):
        return  # gRPC's poller looks once too often where loops share it; nothing is lost
    loop.default_exception_handler(context)
    os._exit(FAULT)


def main(connection: int, file: int) -> None:
    """Run one worker."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # many endpoints are many connections
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(_fault)
        runner.run(Worker(Connection(connection), file).serve())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
