"""Sends the samples that MLPerf's LoadGen issues, and tells it when each has ended.

LoadGen's queries come in threads of its own; an event loop in one thread more sends them.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

import uvloop

from loadgen.answers import UNJUDGED, Judge
from loadgen.errors import LoadError
from loadgen.exchange import Answer, Exchange
from loadgen.fleet import Fleet
from loadgen.plan import Plan
from loadgen.pools import pool_maker
from loadgen.prepared import prepare


class Sender:
    """The system under test: an event loop in a thread, which lives as long as the context.

    Args:
        plan: where to, and what.
        loadgen: MLPerf's module.
        most: samples in flight at each endpoint; None where LoadGen itself sets the pace.

    Attributes:
        samples: that ended.
        failed: of these, by what came in place of a good answer.
        right: images answered rightly.
        judged: images of which the right answer is known.
    """

    def __init__(self, plan: Plan, loadgen: Any, most: int | None) -> None:
        self._prepared = prepare(plan)
        self._requests = {request.images[0]: request for request in self._prepared.requests}
        self._judge = Judge(plan.images, self._prepared.form)
        self._plan = plan
        self._loadgen = loadgen
        self._most = most
        self._waiting: deque[tuple[int, int]] = deque()  # LoadGen bounds it: (its id, image)
        self._in_flight = 0
        self._turn = 0
        self.samples = self.right = self.judged = 0
        self.failed: dict[str, int] = {}
        self._error: LoadError | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlperf sender")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def issue(self, samples: Sequence[Any]) -> None:
        """Take a query; called in LoadGen's threads."""
        taken = [(sample.id, sample.index) for sample in samples]
        self._loop.call_soon_threadsafe(self._take, taken)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        plan, lanes = self._plan, self._most
        make = pool_maker(self._prepared.form, plan.timeout_s, plan.connections)
        self._fleet = Fleet(self._prepared.sources, make, every_s=plan.resolve_every_s)
        try:
            if lanes is not None:
                self._fleet.added = lambda pool: pool.widen(lanes)
            await self._fleet.start()
        except LoadError as error:
            self._error = error
            return
        finally:
            self._started.set()
        await self._ending.wait()
        await self._fleet.close()

    def _take(self, samples: list[tuple[int, int]]) -> None:
        self._waiting.extend(samples)
        self._send()

    def _send(self) -> None:
        pools = self._fleet.pools
        most = math.inf if self._most is None else self._most * len(pools)
        while self._waiting and self._in_flight < most:
            identifier, image = self._waiting.popleft()
            self._in_flight += 1
            self._turn += 1
            pool = pools[self._turn % len(pools)]
            intended_ns = 0  # LoadGen keeps the time
            exchange = Exchange(pool, self._requests[image], intended_ns, self._finish(identifier))
            pool.send(exchange)

    def _finish(self, identifier: int) -> Callable[[Exchange, Answer], None]:
        def finish(exchange: Exchange, answer: Answer) -> None:
            self._count(exchange, answer)
            response = self._loadgen.QuerySampleResponse(identifier, 0, 0)
            self._loadgen.QuerySamplesComplete([response])
            self._send()

        return finish

    def _count(self, exchange: Exchange, answer: Answer) -> None:
        found = UNJUDGED
        if answer.good:
            found = self._judge.judge(exchange.request.images, answer.body)
        self._in_flight -= 1
        self.samples += 1
        self.right += found.right
        self.judged += found.judged
        failure = found.failure if answer.good else answer.status
        if failure is not None:
            self.failed[failure] = self.failed.get(failure, 0) + 1
