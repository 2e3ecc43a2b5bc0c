"""The endpoints there are at the moment, each with a pool of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from loadgen.endpoint import Endpoint, Resolve, Source, resolve
from loadgen.errors import LoadError
from loadgen.exchange import Pool


def _nothing(_pool: Pool) -> None:
    """Nobody listens yet."""


class Fleet:
    """Follows what names stand for: a new address gets a pool, one that is gone is drained.

    Attributes:
        added: called with each pool that comes.
        removed: called with each pool that goes, before it is drained.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        make: Callable[[Endpoint], Pool],
        *,
        every_s: float = 5.0,
        drain_s: float = 30.0,
        resolve: Resolve = resolve,
    ) -> None:
        self.added: Callable[[Pool], object] = _nothing
        self.removed: Callable[[Pool], None] = _nothing
        self._sources = sources
        self._make = make
        self._every_s = every_s
        self._drain_s = drain_s
        self._resolve = resolve
        self._pools: dict[Endpoint, Pool] = {}
        self._known: dict[Source, tuple[Endpoint, ...]] = {}
        self._following: asyncio.Task[None] | None = None
        self._draining: dict[asyncio.Task[None], Pool] = {}

    @property
    def pools(self) -> list[Pool]:
        """Of the endpoints that there are now."""
        return list(self._pools.values())

    async def start(self) -> None:
        """Resolve all, and keep on doing so.

        Raises:
            LoadError: a name has no address.
        """
        for source in self._sources:
            try:
                await self._ask(source)
            except OSError as error:
                raise LoadError(
                    f"{source.endpoint.host} has no address: {error.strerror or error}"
                ) from None
        self._apply()
        if any(source.resolved for source in self._sources):
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def refresh(self) -> None:
        """Resolve once more; a name that cannot be resolved now keeps the addresses it had."""
        for source in self._sources:
            if source.resolved:
                try:
                    await self._ask(source)
                except OSError:
                    continue  # a resolver's hiccup must not end a load; no pod is lost by it
        self._apply()

    async def close(self) -> None:
        """Close every pool."""
        tasks = [task for task in (self._following, *self._draining) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        self._pools.clear()

    async def end_exchanges(self) -> None:
        """End what is in flight, at endpoints that are gone as well; the pools stay."""
        pools = (*self._pools.values(), *self._draining.values())
        await asyncio.gather(*(pool.end_exchanges() for pool in pools))

    async def _ask(self, source: Source) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, source.addresses, self._resolve)
        if not found:
            raise OSError(f"{source.endpoint.host} stands for no address")
        self._known[source] = found

    def _apply(self) -> None:
        wanted = dict.fromkeys(point for points in self._known.values() for point in points)
        for gone in [point for point in self._pools if point not in wanted]:
            pool = self._pools.pop(gone)
            self.removed(pool)
            task = asyncio.get_running_loop().create_task(self._drain(pool))
            self._draining[task] = pool
            task.add_done_callback(self._draining.pop)
        for new in [point for point in wanted if point not in self._pools]:
            self._pools[new] = self._make(new)
            self.added(self._pools[new])

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.refresh()

    async def _drain(self, pool: Pool) -> None:
        """Nothing more is sent there; what is in flight has its time to be answered."""
        try:
            await asyncio.sleep(self._drain_s)
        finally:
            await pool.close()
