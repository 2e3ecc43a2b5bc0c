"""One thread for parsing that would hold up everybody else on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Parsed = TypeVar("Parsed")


class Aside:
    """Parses one large request at a time.

    One, and not one per core: as Python objects a body takes many times its size, and a client that
    leaves does not end the parsing that it began.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parse")

    async def parse(self, work: Callable[[], Parsed]) -> Parsed:
        """What ``work`` gives, or raises, when its turn has come."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Let the thread end; nothing more will come."""
        self._thread.shutdown(wait=False, cancel_futures=True)
