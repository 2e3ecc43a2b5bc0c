"""Ends the processes of a pod that hang or never get ready; others then replace them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from predictor.child import Child

logger = logging.getLogger(__name__)

LOOK_S = 0.25


class Watchdog:
    """Looks at every child's signs of life a few times a second.

    Args:
        children: gives all there are.
        hang_timeout_s: how long a process may give no sign of life.
        startup_timeout_s: how long a successor has to get ready; the first process in a place is
            waited for by whoever started it.
        clock: CLOCK_MONOTONIC ns.
    """

    def __init__(
        self,
        children: Callable[[], Iterable[Child]],
        hang_timeout_s: float,
        startup_timeout_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._children = children
        self._hang_ns = int(hang_timeout_s * 1e9)
        self._startup_ns = int(startup_timeout_s * 1e9)
        self._clock = clock
        self._looked_ns = self._awake_since_ns = clock()

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """End whoever hangs now."""
        now_ns = self._clock()
        if now_ns - self._looked_ns > 4 * LOOK_S * 1e9:
            # The whole pod, or the machine, stood still: nobody could give a sign of life.
            self._awake_since_ns = now_ns
        self._looked_ns = now_ns
        for child in self._children():
            if child.running and (reason := self._hangs(child, now_ns)):
                child.failure = reason
                logger.warning("%s %s; killing it", child.name, reason)
                child.kill()

    def _hangs(self, child: Child, now_ns: int) -> str:
        """Why a child is to be ended; empty if it is well."""
        if not child.ready.is_set():
            late = now_ns - max(child.spawned_ns, self._awake_since_ns) > self._startup_ns
            return "did not get ready in time" if late and not child.starting else ""
        if child.pulse is None:
            return ""
        silent_ns = now_ns - max(child.pulse.beat_ns, self._awake_since_ns)
        if silent_ns > self._hang_ns:
            return f"has given no sign of life for {silent_ns / 1e9:.1f} s"
        due_ns = child.pulse.due_ns
        if due_ns and now_ns > max(due_ns, self._awake_since_ns + self._hang_ns):
            return "hangs in a batch"
        return ""
