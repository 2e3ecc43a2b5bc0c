"""One thread for parsing that would hold up everybody else on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Parsed = TypeVar("Parsed")


class Aside:
    """Parses one large request at a time.

    One, and not one per core: as Python objects a body takes many times its size. The event loop
    still has to wait where a single call into C holds the interpreter's lock; what JSON may hold is
    bounded for that.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parse")
        self._turn = asyncio.Lock()  # who waits for it holds nothing in the thread's queue

    async def parse(self, work: Callable[[], Parsed]) -> Parsed:
        """What ``work`` gives, or raises, when its turn has come.

        A request that is cancelled meanwhile is over, and its body let go, when the parsing is.
        """
        async with self._turn:
            parsing = asyncio.get_running_loop().run_in_executor(self._thread, work)
            try:
                return await asyncio.shield(parsing)
            except asyncio.CancelledError:
                await asyncio.wait([parsing])
                raise

    def close(self) -> None:
        """Let the thread end; nothing more will come."""
        self._thread.shutdown(wait=False, cancel_futures=True)
