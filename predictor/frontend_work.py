"""What a frontend's threads spend on images, by the clocks that the kernel has for each thread.

Nothing is measured per image: the clocks are read a few times a second, and what they have gone on
is shared out among the versions by the images that were answered meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Protocol

from predictor.counts import Work
from predictor.statistics import RequestCounts

IDLE_WEIGHT = 1 / 4  # of a new interval without images
UPKEEP = ("loop_ns", "other_ns")  # what goes on without images as well: timers, probes, scrapes
SIGNS = ("pool_images", "here_images", "connections_ns")  # that there are images after all


class Pool(Protocol):
    """The decode threads, as far as their work is concerned."""

    decoded: int
    decoded_here: int
    here_ns: int

    def cpu_ns(self) -> int:
        """CPU time of the threads so far."""


class Clocks:
    """What this process has done since its start, by its threads' clocks.

    Args:
        pool: its decode threads.
        connections: how many of them have a request under way, and an answer not yet taken.
    """

    def __init__(self, pool: Pool, connections: Callable[[], tuple[int, int]]) -> None:
        self._pool = pool
        self._connections = connections
        self._looked_ns = time.monotonic_ns()
        self._connections_ns = self._untaken_ns = 0

    def read(self) -> Work:
        """All of it; to be called on the event loop, whose clock it reads."""
        now_ns = time.monotonic_ns()
        under_way, untaken = self._connections()
        self._connections_ns += under_way * (now_ns - self._looked_ns)
        self._untaken_ns += untaken * (now_ns - self._looked_ns)
        self._looked_ns = now_ns
        loop_ns, pool_ns = time.thread_time_ns(), self._pool.cpu_ns()
        return Work(
            loop_ns=loop_ns,
            pool_ns=pool_ns,
            other_ns=time.process_time_ns() - loop_ns - pool_ns,
            pool_images=self._pool.decoded,
            here_images=self._pool.decoded_here,
            here_ns=self._pool.here_ns,
            connections_ns=self._connections_ns,
            untaken_ns=self._untaken_ns,
        )


class FrontendWork:
    """Reads one frontend's clocks.

    Args:
        read: everything that this process has done since its start, ``images`` left out.
    """

    def __init__(self, read: Callable[[], Work]) -> None:
        self._read = read
        self._before = read()
        self._images: dict[RequestCounts, int] = {}  # as they stood at the last look
        self._upkeep = dict.fromkeys(UPKEEP, 0.0)  # of one interval

    def share_out(self, versions: Iterable[RequestCounts]) -> None:
        """Count what was done since the last look to the versions whose images were answered."""
        now, before = self._read(), self._before
        done = {name: getattr(now, name) - getattr(before, name) for name in NAMES}
        answered = {counts: counts.images - self._known(counts) for counts in versions}
        self._images = {counts: counts.images for counts in answered}
        whole = sum(answered.values())
        if whole == 0:  # what is done meanwhile is counted with the images that it is done for
            if not any(done[name] for name in SIGNS):
                self._before = now
                for name in UPKEEP:
                    self._upkeep[name] += IDLE_WEIGHT * (done[name] - self._upkeep[name])
            return
        self._before = now
        for name in UPKEEP:
            done[name] = max(0, done[name] - round(self._upkeep[name]))
        for counts, images in answered.items():
            counts.worked(Work(**{name: ns * images // whole for name, ns in done.items()}))

    def _known(self, counts: RequestCounts) -> int:
        return self._images.get(counts, counts.images)


NAMES = tuple(field.name for field in fields(Work) if field.name != "images")


def thread_clock(ident: int | None) -> Callable[[], int]:
    """The CPU time of a thread that has been started, in ns."""
    if ident is None:
        raise ValueError("the thread has not been started")
    clock = time.pthread_getcpuclockid(ident)
    return lambda: time.clock_gettime_ns(clock)
