"""What a frontend's threads spend on images, by the clocks that the kernel has for each thread.

Nothing is measured per image: the clocks are read a few times a second, and what they have gone on
is shared out among the versions by the images that were answered meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Protocol

from predictor.counts import Work
from predictor.statistics import RequestCounts

UPKEEP = ("loop_ns", "other_ns")  # what goes on without images as well: timers, probes, scrapes
INTERVALS = 60  # without images, that are remembered
LEAST_INTERVALS = 8  # before anything is known


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
        connections: how many have a request under way, and thousandths of images whose clients
            left them lying, since it was last called (see ``Readers``).
    """

    def __init__(self, pool: Pool, connections: Callable[[], tuple[int, int]]) -> None:
        self._pool = pool
        self._connections = connections
        self._looked_ns = time.monotonic_ns()
        self._connections_ns = self._untaken = 0

    def read(self) -> Work:
        """All of it; to be called on the event loop, whose clock it reads."""
        now_ns = time.monotonic_ns()
        under_way, untaken = self._connections()
        self._connections_ns += under_way * (now_ns - self._looked_ns)
        self._untaken += untaken
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
            untaken=self._untaken,
        )


class Upkeep:
    """What goes on without images, learnt while there are none.

    A median: what a process does at its start, or once for a new version, does not go on.
    """

    def __init__(self) -> None:
        self._rates = {name: deque[float](maxlen=INTERVALS) for name in UPKEEP}  # ns per ns
        self._usual = dict.fromkeys(UPKEEP, 0.0)

    def learn(self, done: Mapping[str, int], elapsed_ns: int) -> None:
        """So much was done while there were no images."""
        for name, rates in self._rates.items():
            rates.append(done[name] / elapsed_ns)
            if len(rates) >= LEAST_INTERVALS:
                self._usual[name] = statistics.median(rates)

    def less(self, name: str, done: int, elapsed_ns: int) -> int:
        """What is left for images of what was done."""
        return max(0, done - round(self._usual[name] * elapsed_ns))


class FrontendWork:
    """Reads one frontend's clocks.

    Args:
        read: everything that this process has done since its start, ``images`` left out.
        held_s: how long work waits for the images that it may be for: as long as a request may.
        clock: nanoseconds that only go up.
    """

    def __init__(
        self,
        read: Callable[[], Work],
        held_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._read, self._clock = read, clock
        self._held_ns = int(held_s * 1e9)
        self._before, self._before_ns = read(), clock()
        self._quiet = False  # since then; what a process does at its start is not usual
        self._counted: dict[RequestCounts, tuple[int, int, int]] = {}  # as they stood then
        self._upkeep = Upkeep()

    def share_out(self, versions: Sequence[RequestCounts], *, busy: bool) -> None:
        """Count what was done since the last look to the versions whose images were answered.

        What refusing others has taken is nobody's.

        Args:
            versions: their rows.
            busy: something that was accepted is not answered yet.
        """
        now, now_ns = self._read(), self._clock()
        done = {name: getattr(now, name) - getattr(self._before, name) for name in NAMES}
        elapsed_ns = max(1, now_ns - self._before_ns)
        images, failed, refused_ns = {}, 0, 0
        for counts in versions:
            new = _counted(counts)
            # One that is new here may have been counted in by a predecessor.
            old = self._counted.setdefault(counts, new)
            images[counts] = new[0] - old[0]
            failed += new[1] - old[1]
            refused_ns += new[2] - old[2]
        answered = sum(images.values())
        # A client that has yet to take its answers keeps its next request waiting.
        busy = busy or done["connections_ns"] > 0
        quiet = not (busy or answered or failed or done["pool_images"] or done["here_images"])
        if answered:
            for name in UPKEEP:
                done[name] = self._upkeep.less(name, done[name], elapsed_ns)
            # No refusal takes longer than an image, whatever its clock says on a busy machine.
            most_ns = done["loop_ns"] * failed // (answered + failed)
            done["loop_ns"] = max(done["here_ns"], done["loop_ns"] - min(refused_ns, most_ns))
            for counts, some in images.items():
                counts.worked(Work(**{name: n * some // answered for name, n in done.items()}))
        elif quiet and self._quiet:
            self._upkeep.learn(done, elapsed_ns)
        elif busy and elapsed_ns < self._held_ns:
            return  # what is done meanwhile is counted with the images that it is done for
        self._before, self._before_ns, self._quiet = now, now_ns, not busy
        self._counted = {each: _counted(each) for each in versions}


def _counted(counts: RequestCounts) -> tuple[int, int, int]:
    """Images, failed requests and what refusing took, so far."""
    return counts.images, counts.failed, counts.refused_ns


NAMES = tuple(field.name for field in fields(Work) if field.name not in ("images", "refused_ns"))


def thread_clock(ident: int | None) -> Callable[[], int]:
    """The CPU time of a thread that has been started, in ns."""
    if ident is None:
        raise ValueError("the thread has not been started")
    clock = time.pthread_getcpuclockid(ident)
    return lambda: time.clock_gettime_ns(clock)
